/** Maps prefixes to small integers: the longest one that contains an address. A lookup allocates nothing. */
import { type Address, type Prefix, wordMask } from '../wire/address.js';
import { AddressMap } from './address-map.js';

export class PrefixTable {
  /** One map per length of prefix, the longest first. */
  #lengths: { masks: Int32Array; map: AddressMap }[] = [];
  readonly #masked = new Int32Array(4);

  /** Replaces the content. Later entries of the same prefix win. */
  load(entries: readonly { prefix: Prefix; value: number }[]): void {
    const lengths = [...new Set(entries.map((e) => e.prefix.bits))].sort((a, b) => b - a);
    this.#lengths = lengths.map((bits) => {
      const map = new AddressMap();
      map.load(
        entries
          .filter((e) => e.prefix.bits === bits)
          .map(({ prefix, value }) => ({ address: prefix.address as Address, port: 0, protocol: 0, value })),
      );
      return { masks: Int32Array.from({ length: 4 }, (_, w) => wordMask(bits, w)), map };
    });
  }

  /** The value for the address whose four words begin at `words[at]`, or -1. */
  find(words: Int32Array, at: number): number {
    for (let l = 0; l < this.#lengths.length; l++) {
      const { masks, map } = this.#lengths[l];
      for (let w = 0; w < 4; w++) this.#masked[w] = words[at + w] & masks[w];
      const value = map.ofWords(this.#masked, 0, 0, 0);
      if (value >= 0) return value;
    }
    return -1;
  }
}
