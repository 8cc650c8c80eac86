/** Flows that a first packet begins, with a pool of those that their client has not confirmed. */
import { HalfOpen } from './half-open.js';
import { type FlowEntry, NO_FLOW } from './numbers.js';
import { FlowTable } from './table.js';

export class SynFlows extends FlowTable {
  /** The SYN's initial sequence number. */
  readonly isn = this.column<number>(Int32Array, 0);
  readonly halfOpen: HalfOpen;

  constructor(capacity: number, seed: readonly [number, number]) {
    super(capacity, seed);
    this.halfOpen = new HalfOpen(this, capacity, seed[0] ^ seed[1]);
  }

  override sweep(nowTick: number, budget: number, outlives?: (e: FlowEntry) => boolean): number {
    this.halfOpen.tick();
    return super.sweep(nowTick, budget, outlives);
  }

  override remove(e: FlowEntry): void {
    this.halfOpen.drop(e);
    super.remove(e);
  }

  /**
   * Takes an entry for the key: where there is no room, that of a connection that has ended, or the oldest that its client
   * has not confirmed.
   * @param evict removes an entry that makes room
   * @returns -1 where every entry is that of a living connection
   */
  take(evict: (e: FlowEntry, hasEnded: boolean) => void): FlowEntry {
    const { halfOpen } = this;
    if (halfOpen.isFull()) {
      const oldest = halfOpen.victim();
      // Those that were confirmed have left the pool meanwhile.
      if (oldest >= 0) evict(oldest, false);
      else if (halfOpen.isFull()) return NO_FLOW;
    }
    if (this.size === this.capacity) {
      const ended = halfOpen.ended();
      const e = ended >= 0 ? ended : halfOpen.victim();
      if (e < 0) return NO_FLOW;
      evict(e, ended >= 0);
    }
    const e = this.insert();
    if (e >= 0) halfOpen.add(e);
    return e;
  }
}
