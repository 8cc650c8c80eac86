/** A set of prefixes in a map of the kernel that outlives the process (an LPM trie). */
import type { Prefix } from '../wire/address.js';
import { CLIENT_KEY, CLIENT_VALUE, writeClient } from './layout.js';
import { bpf } from './native.js';

const SCANNED = 256;

export class KernelPrefixes {
  /** Keys that stand in the map, as far as this process knows; undefined: as a predecessor left it. */
  #keys: ReadonlySet<string> | undefined;

  constructor(readonly fd: number) {}

  /**
   * Makes these the map's prefixes.
   * @param mayForgetOthers false: what a predecessor left stays
   */
  load(prefixes: readonly Prefix[], mayForgetOthers: boolean): void {
    const keys = new Uint8Array(prefixes.length * CLIENT_KEY);
    const view = new DataView(keys.buffer);
    prefixes.forEach((p, n) => {
      writeClient(view, n * CLIENT_KEY, p);
    });
    const wanted = new Set(prefixes.map((_, n) => nameOf(keys, n)));
    const before = this.#keys ?? (mayForgetOthers ? this.#inKernel() : new Set<string>());
    const gone = [...before].filter((k) => !wanted.has(k));
    if (gone.length > 0) bpf.remove(this.fd, Buffer.from(gone.join(''), 'hex'), CLIENT_KEY, gone.length);
    if (prefixes.length > 0) {
      const values = new Uint8Array(prefixes.length * CLIENT_VALUE).fill(1);
      bpf.update(this.fd, keys, CLIENT_KEY, values, CLIENT_VALUE, prefixes.length);
    }
    if (this.#keys !== undefined || mayForgetOthers) this.#keys = wanted;
  }

  #inKernel(): Set<string> {
    const found = new Set<string>();
    const keys = new Uint8Array(SCANNED * CLIENT_KEY);
    const values = new Uint8Array(SCANNED * CLIENT_VALUE);
    const cursor = new Uint8Array(CLIENT_KEY);
    for (let first = 1; ; first = 0) {
      const n = bpf.scan(this.fd, cursor, first, keys, values, SCANNED);
      const count = n < 0 ? -1 - n : n;
      for (let k = 0; k < count; k++) found.add(nameOf(keys, k));
      if (n < 0) return found;
    }
  }
}

const nameOf = (keys: Uint8Array, n: number): string =>
  Buffer.from(keys.buffer, keys.byteOffset + n * CLIENT_KEY, CLIENT_KEY).toString('hex');
