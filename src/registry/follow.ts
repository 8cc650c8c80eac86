/**
 * The reader's side of the registry: asks the streams which records changed, and reads those records. A stream only
 * names keys, and the value under a key is authoritative; so a message that is repeated, late or forged changes
 * nothing.
 */
import type { Redis } from 'ioredis';
import { Hints, isLast, isOfHint, MOST_IDS, tolerant } from './hints.js';
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
  sealOf,
  type Topic,
} from './keys.js';
import type { RecordKind } from './kinds.js';
import type { Known } from './known.js';

/** The most announcements in one reply, and the most keys in one read. */
const AT_ONCE = 1000;
const KEYS_AT_ONCE = 500;
/**
 * How many bytes per ms all readers of a fleet together may read from Redis when every role reads all records again.
 */
const RESYNC_BYTES_PER_MS = 100_000;
const RECORD_BYTES = 200;
const RESYNC_LEAST_MS = 10_000;
/** The share of the time that a fleet spends reading all records again. */
const RESYNC_SHARE = 0.05;

export class Follower {
  topics: readonly Topic[];
  /** No record is forgotten before this time (ms, `performance.now`). */
  graceUntil = 0;
  /** By topic: the last id of its stream that was read. A topic whose stream cannot be used has none. */
  readonly #last = new Map<Topic, string>();
  readonly #hints: Hints;
  /** When the topics without a stream were last looked at. */
  #searchedAt = 0;
  /** Keys that were announced as withdrawn and are not read yet. */
  readonly #withdrawn = new Set<string>();
  #epoch: string | null | undefined;
  #resyncAt = 0;
  #askedAt = 0;
  /** Keys that the streams have named and that are not read yet. */
  #ahead: Set<string> | undefined;
  #tripMs = 0;
  #missingAt = 0;
  #readers = 0;

  /** @param onEmptied called when Redis was emptied while this role was connected */
  constructor(
    readonly redis: Redis,
    readonly known: Known,
    readonly kinds: readonly RecordKind[],
    readonly onEmptied: () => void,
  ) {
    this.#hints = new Hints(redis, known.log);
    // Kinds that come in parts are read only when {@link follow} names the wanted parts.
    this.topics = kinds.filter((k) => k.topicOf === undefined).map((k) => k.name);
  }

