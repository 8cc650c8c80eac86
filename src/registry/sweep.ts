/**
 * When a role dies its records expire, and no role announces that. So one role at a time, by a lease, compares the
 * keys with the index each heartbeat, corrects the index, and announces the corrections. The other roles need not
 * look: a fleet of any size costs one scan a second.
 */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { MOST_IDS, tolerant } from './hints.js';
import { CHANGES_KEPT, changesOf, EPOCH, indexOf, LEASE_MS, PREFIX, parseKey, SWEEPER } from './keys.js';
import type { RecordKind } from './kinds.js';

/** A scan in each heartbeat goes through so many keys; where there are more, several heartbeats share one, at most so many. */
const KEYS_A_BEAT = 5000;
const MOST_BEATS = 4;

export class Sweep {
  readonly #name = randomUUID();
  #under = false;
  /** Heartbeats that are left out before the next scan. */
  #left = 0;
  holds = false;
  /** Kinds that are swept: those of this role, and those (of other programs' roles) whose index a scan has found. */
  readonly #swept: Set<string>;
  readonly #unswept: ReadonlySet<string>;

  constructor(
    readonly redis: Redis,
    kinds: readonly RecordKind[],
  ) {
    this.#swept = new Set(kinds.filter((k) => k.isUnswept !== true).map((k) => k.name));
    this.#unswept = new Set(kinds.filter((k) => k.isUnswept === true).map((k) => k.name));
  }

  /** The arguments of the SET command that requests the lease; its reply goes to {@link heard}. */
  get asking(): [string, string, 'PX', number, 'NX', 'GET'] {
    return [SWEEPER, this.#name, 'PX', LEASE_MS, 'NX', 'GET'];
  }
  heard(holder: string | null): void {
    this.holds = holder === null || holder === this.#name;
  }

  /**
   * One pass through all keys.
   * @param inGrace true while roles may be about to publish their records again: then no record is announced as
   * missing
   * @returns the new epoch, when Redis had none and so was empty
   */
  async round(inGrace: () => boolean): Promise<string | undefined> {
    if (this.#under) return undefined;
    this.#under = true;
    try {
      const epoch = randomUUID();
      await this.redis.pexpire(SWEEPER, LEASE_MS);
      if ((await this.redis.set(EPOCH, epoch, 'NX', 'GET')) === null) return epoch;
      if (this.#left-- > 0) return undefined;
      // Reads the index first: a record that is added in between is in both, or is announced twice, which does no
      // harm.
      const counting = this.redis.pipeline();
      const all = [...this.#swept];
      for (const kind of all) counting.scard(indexOf(kind));
      const counts = await tolerant(counting.exec());
      // A spoilt index is not corrected: readers look for records by their keys then.
      const swept = all.filter((_, i) => counts[i] !== undefined && (counts[i] as number) <= MOST_IDS);
      const indexes = this.redis.pipeline();
      for (const kind of swept) indexes.smembers(indexOf(kind));
      const listed = (swept.length === 0 ? [] : await tolerant(indexes.exec())) as string[][];
      const found = await this.#scan();
      const count = [...found.values()].reduce((n, ids) => n + ids.size, 0);
      this.#left = Math.min(MOST_BEATS, Math.ceil(count / KEYS_A_BEAT)) - 1;
      const batch = this.redis.pipeline();
      swept.forEach((kind, i) => {
        const ids = found.get(kind) ?? new Set();
        const announce = (id: string): void =>
          void batch.xadd(changesOf(kind), 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id);
        if (listed[i] === undefined) return;
        const known = new Set(listed[i]);
        for (const id of ids) {
          if (known.has(id)) continue;
          batch.sadd(indexOf(kind), id);
          announce(id);
        }
        if (inGrace()) return;
        for (const id of known) {
          if (ids.has(id)) continue;
          batch.srem(indexOf(kind), id);
          announce(id);
        }
      });
      if (batch.length > 0) await batch.exec();
      return undefined;
    } finally {
      this.#under = false;
    }
  }

  /** By kind: the ids that have a record. */
  async #scan(): Promise<Map<string, Set<string>>> {
    const found = new Map<string, Set<string>>();
    let cursor = '0';
    do {
      const [next, keys] = await this.redis.scan(cursor, 'MATCH', `${PREFIX}*`, 'COUNT', 1000);
      for (const key of keys) {
        const at = parseKey(key);
        if (at === undefined) continue;
        // The index of a kind's part has a colon in its topic; kinds that come in parts are not swept.
        if (at.kind === 'index') {
          if (!at.id.includes(':') && !this.#unswept.has(at.id)) this.#swept.add(at.id);
          continue;
        }
        const ids = found.get(at.kind);
        if (ids === undefined) found.set(at.kind, new Set([at.id]));
        else ids.add(at.id);
      }
      cursor = next;
    } while (cursor !== '0');
    return found;
  }

  /** Returns the lease, so that the next sweeper need not wait until it expires. */
  async end(): Promise<void> {
    if (this.holds && (await this.redis.get(SWEEPER)) === this.#name) await this.redis.del(SWEEPER);
  }
}
