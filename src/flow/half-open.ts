/**
 * Connections that their client has not confirmed yet: a pool of their own, so that SYNs without an end leave room for
 * the others. Where the pool is full the oldest makes room: a connection needs a round trip, and at 20,000 SYNs a second the
 * oldest of a pool of 65,536 is three seconds old. One source has a part of the pool only, and one client prefix half of it.
 *
 * The list is in the order of arrival. A flow that was confirmed stays in it until its turn to be looked at comes: a few with each
 * arrival, once the list is long.
 */
import { type FlowEntry, NO_FLOW } from './numbers.js';
import { isClosing, OPENING, UNDECIDED } from './states.js';
import type { FlowTable } from './table.js';

/** The pool's part of the table, and a source's and a prefix's parts of the pool. */
const POOL = 1 / 4;
const OF_SOURCE = 1 / 8;
const OF_PREFIX = 1 / 2;
/** From this share of its part on, a source's connections cost others no more than its own. */
const BUSY = 1 / 4;
/** Sources are counted by a hash; a power of two. */
const COUNTERS = 65_536;
/** Parts of small tables are no smaller than this. */
const LEAST = 64;
/** How many entries one arrival may look at for one that can go. */
const LOOKS = 64;
/** How many of them in a tick may be asked about in the kernel because their source has many: each costs a system call. */
const ASKS = 512;
/** How many of the oldest are looked at for one of a source with many, before the oldest goes. */
const PREFERRED = 4;
/** For how many ticks a source counts as busy after it had more than its part. */
const BUSY_TICKS = 100;
/**
 * How often in a tick a SYN of a full pool may be sent to more than one machine: most are a flood's, of however many sources.
 */
const RACES = 50;
/** How many entries each arrival looks at for confirmed ones, from this share of the pool on. */
const TIDIED = 4;
const TIDY_FROM = 1 / 16;

export class HalfOpen {
  /** The most at once. */
  readonly most: number;
  readonly #mostOfSource: number;
  readonly #mostOfPrefix: number;
  readonly #busyFrom: number;
  readonly #next: Int32Array;
  readonly #before: Int32Array;
  readonly #linked: Uint8Array;
  readonly #sources = new Uint32Array(COUNTERS);
  readonly #prefixes = new Uint32Array(COUNTERS);
  readonly #seed: number;
  readonly #tidyFrom: number;
  #oldest = NO_FLOW as number;
  #newest = NO_FLOW as number;
  #count = 0;
  #hand = 0;
  #asks = ASKS;
  #races = RACES;
  /** By source: the tick in which it had more than its part. */
  readonly #floodedAt = new Int32Array(COUNTERS).fill(-BUSY_TICKS);
  #now = 0;
  /** The last of these ticks. */
  #lastFlood = -BUSY_TICKS;
  /** The next entry to look at for whether it was confirmed. */
  #turn = NO_FLOW as number;
  /** Whether the kernel, which may carry the flow, has seen its client confirm it. Updates the entry. */
  isConfirmed: (e: FlowEntry) => boolean = () => false;

  constructor(
    readonly flows: FlowTable,
    capacity: number,
    seed: number,
  ) {
    const part = (share: number, of: number): number => Math.max(Math.min(of, LEAST), Math.floor(of * share));
    this.most = part(POOL, capacity);
    this.#mostOfSource = part(OF_SOURCE, this.most);
    this.#mostOfPrefix = part(OF_PREFIX, this.most);
    this.#busyFrom = part(BUSY, this.#mostOfSource);
    this.#next = new Int32Array(capacity).fill(NO_FLOW);
    this.#before = new Int32Array(capacity).fill(NO_FLOW);
    this.#linked = new Uint8Array(capacity);
    this.#seed = seed | 0;
    this.#tidyFrom = this.most * TIDY_FROM;
  }

  /** Ten times a second. */
  tick(): void {
    this.#asks = ASKS;
    this.#races = RACES;
    this.#now = (this.#now + 1) | 0;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether the source of the table's key has its part of the pool. */
  isSourceFull(): boolean {
    const source = this.#sourceOfKey();
    const isFull = this.#hasAtLeast(source, this.#mostOfSource);
    if (isFull) this.#noteFlood(source);
    return isFull;
  }

  /**
   * Whether the source of the table's key has many unconfirmed connections, or had more than its part within ten seconds: then
   * it should cost other machines no more, and what happens to its connections tells nothing of them.
   */
  isSourceBusy(): boolean {
    const source = this.#sourceOfKey();
    return (
      ((this.#now - this.#floodedAt[source]) | 0) < BUSY_TICKS || this.#hasAtLeast(source, this.#busyFrom)
    );
  }

  #noteFlood(source: number): void {
    this.#floodedAt[source] = this.#now;
    this.#lastFlood = this.#now;
  }

  #sourceOfKey(): number {
    const { key } = this.flows;
    return this.#slot(key[0], key[1], key[2], key[3]);
  }

  #hasAtLeast(source: number, most: number): boolean {
    // Of those that the kernel carries, many may be confirmed.
    for (let k = 0; k < LOOKS && this.#sources[source] >= most && this.#asks > 0; k++) {
      this.#asks--;
      this.#look(true);
    }
    return this.#sources[source] >= most;
  }

  /** Whether another entry with the table's key finds no room in the pool, or in its prefix's part of it. */
  isFull(): boolean {
    const { key } = this.flows;
    const ofPrefix = this.#prefixes[this.#slotOfPrefix(key[0], key[1], key[2], key[3])];
    return this.#count >= this.most || ofPrefix >= this.#mostOfPrefix;
  }

