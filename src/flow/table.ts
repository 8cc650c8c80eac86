/**
 * The flow table [212]: open addressing over typed arrays, with a seeded hash and a hard cap. It grows
 * never and allocates nothing after construction.
 *
 * An entry is a pair of pairs, (client, service) ↔ (source, target). The first pair is the key. The
 * target is who carries the flow, once the race is decided; the source is the client itself today.
 *
 * To look up: put the key into {@link FlowTable.key} (see {@link FlowTable.keyV4}), then {@link find}.
 */
import { V4_MAPPED } from '../wire/address.js';

/** Words of a key: client address (4), service address (4), client port << 16 | service port. */
const KEY_WORDS = 9;
const EMPTY = -1;
const NONE = -1;

/** The unit of {@link FlowTable.expiresAt}. */
export const TICK_US = 100_000;

/** One word into a MurmurHash3. */
function mix(h: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const m = h ^ Math.imul(k, 0x1b873593);
  return (Math.imul((m << 13) | (m >>> 19), 5) + 0xe6546b64) | 0;
}

/** The tick of a time of the monotonic clock. */
export function tickOf(us: number): number {
  return Math.floor(us / TICK_US) | 0;
}

export class FlowTable {
  /** The key to look up or to insert; reused for every call. */
  readonly key = new Int32Array(KEY_WORDS);

  /** One of `states.ts`; 0 is a free entry. */
  readonly state: Uint8Array;
  /** Bits of `states.ts`. */
  readonly marks: Uint8Array;
  /** The SYN's initial sequence number. */
  readonly isn: Int32Array;
  /** Ticks; the entry goes when this has passed. */
  readonly expiresAt: Int32Array;
  /** Candidate (see `src/race/candidates.ts`) that won, or -1. */
  readonly winner: Int16Array;
  /** Candidates that refused, a bit each. */
  readonly refused: Int32Array;
  /** Race record of this flow, or -1. */
  readonly record: Int32Array;
  readonly targetPort: Uint16Array;
  /** Four words per entry. */
  readonly target: Int32Array;

  readonly #keys: Int32Array;
  readonly #hashes: Int32Array;
  readonly #index: Int32Array;
  readonly #mask: number;
  readonly #seed0: number;
  readonly #seed1: number;
  #free: number;
  #size = 0;
  #hand = 0;

  /**
   * @param capacity the most entries
   * @param seed two random words, so that nobody outside can choose keys that collide
   */
  constructor(
    readonly capacity: number,
    seed: readonly [number, number],
  ) {
    let slots = 16;
    while (slots < capacity * 2) slots *= 2;
    this.#index = new Int32Array(slots).fill(EMPTY);
    this.#mask = slots - 1;
    this.#seed0 = seed[0] | 0;
    this.#seed1 = seed[1] | 0;
    this.#keys = new Int32Array(capacity * KEY_WORDS);
    this.#hashes = new Int32Array(capacity);
    this.state = new Uint8Array(capacity);
    this.marks = new Uint8Array(capacity);
    this.isn = new Int32Array(capacity);
    this.expiresAt = new Int32Array(capacity);
    this.winner = new Int16Array(capacity);
    this.refused = new Int32Array(capacity);
    this.record = new Int32Array(capacity);
    this.targetPort = new Uint16Array(capacity);
    this.target = new Int32Array(capacity * 4);
    // Free entries form a list through `hashes`.
    for (let e = 0; e < capacity; e++) this.#hashes[e] = e + 1 < capacity ? e + 1 : NONE;
    this.#free = capacity > 0 ? 0 : NONE;
  }

  /** A table whose seed comes from the operating system. */
  static seeded(capacity: number): FlowTable {
    const seed = crypto.getRandomValues(new Int32Array(2));
    return new FlowTable(capacity, [seed[0], seed[1]]);
  }

  get size(): number {
    return this.#size;
  }

  keyV4(client: number, clientPort: number, service: number, servicePort: number): void {
    const key = this.key;
    key[0] = key[1] = key[4] = key[5] = 0;
    key[2] = key[6] = V4_MAPPED;
    key[3] = client;
    key[7] = service;
    key[8] = (clientPort << 16) | servicePort;
  }

