/**
 * (address, port) → small integer, rebuilt whenever the control plane has news and looked up for each
 * packet. Open addressing; a lookup allocates nothing.
 */
import { type Address, V4_MAPPED } from '../wire/address.js';

const WORDS = 5;

export class AddressMap {
  #keys = new Int32Array(0);
  #values = new Int32Array(0);
  #mask = 0;

  /** Replaces the content. Later entries of the same key win. */
  load(entries: readonly { address: Address; port: number; value: number }[]): void {
    let slots = 8;
    while (slots < entries.length * 2) slots *= 2;
    this.#keys = new Int32Array(slots * WORDS);
    this.#values = new Int32Array(slots).fill(-1);
    this.#mask = slots - 1;
    for (const { address, port, value } of entries) {
      let i = this.#slot(address[0], address[1], address[2], address[3], port);
      while (this.#values[i] >= 0 && !this.#same(i, address[0], address[1], address[2], address[3], port))
        i = (i + 1) & this.#mask;
      this.#keys.set([...address, port], i * WORDS);
      this.#values[i] = value;
    }
  }

  /** The value, or -1. */
  get(a0: number, a1: number, a2: number, a3: number, port: number): number {
    if (this.#values.length === 0) return -1;
    for (let i = this.#slot(a0, a1, a2, a3, port); this.#values[i] >= 0; i = (i + 1) & this.#mask)
      if (this.#same(i, a0, a1, a2, a3, port)) return this.#values[i];
    return -1;
  }

  getV4(word: number, port: number): number {
    return this.get(0, 0, V4_MAPPED, word, port);
  }

  #slot(a0: number, a1: number, a2: number, a3: number, port: number): number {
    let h =
      Math.imul(a3 ^ Math.imul(a2 ^ Math.imul(a1 ^ a0, 31), 31), 0x9e3779b1) ^ Math.imul(port, 0x85ebca6b);
    h ^= h >>> 15;
    return h & this.#mask;
  }

  #same(i: number, a0: number, a1: number, a2: number, a3: number, port: number): boolean {
    const k = i * WORDS;
    const keys = this.#keys;
    return (
      keys[k + 3] === a3 && keys[k + 4] === port && keys[k + 2] === a2 && keys[k + 1] === a1 && keys[k] === a0
    );
  }
}