  /** Whether more than one machine may be asked for the table's key: in a full pool that many times a tick. Counts as one. */
  mayRace(): boolean {
    if (!this.isFull()) return true;
    if (this.#races === 0) return false;
    this.#races--;
    return true;
  }

  /** Adds an entry that was just inserted. */
  add(e: FlowEntry): void {
    this.#linked[e] = 1;
    this.#before[e] = this.#newest;
    this.#next[e] = NO_FLOW;
    if (this.#newest >= 0) this.#next[this.#newest] = e;
    else this.#oldest = e;
    this.#newest = e;
    this.#tell(e, 1);
    if (this.#count > this.#tidyFrom) for (let k = 0; k < TIDIED; k++) this.#look(false);
  }

  /** Looks at the next entry in turn for whether it was confirmed. @param asks whether the kernel is asked too */
  #look(asks: boolean): void {
    const e = (this.#turn >= 0 ? this.#turn : this.#oldest) as FlowEntry;
    if (e < 0) return;
    // {@link drop} moves the turn on.
    if (!this.#isHalfOpen(e, asks)) this.drop(e);
    else this.#turn = this.#next[e];
  }

  /** Call it before an entry is removed. */
  drop(e: FlowEntry): void {
    if (this.#linked[e] === 0) return;
    this.#linked[e] = 0;
    const before = this.#before[e];
    const next = this.#next[e];
    if (before >= 0) this.#next[before] = next;
    else this.#oldest = next;
    if (next >= 0) this.#before[next] = before;
    else this.#newest = before;
    if (this.#turn === e) this.#turn = next;
    this.#tell(e, -1);
  }

  /**
   * The entry that makes room for one with the table's key: the oldest that is half open, or one of the next if its source has
   * many; where its prefix has more than its part, of that prefix, if one is found soon. Those that were confirmed leave the
   * list.
   */
  victim(): FlowEntry {
    const { key } = this.flows;
    const mine = this.#slotOfPrefix(key[0], key[1], key[2], key[3]);
    const isOwn = this.#prefixes[mine] >= this.#mostOfPrefix;
    let e = this.#oldest as FlowEntry;
    let first = NO_FLOW;
    // Where no source has more than its part, none of the next is worth a look.
    const looks = ((this.#now - this.#lastFlood) | 0) < BUSY_TICKS ? PREFERRED : 1;
    for (let k = 0, seen = 0; k < LOOKS && e >= 0 && seen < looks; k++) {
      const next = this.#next[e] as FlowEntry;
      if (!this.#isHalfOpen(e, true)) this.drop(e);
      else if (!isOwn || this.#prefixOf(e) === mine) {
        if (this.#sources[this.#sourceOf(e)] >= this.#busyFrom) return e;
        if (seen++ === 0) first = e;
      }
      e = next;
    }
    return first;
  }

  #sourceOf(e: FlowEntry): number {
    const { flows } = this;
    return this.#slot(flows.keyWord(e, 0), flows.keyWord(e, 1), flows.keyWord(e, 2), flows.keyWord(e, 3));
  }

  #prefixOf(e: FlowEntry): number {
    const { flows } = this;
    return this.#slotOfPrefix(
      flows.keyWord(e, 0),
      flows.keyWord(e, 1),
      flows.keyWord(e, 2),
      flows.keyWord(e, 3),
    );
  }

  /** One of the entries whose connections have ended, if one is found soon: they go before any other. */
  ended(): FlowEntry {
    const { flows } = this;
    for (let k = 0; k < LOOKS; k++) {
      const e = this.#hand as FlowEntry;
      this.#hand = e + 1 === flows.capacity ? 0 : e + 1;
      if (isClosing(flows.state[e])) return e;
    }
    return NO_FLOW;
  }

  #isHalfOpen(e: FlowEntry, asks: boolean): boolean {
    if (!this.#isOpening(e)) return false;
    // Of what the kernel opened by itself this process may know the answer later than the client.
    return !asks || (!this.isConfirmed(e) && this.#isOpening(e));
  }

  #isOpening(e: FlowEntry): boolean {
    const state = this.flows.state[e];
    return state === UNDECIDED || state === OPENING;
  }

  #tell(e: FlowEntry, by: number): void {
    const { flows } = this;
    const a = flows.keyWord(e, 0);
    const b = flows.keyWord(e, 1);
    const c = flows.keyWord(e, 2);
    const d = flows.keyWord(e, 3);
    const source = this.#slot(a, b, c, d);
    this.#sources[source] += by;
    if (this.#sources[source] > this.#mostOfSource) this.#noteFlood(source);
    this.#prefixes[this.#slotOfPrefix(a, b, c, d)] += by;
    this.#count += by;
  }

  #slot(a: number, b: number, c: number, d: number): number {
    let h = this.#seed ^ Math.imul(a ^ Math.imul(b, 0x85ebca6b), 0xcc9e2d51);
    h = Math.imul(h ^ (h >>> 15) ^ c, 0x2c1b3c6d);
    h = Math.imul(h ^ (h >>> 13) ^ d, 0x297a2d39);
    return (h ^ (h >>> 15)) & (COUNTERS - 1);
  }

  /** An IPv4 client's /24, an IPv6 client's /48. */
  #slotOfPrefix(a: number, b: number, c: number, d: number): number {
    const isV4 = a === 0 && b === 0;
    return isV4 ? this.#slot(0, 0, c, d & -256) : this.#slot(a, b & 0xffff_0000, 1, 0);
  }
}
