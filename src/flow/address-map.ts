/**
 * Maps (address, port, protocol) to a small integer. It is rebuilt whenever the control plane has a new snapshot, and
 * looked up for each packet. Open addressing; a lookup allocates nothing.
 */
import { type Address, V4_MAPPED } from '../wire/address.js';
import { PROTO_TCP } from '../wire/ipv4.js';
import type { Tuples } from './table.js';

const WORDS = 6;

export interface AddressMapEntry {
  address: Address;
  port: number;
  /** TCP by default. */
  protocol?: number;
  value: number;
}

export class AddressMap<N extends number = number> {
  #keys = new Int32Array(0);
  #values = new Int32Array(0);
  #mask = 0;

  /** Replaces the content. Later entries of the same key win. */
  load(entries: readonly AddressMapEntry[]): void {
    let slots = 8;
    while (slots < entries.length * 2) slots *= 2;
    this.#keys = new Int32Array(slots * WORDS);
    this.#values = new Int32Array(slots).fill(-1);
    this.#mask = slots - 1;
    for (const { address, port, protocol = PROTO_TCP, value } of entries) {
      const words = Int32Array.from(address);
      let i = this.#slot(words[0], words[1], words[2], words[3], port);
      while (this.#values[i] >= 0 && !this.#same(i, words, 0, port, protocol)) i = (i + 1) & this.#mask;
      this.#keys.set([...words, port, protocol], i * WORDS);
      this.#values[i] = value;
    }
  }

  /** The value for the source of packet `i`, or -1. */
  ofSource(t: Tuples, i: number): N {
    return this.#find(t.saddr, 4 * i, t.sport[i], t.protocol[i]);
  }

  /** The value for the destination of packet `i`, or -1. */
  ofDestination(t: Tuples, i: number): N {
    return this.#find(t.daddr, 4 * i, t.dport[i], t.protocol[i]);
  }

  /** The value for the address whose four words begin at `words[at]`, or -1. */
  ofWords(words: Int32Array, at: number, port: number, protocol = PROTO_TCP): N {
    return this.#find(words, at, port, protocol);
  }

  /** The value for an IPv4 address, or -1. */
  getV4(word: number, port: number, protocol = PROTO_TCP): N {
    const v4 = this.#v4;
    v4[3] = word;
    return this.#find(v4, 0, port, protocol);
  }
  readonly #v4 = Int32Array.of(0, 0, V4_MAPPED, 0);

  #find(words: Int32Array, at: number, port: number, protocol: number): N {
    if (this.#values.length === 0) return -1 as N;
    let i = this.#slot(words[at], words[at + 1], words[at + 2], words[at + 3], port);
    for (; this.#values[i] >= 0; i = (i + 1) & this.#mask)
      if (this.#same(i, words, at, port, protocol)) return this.#values[i] as N;
    return -1 as N;
  }

  #slot(a0: number, a1: number, a2: number, a3: number, port: number): number {
    let h =
      Math.imul(a3 ^ Math.imul(a2 ^ Math.imul(a1 ^ a0, 31), 31), 0x9e3779b1) ^ Math.imul(port, 0x85ebca6b);
    h ^= h >>> 15;
    return h & this.#mask;
  }

  #same(i: number, words: Int32Array, at: number, port: number, protocol: number): boolean {
    const k = i * WORDS;
    const keys = this.#keys;
    return (
      keys[k + 3] === words[at + 3] &&
      keys[k + 4] === port &&
      keys[k + 5] === protocol &&
      keys[k + 2] === words[at + 2] &&
      keys[k + 1] === words[at + 1] &&
      keys[k] === words[at]
    );
  }
}
