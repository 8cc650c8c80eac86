/** A set of prefixes in the kernel (an LPM trie). */
import type { Prefix } from '../wire/address.js';
import { KernelSet } from './kernel-set.js';
import { CLIENT_KEY, CLIENT_VALUE, writeClient } from './layout.js';

export class KernelPrefixes {
  readonly #set: KernelSet;

  /** @param fd the map's descriptor */
  constructor(fd: number) {
    this.#set = new KernelSet(fd, CLIENT_KEY, CLIENT_VALUE);
  }

  /**
   * Makes these the map's prefixes.
   * @param mayForgetOthers as in {@link KernelSet.load}
   * @param numbers one for each; 1 where they are left out
   */
  load(prefixes: readonly Prefix[], mayForgetOthers: boolean, numbers?: readonly number[]): void {
    const keys = new Uint8Array(prefixes.length * CLIENT_KEY);
    const view = new DataView(keys.buffer);
    prefixes.forEach((p, n) => {
      writeClient(view, n * CLIENT_KEY, p);
    });
    const values = Uint32Array.from(prefixes, (_, n) => numbers?.[n] ?? 1);
    this.#set.load(keys, new Uint8Array(values.buffer), mayForgetOthers);
  }
}
