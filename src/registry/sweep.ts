/**
 * Whoever dies is silent: their records expire, and nobody announces it. So one role at a time, by a lease,
 * looks through the keys each heartbeat, and announces what went and what was never announced. The others
 * need not look: a fleet costs one scan a second, whatever its size.
 */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import {
  CHANGES_KEPT,
  changesOf,
  EPOCH,
  indexOf,
  keyOf,
  LEASE_MS,
  PREFIX,
  parseKey,
  SWEEPER,
} from './keys.js';
import type { Known } from './known.js';
import type { Kind } from './records.js';

/** These come one key at a time; proximities are hints, and die by themselves. */
const SWEPT: Kind[] = ['service', 'replica', 'gateway', 'origin'];

export class Sweep {
  readonly #name = randomUUID();
  /** Keys that nobody announced and that we did, while they last. */
  readonly #strays = new Set<string>();
  #under = false;
  holds = false;

  constructor(
    readonly redis: Redis,
    readonly known: Known,
  ) {}

  /** The arguments of the SET that asks for the lease; its reply goes to {@link heard}. */
  get asking(): [string, string, 'PX', number, 'NX', 'GET'] {
    return [SWEEPER, this.#name, 'PX', LEASE_MS, 'NX', 'GET'];
  }
  heard(holder: string | null): void {
    this.holds = holder === null || holder === this.#name;
  }

  /**
   * One look through all keys.
   * @param inGrace everybody may be about to state their records again: nobody is announced as gone
   * @returns the epoch, when Redis had none and so was empty
   */
  async round(inGrace: () => boolean): Promise<string | undefined> {
    if (this.#under) return undefined;
    this.#under = true;
    try {
      const epoch = randomUUID();
      await this.redis.pexpire(SWEEPER, LEASE_MS);
      if ((await this.redis.set(EPOCH, epoch, 'NX', 'GET')) === null) return epoch;
      const found = await this.#scan();
      const batch = this.redis.pipeline();
      const announce = (kind: string, id: string): void =>
        void batch.xadd(changesOf(kind), 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id);
      for (const key of this.#strays) if (!found.has(key)) this.#strays.delete(key);
      for (const key of found) {
        const { kind, id } = parseKey(key)!;
        if (this.known.has(key) || this.#strays.has(key) || !SWEPT.includes(kind as Kind)) continue;
        this.#strays.add(key);
        announce(kind, id);
        batch.sadd(indexOf(kind), id);
      }
      if (!inGrace())
        for (const kind of SWEPT)
          for (const id of this.known.ids(kind)) {
            if (found.has(keyOf(kind, id))) continue;
            announce(kind, id);
            // A service's place is kept: its origin may be about to state it again.
            if (kind !== 'service') batch.srem(indexOf(kind), id);
          }
      if (batch.length > 0) await batch.exec();
      return undefined;
    } finally {
      this.#under = false;
    }
  }

  async #scan(): Promise<Set<string>> {
    const found = new Set<string>();
    let cursor = '0';
    do {
      const [next, keys] = await this.redis.scan(cursor, 'MATCH', `${PREFIX}*`, 'COUNT', 1000);
      for (const key of keys) if (parseKey(key) !== undefined) found.add(key);
      cursor = next;
    } while (cursor !== '0');
    return found;
  }

  /** Gives the lease back, so that the next one need not wait for its end. */
  async end(): Promise<void> {
    if (this.holds && (await this.redis.get(SWEEPER)) === this.#name) await this.redis.del(SWEEPER);
  }
}