  get #followed(): string[] {
    return this.topics.map(kindOf);
  }
  /** Whether this role follows an urgent kind, and so must learn of changes at once. */
  get isKeen(): boolean {
    return this.kinds.some((k) => k.isUrgent === true && this.#followed.includes(k.name));
  }

  /** Finds the ends of the streams, then reads all records: a change between the two is in both. */
  async begin(): Promise<void> {
    await this.#findEnds();
    await this.readAll();
  }

  /** Forgets no record for a while, except one that its role withdrew. */
  beginGrace(): void {
    this.graceUntil = performance.now() + GRACE_MS;
  }

  /** After a lost connection: this Redis may have lost the last moments, or everything. */
  async resume(): Promise<void> {
    this.beginGrace();
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

  /** Asks which records changed and reads them. */
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
    // Where round trips to Redis are long, the next question is sent together with the read, instead of a round trip
    // later.
    const askedAt = performance.now();
    const next = keys.size > 0 && this.#tripMs > POLL_MS ? this.#changedKeys() : undefined;
    [this.#ahead] = await Promise.all([next, this.#read([...keys])]);
    this.#tripMs = performance.now() - askedAt;
    this.#askedAt = now;
  }

  /** Whether the next {@link poll} already knows which keys to read. */
  get isAhead(): boolean {
    return this.#ahead !== undefined;
  }

  /**
   * Whether {@link readAll} should be called beside polling. It is called separately because it needs round trips of
   * its own.
   */
  get isAllDue(): boolean {
    return performance.now() >= this.#resyncAt;
  }

  /** @param value the epoch as Redis has it now */
  sawEpoch(value: string | null): void {
    const before = this.#epoch;
    this.#epoch = value;
    // An empty Redis gets its epoch from the first sweeper; that is no loss of records.
    if (before === undefined || before === null || before === value) return;
    this.beginGrace();
    for (const topic of this.#last.keys()) this.#last.set(topic, '0-0');
    this.#resyncSoon();
    this.onEmptied();
  }

  async #findEnds(): Promise<void> {
    const [epoch, ends] = await Promise.all([this.redis.get(EPOCH), this.#hints.ends(this.topics)]);
    this.sawEpoch(epoch);
    this.topics.forEach((topic, i) => {
      const end = ends[i];
      const last = this.#last.get(topic);
      if (end === undefined) this.#last.delete(topic);
      // A Redis that replaced a lost one may be behind what this role has read.
      else this.#last.set(topic, last === undefined || isBefore(end, last) ? end : last);
    });
  }

  /** Topics whose streams cannot be used. */
  get #deaf(): Topic[] {
    return this.topics.filter((topic) => !this.#last.has(topic));
  }

  /** Once a heartbeat: the keys of topics without a stream, which may be usable again by now. */
  async #search(keys: Set<string>): Promise<void> {
    const deaf = this.#deaf;
    const now = performance.now();
    if (deaf.length === 0 || now - this.#searchedAt < HEARTBEAT_MS) return;
    this.#searchedAt = now;
    const ends = await this.#hints.ends(deaf);
    deaf.forEach((topic, i) => {
      if (ends[i] !== undefined) this.#last.set(topic, ends[i]);
    });
    for (const key of await this.#hints.keysOf(deaf)) keys.add(key);
    for (const key of this.known.keys(deaf.map(kindOf))) keys.add(key);
  }

  async #changedKeys(): Promise<Set<string>> {
    const keys = new Set<string>();
    for (let more = true; more; ) {
      more = false;
      const topics = [...this.#last.keys()];
      if (topics.length === 0) break;
      const asked = this.redis.call('XREAD', [
        ...['COUNT', String(AT_ONCE), 'STREAMS'],
        ...topics.map(changesOf),
        ...topics.map((t) => this.#last.get(t)!),
      ]) as Promise<[string, [string, string[]][]][] | null>;
      const reply = await asked.catch(async (error: Error) => {
        if (!isOfHint(error)) throw error;
        await this.#findEnds();
        return null;
      });
      for (const [name, entries] of reply ?? []) {
        const topic = topics.find((t) => changesOf(t) === name)!;
        for (const [id, fields] of entries) {
          if (isLast(id)) this.#last.delete(topic);
          else this.#last.set(topic, id);
          const key = keyOf(kindOf(topic), fields[1]);
          keys.add(key);
          if (fields[2] === 'withdrawn') this.#withdrawn.add(key);
          else this.#withdrawn.delete(key);
        }
        more ||= entries.length === AT_ONCE;
      }
    }
    await this.#search(keys);
    return keys;
  }

  /** Reads these keys and takes over their values. */
  async #read(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
      const some = keys.slice(at, at + KEYS_AT_ONCE);
      const batch = this.redis.pipeline();
      batch.get(EPOCH);
      // Both in one command: then a record and a seal of two different moments are rare.
      const isSealed = this.known.verifier !== undefined;
      batch.mgetBuffer(...some, ...(isSealed ? some.map(sealOf) : []));
      const [epoch, values] = await results(batch.exec());
      // Checks the epoch before any record counts as missing.
      this.sawEpoch(epoch as string | null);
      const now = performance.now();
      some.forEach((key, i) => {
        // A withdrawn record is forgotten without waiting.
        const until = this.#withdrawn.has(key) ? 0 : this.graceUntil;
        const [value, seal = null] = [i, some.length + i].map((at) => (values as (Buffer | null)[])[at]);
        this.known.take(key, value, now, until, seal);
        if (value === null) this.#withdrawn.delete(key);
      });
    }
  }

  /** Reads all records again, whatever the streams said. */
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
    const readers = this.kinds.filter((k) => k.reader !== undefined);
    for (const kind of readers) batch.scard(indexOf(kind.name));
    const [counts, listed] = await Promise.all([tolerant(batch.exec()), this.#hints.keysOf(this.topics)]);
    // Known records that are in no index any more are read by their keys too.
    await this.#read([...new Set([...this.known.keys(this.#followed), ...listed])]);
    const how = this.isKeen ? 'often' : 'seldom';
    const count = (i: number): number => Math.min(MOST_IDS, Number(counts[i] ?? 0));
    this.#readers = readers.reduce((n, kind, i) => n + (kind.reader === how ? count(i) : 0), 0);
  }

  #resyncEveryMs(): number {
    return resyncEveryMs(this.known.count, this.#readers) * (0.5 + Math.random());
  }

  #resyncSoon(): void {
    const window = windowMs(this.known.count, this.#readers);
    this.#resyncAt = Math.min(this.#resyncAt, performance.now() + Math.random() * window);
  }
}

/** The time that all readers of this many records need, one after another. */
const windowMs = (records: number, readers: number): number =>
  (records * RECORD_BYTES * readers) / RESYNC_BYTES_PER_MS;

/** How often, on average, one of this many readers reads all records again. */
export const resyncEveryMs = (records: number, readers: number): number =>
  Math.max(RESYNC_LEAST_MS, windowMs(records, readers) / RESYNC_SHARE);

/** The replies of a pipeline. @throws the first error among them */
export async function results(executed: Promise<[Error | null, unknown][] | null>): Promise<unknown[]> {
  return ((await executed) ?? []).map(([error, value]) => {
    if (error !== null) throw error;
    return value;
  });
}

/** Compares two ids of a stream. */
function isBefore(a: string, b: string): boolean {
  const [[am, as], [bm, bs]] = [a.split('-').map(Number), b.split('-').map(Number)];
  return am < bm || (am === bm && as < bs);
}
