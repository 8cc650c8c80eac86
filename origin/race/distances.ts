/** The distances of replicas from this origin, as measured by the prober and as the present schedule uses them. */
import type { Logger } from '../../src/log.js';
import type { Prober } from '../../src/probe/prober.js';
import type { ReplicaRecord } from '../../src/race/records.js';

/** Smaller changes of a distance are ignored. */
const WORTH_TELLING_US = 200;

export class Distances {
  /** By replica id, µs. */
  readonly us = new Map<string, number>();

  /** @param synchronized whether this host's clock is known to be synchronized */
  constructor(
    readonly prober: Prober,
    readonly synchronized: boolean,
    readonly log: Pick<Logger, 'info' | 'warn'>,
  ) {}

  /**
   * Whether a distance is measured one way. Timestamps of two hosts are compared only where both declare their clocks
   * synchronized.
   */
  isOneWay(r: ReplicaRecord): boolean {
    return this.synchronized && r.clock === 'synchronized';
  }

  /** Takes over new, changed and removed distances. @returns whether there were any */
  follow(replicas: readonly ReplicaRecord[]): boolean {
    let changed = false;
    const known = new Set(replicas.map((r) => r.id));
    for (const id of this.us.keys()) if (!known.has(id)) changed = this.us.delete(id) || changed;
    for (const r of replicas) changed = this.#followOne(r) || changed;
    return changed;
  }

  #followOne(r: ReplicaRecord): boolean {
    const now = this.prober.distanceUs(r.address, this.isOneWay(r));
    const before = this.us.get(r.id);
    if (now === undefined) {
      if (before === undefined) return false;
      this.us.delete(r.id);
      this.log.warn({ replica: r.id }, 'a replica no longer answers probes: not raced');
      return true;
    }
    if (before !== undefined && Math.abs(now - before) < WORTH_TELLING_US) return false;
    this.us.set(r.id, now);
    if (before === undefined)
      this.log.info({ replica: r.id, distanceMs: now / 1000 }, 'the distance of a replica is measured');
    return true;
  }
}
