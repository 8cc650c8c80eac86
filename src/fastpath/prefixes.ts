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
   */
  load(prefixes: readonly Prefix[], mayForgetOthers: boolean): void {
    const keys = new Uint8Array(prefixes.length * CLIENT_KEY);
    const view = new DataView(keys.buffer);
    prefixes.forEach((p, n) => {
      writeClient(view, n * CLIENT_KEY, p);
    });
    const values = new Uint8Array(prefixes.length * CLIENT_VALUE).fill(1);
    this.#set.load(keys, values, mayForgetOthers);
  }
}
