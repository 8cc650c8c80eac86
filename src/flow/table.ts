/**
 * The flow table: open addressing over typed arrays, with a seeded hash and a hard cap. It never grows and allocates
 * nothing after construction.
 *
 * An entry is a pair of pairs, (client, service) ↔ (source, target). The near pair is the key. The target is the
 * machine that carries the flow. Where a program also translates sources ({@link FlowTableOptions.far}), the source
 * is the address that the target sees, and the far pair is a second key; elsewhere the source is the client.
 *
 * To look up a packet, call {@link FlowTable.keyOf}, which writes its key into {@link FlowTable.key}, then {@link
 * FlowTable.find}. A program adds columns of its own with {@link FlowTable.column}.
 */
import { V4_MAPPED } from '../wire/address.js';
import { PROTO_TCP } from '../wire/ipv4.js';
import { EMPTY, EntryIndex } from './entry-index.js';
import { type Column, columnOf, type FlowEntry, NO_FLOW } from './numbers.js';

/**
 * Words of a key: client address (4), service address (4), client port << 16 | service port, protocol. The last word
 * is 0 for TCP, because flows that were pinned before other protocols were supported have 0 there.
 */
export const KEY_WORDS = 10;
const PORTS = 8;
const PROTOCOL = 9;
/** The word of a key at which the service's address begins. */
export const KEY_SERVICE = 4;

/** The unit of {@link FlowTable.expiresAt}. */
export const TICK_US = 100_000;

/** The addresses and ports of many packets, decoded: `Batch` has these columns. Addresses are four words each. */
export interface Tuples {
  readonly saddr: Int32Array;
  readonly daddr: Int32Array;
  readonly sport: Uint16Array;
  readonly dport: Uint16Array;
  readonly protocol: Uint8Array;
}

export interface FlowTableOptions {
  /** Stores a source beside the target, and also finds entries by that far pair. */
  far?: boolean;
}

/** Mixes one word into a MurmurHash3. */
function mix(h: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const m = h ^ Math.imul(k, 0x1b873593);
  return (Math.imul((m << 13) | (m >>> 19), 5) + 0xe6546b64) | 0;
}

/** The final mixing of MurmurHash3. */
function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Converts a time of the monotonic clock to a tick. Ticks wrap after 13 years; compare them with `(a - b) | 0`. */
export function tickOf(us: number): number {
  return Math.floor(us / TICK_US) | 0;
}

/** The ports of a key, and its protocol's number. */
export const keySport = (key: Int32Array): number => key[PORTS] >>> 16;
export const keyDport = (key: Int32Array): number => key[PORTS] & 0xffff;
export const keyProtocol = (key: Int32Array): number => (key[PROTOCOL] === 0 ? PROTO_TCP : key[PROTOCOL]);

/** The value of a key's protocol word. */
export const protocolWord = (protocol: number): number => (protocol === PROTO_TCP ? 0 : protocol);

export class FlowTable {
  /** The key to look up or to insert; reused for every call. */
  readonly key = new Int32Array(KEY_WORDS);

  /** A state of `states.ts`; 0 is a free entry. */
  readonly state: Uint8Array;
  /** The marks of `states.ts`, as bits. */
  readonly marks: Uint8Array;
  /** In ticks; the entry is removed after this time. */
  readonly expiresAt: Int32Array;
  readonly targetPort: Uint16Array;
  /** Four words per entry. */
  readonly target: Int32Array;
  /** Four words per entry; empty without a far index, as is {@link sourcePort}. */
  readonly source: Int32Array;
  readonly sourcePort: Uint16Array;

  readonly #keys: Int32Array;
  /** The hashes of entries in use. Free entries form a list through the same array. */
  readonly #hashes: Int32Array;
  readonly #index: EntryIndex;
  readonly #far: EntryIndex | undefined;
  readonly #linked: Uint8Array;
  readonly #cleared: { values: Float64Array | Int32Array | Uint16Array | Uint8Array; to: number }[] = [];
  readonly #seed0: number;
  readonly #seed1: number;
  #free: number;
  #size = 0;
  #hand = 0;

  /**
   * @param capacity the most entries
   * @param seed two random words, so that a sender cannot choose keys that collide
   */
  constructor(
    readonly capacity: number,
    seed: readonly [number, number],
    options: FlowTableOptions = {},
  ) {
    this.#seed0 = seed[0] | 0;
    this.#seed1 = seed[1] | 0;
    this.#keys = new Int32Array(capacity * KEY_WORDS);
    this.#hashes = new Int32Array(capacity);
    this.#index = new EntryIndex(capacity, this.#hashes);
    this.state = new Uint8Array(capacity);
    this.marks = new Uint8Array(capacity);
    this.expiresAt = new Int32Array(capacity);
    this.targetPort = new Uint16Array(capacity);
    this.target = new Int32Array(capacity * 4);
    const far = options.far === true ? capacity : 0;
    this.source = new Int32Array(far * 4);
    this.sourcePort = new Uint16Array(far);
    this.#linked = new Uint8Array(far);
    this.#far = far === 0 ? undefined : new EntryIndex(far, new Int32Array(far));
    for (let e = 0; e < capacity; e++) this.#hashes[e] = e + 1 < capacity ? e + 1 : NO_FLOW;
    this.#free = capacity > 0 ? 0 : NO_FLOW;
  }

