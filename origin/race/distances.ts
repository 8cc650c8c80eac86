/** The distances of replicas from here, as the prober measures them and as the present schedule uses them. */
import type { Logger } from '../../src/log.js';
import type { Prober } from '../../src/probe/prober.js';
import type { ReplicaRecord } from '../../src/race/records.js';

/** How much a distance must change to be told. */
const WORTH_TELLING_US = 200;

export class Distances {
  /** By replica id, µs. */
  readonly us = new Map<string, number>();

  /** @param synchronized this host's clock is known to be synchronized */
  constructor(
    readonly prober: Prober,
    readonly synchronized: boolean,
    readonly log: Pick<Logger, 'info' | 'warn'>,
  ) {}

  /** Timestamps of two hosts are compared only where both say that their clocks allow it. */
  isOneWay(r: ReplicaRecord): boolean {
    return this.synchronized && r.clock === 'synchronized';
  }

  /** Takes over distances that changed, came or went. @returns whether there were any */
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
      this.log.info({ replica: r.id, distanceMs: now / 1000 }, 'a replica is measured');
    return true;
  }
}