  /** The key's words of an entry, for reports. */
  keyWord(entry: number, word: number): number {
    return this.#keys[entry * KEY_WORDS + word];
  }

  /** The entry of {@link key}, or -1. */
  find(): number {
    const hash = this.#hash();
    for (let i = hash & this.#mask; ; i = (i + 1) & this.#mask) {
      const e = this.#index[i];
      if (e === EMPTY) return NONE;
      if (this.#hashes[e] === hash && this.#same(e)) return e;
    }
  }

  /** Adds {@link key} with all columns cleared; -1 when the table is full. Requires {@link find} to say -1. */
  insert(): number {
    const e = this.#free;
    if (e === NONE) return NONE;
    this.#free = this.#hashes[e];
    const hash = this.#hash();
    this.#hashes[e] = hash;
    const base = e * KEY_WORDS;
    for (let w = 0; w < KEY_WORDS; w++) this.#keys[base + w] = this.key[w];
    let i = hash & this.#mask;
    while (this.#index[i] !== EMPTY) i = (i + 1) & this.#mask;
    this.#index[i] = e;
    this.#size++;
    this.state[e] = 1;
    this.marks[e] = 0;
    this.isn[e] = 0;
    this.winner[e] = NONE;
    this.refused[e] = 0;
    this.record[e] = NONE;
    this.targetPort[e] = 0;
    this.target.fill(0, e * 4, e * 4 + 4);
    return e;
  }

  remove(entry: number): void {
    let i = this.#hashes[entry] & this.#mask;
    while (this.#index[i] !== entry) i = (i + 1) & this.#mask;
    // Backward-shift deletion keeps probe sequences whole without tombstones.
    let hole = i;
    for (let j = (i + 1) & this.#mask; this.#index[j] !== EMPTY; j = (j + 1) & this.#mask) {
      const home = this.#hashes[this.#index[j]] & this.#mask;
      if (((j - home) & this.#mask) >= ((j - hole) & this.#mask)) {
        this.#index[hole] = this.#index[j];
        hole = j;
      }
    }
    this.#index[hole] = EMPTY;
    this.state[entry] = 0;
    this.#hashes[entry] = this.#free;
    this.#free = entry;
    this.#size--;
  }

  /**
   * Removes entries whose time has passed, looking at `budget` entries from where the last call ended.
   * @param outlives asked of each entry whose time has passed: true when it has more, as somebody else knows
   * @returns how many went
   */
  sweep(nowTick: number, budget: number, outlives?: (e: number) => boolean): number {
    let gone = 0;
    const steps = Math.min(budget, this.capacity);
    for (let k = 0; k < steps; k++) {
      const e = this.#hand;
      this.#hand = e + 1 === this.capacity ? 0 : e + 1;
      if (this.state[e] !== 0 && ((nowTick - this.expiresAt[e]) | 0) > 0 && outlives?.(e) !== true) {
        this.remove(e);
        gone++;
      }
    }
    return gone;
  }

  #same(e: number): boolean {
    const base = e * KEY_WORDS;
    const keys = this.#keys;
    const key = this.key;
    // The words that differ most first.
    return (
      keys[base + 8] === key[8] &&
      keys[base + 3] === key[3] &&
      keys[base + 7] === key[7] &&
      keys[base + 2] === key[2] &&
      keys[base + 6] === key[6] &&
      keys[base + 1] === key[1] &&
      keys[base + 5] === key[5] &&
      keys[base] === key[0] &&
      keys[base + 4] === key[4]
    );
  }

  /** MurmurHash3's mixing over the key's words, from two secret seeds; over those that differ where all is IPv4. */
  #hash(): number {
    const key = this.key;
    let h = mix(mix(mix(this.#seed0, key[3] ^ this.#seed1), key[7] ^ this.#seed1), key[8] ^ this.#seed1);
    if (key[2] !== V4_MAPPED || key[6] !== V4_MAPPED || (key[0] | key[1] | key[4] | key[5]) !== 0)
      for (let w = 0; w < 7; w++) if (w !== 3) h = mix(h, key[w] ^ this.#seed1);
    h ^= h >>> 16;
    h = Math.imul(h, 0x85ebca6b);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae35);
    return h ^ (h >>> 16);
  }
}