  /** Two random words from the operating system. */
  static randomSeed(): [number, number] {
    const seed = crypto.getRandomValues(new Int32Array(2));
    return [seed[0], seed[1]];
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Adds a column of the program: one element per entry, cleared when the entry is taken into use.
   * @param to the value of a cleared element
   */
  protected column<N extends number>(
    kind: Float64ArrayConstructor | Int32ArrayConstructor | Uint16ArrayConstructor | Uint8ArrayConstructor,
    to: N,
  ): Column<N> {
    const values = new kind(this.capacity).fill(to);
    this.#cleared.push({ values, to });
    return columnOf<N>(values);
  }

  /** Writes the key of packet `i`, which its client sent. */
  keyOf(t: Tuples, i: number): void {
    const { key } = this;
    for (let w = 0; w < 4; w++) {
      key[w] = t.saddr[4 * i + w];
      key[4 + w] = t.daddr[4 * i + w];
    }
    key[PORTS] = (t.sport[i] << 16) | t.dport[i];
    key[PROTOCOL] = protocolWord(t.protocol[i]);
  }

  /** Writes the key of packet `i`, which came from the service's own address. */
  keyOfAnswer(t: Tuples, i: number): void {
    const { key } = this;
    for (let w = 0; w < 4; w++) {
      key[w] = t.daddr[4 * i + w];
      key[4 + w] = t.saddr[4 * i + w];
    }
    key[PORTS] = (t.dport[i] << 16) | t.sport[i];
    key[PROTOCOL] = protocolWord(t.protocol[i]);
  }

  /**
   * Writes the key of packet `i`, which passes between its client and a machine that speaks for a service.
   * @param fromClient true when the client sent it, false when the machine did
   * @param words the service's address is in these words, from `service * 4` on
   */
  keyForService(
    t: Tuples,
    i: number,
    fromClient: boolean,
    words: Int32Array,
    service: number,
    port: number,
  ): void {
    const { key } = this;
    const client = fromClient ? t.saddr : t.daddr;
    for (let w = 0; w < 4; w++) {
      key[w] = client[4 * i + w];
      key[4 + w] = words[4 * service + w];
    }
    key[PORTS] = ((fromClient ? t.sport[i] : t.dport[i]) << 16) | port;
    key[PROTOCOL] = protocolWord(t.protocol[i]);
  }

  /** Writes the ports of a flow's key, whose addresses the caller has written to {@link key}. */
  setPorts(client: number, service: number, protocol = PROTO_TCP): void {
    this.key[PORTS] = (client << 16) | service;
    this.key[PROTOCOL] = protocolWord(protocol);
  }

  /** Writes a flow's key from IPv4 addresses. */
  keyV4(
    client: number,
    clientPort: number,
    service: number,
    servicePort: number,
    protocol = PROTO_TCP,
  ): void {
    const key = this.key;
    key[0] = key[1] = key[4] = key[5] = 0;
    key[2] = key[6] = V4_MAPPED;
    key[3] = client;
    key[7] = service;
    key[PORTS] = (clientPort << 16) | servicePort;
    key[PROTOCOL] = protocolWord(protocol);
  }

  /** One word of an entry's key. */
  keyWord(entry: number, word: number): number {
    return this.#keys[entry * KEY_WORDS + word];
  }

  /** Whether an entry's client has an IPv4 address. */
  isV4(entry: FlowEntry): boolean {
    const base = entry * KEY_WORDS;
    const keys = this.#keys;
    return keys[base + 2] === V4_MAPPED && keys[base] === 0 && keys[base + 1] === 0;
  }

  isTcp(entry: FlowEntry): boolean {
    return this.#protocolOf(entry) === 0;
  }

  /** Copies the four words of an entry's client address to `to`. */
  clientOf(entry: FlowEntry, to: Int32Array): void {
    for (let w = 0; w < 4; w++) to[w] = this.keyWord(entry, w);
  }

  clientPortOf(entry: FlowEntry): number {
    return this.keyWord(entry, PORTS) >>> 16;
  }

  /** Copies the four words of an entry's service address to `to`. @returns the service's port */
  serviceOf(entry: FlowEntry, to: Int32Array): number {
    for (let w = 0; w < 4; w++) to[w] = this.keyWord(entry, 4 + w);
    return this.keyWord(entry, PORTS) & 0xffff;
  }

  /** The entry of {@link key}, or -1. */
  find(): FlowEntry {
    const hash = this.#hash();
    const { slots, mask } = this.#index;
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const e = slots[i];
      if (e === EMPTY) return NO_FLOW;
      if (this.#hashes[e] === hash && this.#same(e)) return e as FlowEntry;
    }
  }

  /**
   * Adds {@link key} with all columns cleared; returns -1 when the table is full. Requires that {@link find} returned
   * -1.
   */
  insert(): FlowEntry {
    const e = this.#free;
    if (e === NO_FLOW) return NO_FLOW;
    this.#free = this.#hashes[e];
    this.#hashes[e] = this.#hash();
    const base = e * KEY_WORDS;
    for (let w = 0; w < KEY_WORDS; w++) this.#keys[base + w] = this.key[w];
    this.#index.insert(e);
    this.#size++;
    this.state[e] = 1;
    this.marks[e] = 0;
    this.targetPort[e] = 0;
    for (let w = 0; w < 4; w++) this.target[e * 4 + w] = 0;
    for (let c = 0; c < this.#cleared.length; c++) this.#cleared[c].values[e] = this.#cleared[c].to;
    return e as FlowEntry;
  }

  remove(entry: FlowEntry): void {
    this.#index.remove(entry);
    this.unlink(entry);
    this.state[entry] = 0;
    this.#hashes[entry] = this.#free;
    this.#free = entry;
    this.#size--;
  }

  /** Makes an entry findable by its far pair. Requires that source and target are written, and a far index. */
  link(entry: FlowEntry): void {
    const far = this.#far!;
    this.unlink(entry);
    far.hashes[entry] = this.#farHash(
      this.source,
      this.target,
      entry,
      this.#farPorts(entry),
      this.#protocolOf(entry),
    );
    far.insert(entry);
    this.#linked[entry] = 1;
  }

  /** Removes an entry from the far index. Does nothing when the entry is not there. */
  unlink(entry: FlowEntry): void {
    if (this.#far === undefined || this.#linked[entry] === 0) return;
    this.#far.remove(entry);
    this.#linked[entry] = 0;
  }

  /** The entry whose target sent packet `i` to its source, or -1. Requires a far index. */
  findFar(t: Tuples, i: number): FlowEntry {
    const far = this.#far!;
    const ports = (t.dport[i] << 16) | t.sport[i];
    const protocol = protocolWord(t.protocol[i]);
    const hash = this.#farHash(t.daddr, t.saddr, i, ports, protocol);
    for (let slot = hash & far.mask; ; slot = (slot + 1) & far.mask) {
      const e = far.slots[slot];
      if (e === EMPTY) return NO_FLOW;
      if (far.hashes[e] === hash && this.#sameFar(e, t, i, ports, protocol)) return e as FlowEntry;
    }
  }

  /**
   * Removes expired entries. Looks at `budget` entries, from where the last call ended.
   * @param outlives called for each expired entry: true when the kernel has seen later packets of its flow
   * @returns the number of entries removed
   */
  sweep(nowTick: number, budget: number, outlives?: (e: FlowEntry) => boolean): number {
    let gone = 0;
    const steps = Math.min(budget, this.capacity);
    for (let k = 0; k < steps; k++) {
      const e = this.#hand as FlowEntry;
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
    // Compares the words that differ most first.
    return (
      keys[base + 8] === key[8] &&
      keys[base + 3] === key[3] &&
      keys[base + 7] === key[7] &&
      keys[base + 9] === key[9] &&
      keys[base + 2] === key[2] &&
      keys[base + 6] === key[6] &&
      keys[base + 1] === key[1] &&
      keys[base + 5] === key[5] &&
      keys[base] === key[0] &&
      keys[base + 4] === key[4]
    );
  }

  /** Hashes the key's words with two secret seeds. For TCP over IPv4 it hashes only the three words that can differ. */
  #hash(): number {
    const key = this.key;
    let h = mix(mix(mix(this.#seed0, key[3] ^ this.#seed1), key[7] ^ this.#seed1), key[8] ^ this.#seed1);
    if (
      key[2] !== V4_MAPPED ||
      key[6] !== V4_MAPPED ||
      (key[0] | key[1] | key[4] | key[5] | key[PROTOCOL]) !== 0
    )
      for (let w = 0; w < KEY_WORDS; w++) if (w !== 3 && w !== 7 && w !== 8) h = mix(h, key[w] ^ this.#seed1);
    return finish(h);
  }

  #farPorts(e: number): number {
    return (this.sourcePort[e] << 16) | this.targetPort[e];
  }

  #protocolOf(e: number): number {
    return this.#keys[e * KEY_WORDS + PROTOCOL];
  }

  #farHash(source: Int32Array, target: Int32Array, at: number, ports: number, protocol: number): number {
    let h = mix(mix(this.#seed1, ports ^ this.#seed0), protocol ^ this.#seed0);
    for (let w = 0; w < 4; w++) {
      h = mix(h, source[4 * at + w] ^ this.#seed0);
      h = mix(h, target[4 * at + w] ^ this.#seed0);
    }
    return finish(h);
  }

  #sameFar(e: number, t: Tuples, i: number, ports: number, protocol: number): boolean {
    if (this.#farPorts(e) !== ports || this.#protocolOf(e) !== protocol) return false;
    for (let w = 0; w < 4; w++)
      if (this.source[4 * e + w] !== t.daddr[4 * i + w] || this.target[4 * e + w] !== t.saddr[4 * i + w])
        return false;
    return true;
  }
}
