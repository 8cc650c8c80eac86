/**
 * A reader's side: asks the streams what changed, and reads those records. A stream only says where to
 * look; what stands under the key is the truth, so a message twice, late or forged changes nothing.
 */
import type { Redis } from 'ioredis';
import {
  CHANGES_TRUSTED_MS,
  changesOf,
  EPOCH,
  GRACE_MS,
  HEARTBEAT_MS,
  indexOf,
  keyOf,
  kindOf,
  POLL_MS,
  type Topic,
} from './keys.js';
import type { RecordKind } from './kinds.js';
import type { Known } from './known.js';

/** Announcements in one reply; keys in one read. */
const AT_ONCE = 1000;
const KEYS_AT_ONCE = 500;
/** What all readers of a fleet together may take from Redis when everyone reads everything again. */
const RESYNC_BYTES_PER_MS = 100_000;
const RECORD_BYTES = 200;
const RESYNC_LEAST_MS = 10_000;
/** Of the time, that is spent in reading everything again, fleet-wide. */
const RESYNC_SHARE = 0.05;

export class Follower {
  topics: readonly Topic[];
  /** Nobody is forgotten before (ms, `performance.now`). */
  graceUntil = 0;
  readonly #last = new Map<Topic, string>();
  /** Announced as withdrawn, and not read yet. */
  readonly #withdrawn = new Set<string>();
  #epoch: string | null | undefined;
  #resyncAt = 0;
  #askedAt = 0;
  /** What the streams have named and nobody has read yet. */
  #ahead: Set<string> | undefined;
  #tripMs = 0;
  #missingAt = 0;
  #readers = 0;

  /** @param onEmptied called when Redis was emptied under us */
  constructor(
    readonly redis: Redis,
    readonly known: Known,
    readonly kinds: readonly RecordKind[],
    readonly onEmptied: () => void,
  ) {
    // Kinds that come in parts are read once it is known which part is wanted.
    this.topics = kinds.filter((k) => k.topicOf === undefined).map((k) => k.name);
  }

