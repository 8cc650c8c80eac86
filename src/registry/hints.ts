/**
 * Streams and indexes only say where to look. Every role's account may write to them, and so may spoil them: a key of another type, a
 * stream whose ids are used up, an index with ids without end. Such a hint counts as empty, and records are looked for by
 * their keys.
 */
import type { Redis } from 'ioredis';
import type { Logger } from '../log.js';
import { changesOf, indexOf, keyOf, kindOf, PREFIX, parseKey, type Topic } from './keys.js';

/** More ids than this are no index of a fleet. */
export const MOST_IDS = 50_000;
/** The last id that a stream can have: nothing can be announced behind it. */
const LAST_ID = '18446744073709551615-18446744073709551615';

/** Whether an error is one of a hint, not of Redis. */
export const isOfHint = (error: Error): boolean => /WRONGTYPE|exhausted|equal or smaller/.test(error.message);

/** The replies of a pipeline; undefined for those of spoilt hints. @throws the first other error among them */
export async function tolerant(
  executed: Promise<[Error | null, unknown][] | null>,
): Promise<(unknown | undefined)[]> {
  return ((await executed) ?? []).map(([error, value]) => {
    if (error === null) return value;
    if (isOfHint(error)) return undefined;
    throw error;
  });
}

export class Hints {
  readonly #said = new Set<string>();

  constructor(
    readonly redis: Redis,
    readonly log: Pick<Logger, 'warn'>,
  ) {}

  /** The last id of each topic's stream; undefined where its stream cannot be used. */
  async ends(topics: readonly Topic[]): Promise<(string | undefined)[]> {
    const batch = this.redis.pipeline();
    for (const topic of topics) batch.xrevrange(changesOf(topic), '+', '-', 'COUNT', 1);
    const replies = await tolerant(batch.exec());
    return topics.map((topic, i) => {
      const reply = replies[i] as [string, string[]][] | undefined;
      const end = reply === undefined ? undefined : (reply[0]?.[0] ?? '0-0');
      const isUsable = end !== undefined && !isLast(end);
      if (!isUsable) this.#say(changesOf(topic));
      return isUsable ? end : undefined;
    });
  }

  /** The keys of these topics' records, by their indexes, or else by a search. */
  async keysOf(topics: readonly Topic[]): Promise<string[]> {
    const counting = this.redis.pipeline();
    for (const topic of topics) counting.scard(indexOf(topic));
    const counts = await tolerant(counting.exec());
    const listed = topics.filter((_, i) => counts[i] !== undefined && (counts[i] as number) <= MOST_IDS);
    const reading = this.redis.pipeline();
    for (const topic of listed) reading.smembers(indexOf(topic));
    const lists = listed.length === 0 ? [] : await tolerant(reading.exec());
    const keys: string[] = [];
    listed.forEach((topic, i) => {
      for (const id of (lists[i] ?? []) as string[]) keys.push(keyOf(kindOf(topic), id));
    });
    const spoilt = topics.filter((topic) => lists[listed.indexOf(topic)] === undefined);
    for (const topic of spoilt) this.#say(indexOf(topic));
    for (const kind of new Set(spoilt.map(kindOf))) keys.push(...(await this.#search(kind)));
    return keys;
  }

  /** Keys of a kind's records; none where this role may not search. */
  async #search(kind: string): Promise<string[]> {
    const found: string[] = [];
    try {
      let cursor = '0';
      do {
        const [next, keys] = await this.redis.scan(cursor, 'MATCH', `${PREFIX}${kind}:*`, 'COUNT', 1000);
        for (const key of keys) if (parseKey(key)?.kind === kind) found.push(key);
        cursor = next;
      } while (cursor !== '0' && found.length < MOST_IDS);
    } catch (error) {
      if (!/NOPERM/.test((error as Error).message)) throw error;
    }
    return found.slice(0, MOST_IDS);
  }

  #say(key: string): void {
    if (this.#said.has(key)) return;
    this.#said.add(key);
    this.log.warn(
      { key },
      'a list in the registry cannot be used: records are looked for by their keys (DEL mends it)',
    );
  }
}

/** Whether nothing can be announced behind this id. */
export const isLast = (id: string): boolean => id === LAST_ID;
