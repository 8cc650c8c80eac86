/** Flows that a first packet begins, with a pool of those that their client has not confirmed. */
import { HalfOpen } from './half-open.js';
import { type FlowEntry, NO_FLOW } from './numbers.js';
import { FlowTable } from './table.js';

/** The reasons under which a program counts what makes room. */
export interface EvictReasons {
  evictEnded: number;
  evictHalfOpen: number;
}

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

  /** Called with a flow that makes room, before its entry is removed. */
  evicting: (e: FlowEntry) => void = () => {};

  /**
   * Takes an entry for the key: where there is no room, that of a connection that has ended, or the oldest that its client
   * has not confirmed.
   * @param counters where it counts what made room, under `reasons`
   * @returns -1 where every entry is that of a living connection
   */
  take(counters: Float64Array, reasons: EvictReasons): FlowEntry {
    const { halfOpen } = this;
    if (halfOpen.isFull()) {
      const oldest = halfOpen.victim();
      // Those that were confirmed have left the pool meanwhile.
      if (oldest >= 0) this.#evict(oldest, counters, reasons.evictHalfOpen);
      else if (halfOpen.isFull()) return NO_FLOW;
    }
    if (this.size === this.capacity) {
      const ended = halfOpen.ended();
      const e = ended >= 0 ? ended : halfOpen.victim();
      if (e < 0) return NO_FLOW;
      this.#evict(e, counters, ended >= 0 ? reasons.evictEnded : reasons.evictHalfOpen);
    }
    const e = this.insert();
    if (e >= 0) halfOpen.add(e);
    return e;
  }

  #evict(e: FlowEntry, counters: Float64Array, reason: number): void {
    this.evicting(e);
    this.remove(e);
    counters[reason]++;
  }
}