  get #followed(): string[] {
    return this.topics.map(kindOf);
  }
  /** Whether it follows an urgent kind, and so wants to know at once. */
  get isKeen(): boolean {
    return this.kinds.some((k) => k.isUrgent === true && this.#followed.includes(k.name));
  }

  /** Finds the ends of the streams, then reads everything: what comes between is in both. */
  async begin(): Promise<void> {
    await this.#findEnds();
    await this.readAll();
  }

  /** After a lost connection: whoever is there may have forgotten the last moments, or everything. */
  async resume(): Promise<void> {
    this.graceUntil = performance.now() + GRACE_MS;
    await this.#findEnds();
    this.#resyncSoon();
  }

  async follow(topics: readonly Topic[]): Promise<void> {
    const fresh = topics.filter((t) => !this.topics.includes(t));
    this.topics = topics;
    for (const topic of this.#last.keys()) if (!topics.includes(topic)) this.#last.delete(topic);
    this.known.keepOnly(this.#followed);
    if (fresh.length > 0) await this.begin();
  }

  /** Asks what changed and reads it. */
  async poll(): Promise<void> {
    const now = performance.now();
    if (now - this.#askedAt > CHANGES_TRUSTED_MS) this.#resyncAt = Math.min(this.#resyncAt, now);
    const keys = this.#ahead ?? (await this.#changedKeys());
    if (this.#ahead === undefined) this.#tripMs = performance.now() - now;
    this.#ahead = undefined;
    if (now - this.#missingAt >= HEARTBEAT_MS / 2) {
      this.#missingAt = now;
      for (const key of this.known.missing) keys.add(key);
    }
    // Where Redis is far, the next question goes out with the reading, not a round trip after it.
    const askedAt = performance.now();
    const next = keys.size > 0 && this.#tripMs > POLL_MS ? this.#changedKeys() : undefined;
    [this.#ahead] = await Promise.all([next, this.#read([...keys])]);
    this.#tripMs = performance.now() - askedAt;
    this.#askedAt = now;
  }

  /** Whether the next {@link poll} knows already what to read. */
  get isAhead(): boolean {
    return this.#ahead !== undefined;
  }

  /** Whether {@link readAll} should be called, beside polling: it takes round trips of its own. */
  get isAllDue(): boolean {
    return performance.now() >= this.#resyncAt;
  }

  /** @param value as Redis has it now */
  sawEpoch(value: string | null): void {
    const before = this.#epoch;
    this.#epoch = value;
    // The first sweeper there ever was gives an empty Redis its epoch; that is no loss.
    if (before === undefined || before === null || before === value) return;
    this.graceUntil = performance.now() + GRACE_MS;
    for (const topic of this.#last.keys()) this.#last.set(topic, '0-0');
    this.#resyncSoon();
    this.onEmptied();
  }

  async #findEnds(): Promise<void> {
    const batch = this.redis.pipeline();
    batch.get(EPOCH);
    for (const topic of this.topics) batch.xrevrange(changesOf(topic), '+', '-', 'COUNT', 1);
    const [epoch, ...ends] = await results(batch.exec());
    this.sawEpoch(epoch as string | null);
    this.topics.forEach((topic, i) => {
      const end = (ends[i] as [string, string[]][])[0]?.[0] ?? '0-0';
      const last = this.#last.get(topic);
      // One who took over from a lost Redis may be behind what we have read.
      this.#last.set(topic, last === undefined || isBefore(end, last) ? end : last);
    });
  }

  async #changedKeys(): Promise<Set<string>> {
    const keys = new Set<string>();
    for (let more = true; more; ) {
      more = false;
      const topics = [...this.#last.keys()];
      const reply = (await this.redis.call('XREAD', [
        ...['COUNT', String(AT_ONCE), 'STREAMS'],
        ...topics.map(changesOf),
        ...topics.map((t) => this.#last.get(t)!),
      ])) as [string, [string, string[]][]][] | null;
      for (const [name, entries] of reply ?? []) {
        const topic = topics.find((t) => changesOf(t) === name)!;
        for (const [id, fields] of entries) {
          this.#last.set(topic, id);
          const key = keyOf(kindOf(topic), fields[1]);
          keys.add(key);
          if (fields[2] === 'withdrawn') this.#withdrawn.add(key);
          else this.#withdrawn.delete(key);
        }
        more ||= entries.length === AT_ONCE;
      }
    }
    return keys;
  }

  /** Takes over what stands under these keys now. */
  async #read(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
      const some = keys.slice(at, at + KEYS_AT_ONCE);
      const batch = this.redis.pipeline();
      batch.get(EPOCH);
      batch.mgetBuffer(...some);
      const [epoch, values] = await results(batch.exec());
      // Before anybody is missed.
      this.sawEpoch(epoch as string | null);
      const now = performance.now();
      some.forEach((key, i) => {
        // Who took leave is not waited for.
        const until = this.#withdrawn.has(key) ? 0 : this.graceUntil;
        const value = (values as (Buffer | null)[])[i];
        this.known.take(key, value, now, until);
        if (value === null) this.#withdrawn.delete(key);
      });
    }
  }

  /** Reads every record again, whatever the streams said. */
  async readAll(): Promise<void> {
    this.#resyncAt = Number.POSITIVE_INFINITY;
    try {
      await this.#resync();
    } finally {
      this.#resyncAt = Math.min(this.#resyncAt, performance.now() + this.#resyncEveryMs());
    }
  }

  async #resync(): Promise<void> {
    const batch = this.redis.pipeline();
    for (const topic of this.topics) batch.smembers(indexOf(topic));
    const readers = this.kinds.filter((k) => k.reader !== undefined);
    for (const kind of readers) batch.scard(indexOf(kind.name));
    const replies = await results(batch.exec());
    const counts = replies.splice(this.topics.length) as number[];
    // What stands in no index any more is looked at by its key, too.
    const keys = new Set(this.known.keys(this.#followed));
    this.topics.forEach((topic, i) => {
      for (const id of replies[i] as string[]) keys.add(keyOf(kindOf(topic), id));
    });
    await this.#read([...keys]);
    const how = this.isKeen ? 'often' : 'seldom';
    this.#readers = readers.reduce((n, kind, i) => n + (kind.reader === how ? counts[i] : 0), 0);
  }

  #resyncEveryMs(): number {
    return resyncEveryMs(this.known.count, this.#readers) * (0.5 + Math.random());
  }

  #resyncSoon(): void {
    const window = windowMs(this.known.count, this.#readers);
    this.#resyncAt = Math.min(this.#resyncAt, performance.now() + Math.random() * window);
  }
}

/** As long as it takes all who read so many records, one after another. */
const windowMs = (records: number, readers: number): number =>
  (records * RECORD_BYTES * readers) / RESYNC_BYTES_PER_MS;

/** How often one of so many readers reads everything again, on average. */
export const resyncEveryMs = (records: number, readers: number): number =>
  Math.max(RESYNC_LEAST_MS, windowMs(records, readers) / RESYNC_SHARE);

/** The replies of a pipeline. @throws the first error among them */
export async function results(executed: Promise<[Error | null, unknown][] | null>): Promise<unknown[]> {
  return ((await executed) ?? []).map(([error, value]) => {
    if (error !== null) throw error;
    return value;
  });
}

/** Of two ids of a stream. */
function isBefore(a: string, b: string): boolean {
  const [[am, as], [bm, bs]] = [a.split('-').map(Number), b.split('-').map(Number)];
  return am < bm || (am === bm && as < bs);
}
