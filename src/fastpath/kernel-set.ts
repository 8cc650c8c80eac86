/** The entries that a program wants in a map of the kernel, which outlives the process. */
import { bpf } from './native.js';

/** Entries that one reading of the map takes. */
const SCANNED = 256;

export class KernelSet {
  /** Keys that this process has written; and whether a predecessor's were looked for. */
  #written: ReadonlySet<string> = new Set();
  #othersForgotten = false;
  #keys: Uint8Array = new Uint8Array(0);
  #values: Uint8Array = new Uint8Array(0);

  /**
   * @param fd the map's descriptor: a hash table or a trie of prefixes
   * @param keyLength of a key, bytes
   * @param valueLength of a value, bytes
   */
  constructor(
    readonly fd: number,
    readonly keyLength: number,
    readonly valueLength: number,
  ) {}

  /**
   * Writes these entries, and removes those that are no longer among them.
   * @param keys one after the other; neither these nor the values may be changed later
   * @param values in the order of the keys
   * @param mayForgetOthers false while what only a predecessor wrote may be needed: that is kept then
   */
  load(keys: Uint8Array, values: Uint8Array, mayForgetOthers: boolean): void {
    const { fd, keyLength, valueLength } = this;
    const isDone = this.#othersForgotten || !mayForgetOthers;
    if (isDone && isSame(keys, this.#keys) && isSame(values, this.#values)) return;
    const wanted = new Set(this.#namesIn(keys, keys.length / keyLength));
    const before = mayForgetOthers && !this.#othersForgotten ? this.#inKernel() : this.#written;
    this.#othersForgotten ||= mayForgetOthers;
    // Removes first, because the map may be full.
    const gone = [...before].filter((name) => !wanted.has(name));
    if (gone.length > 0) bpf.remove(fd, Buffer.from(gone.join(''), 'hex'), keyLength, gone.length);
    if (keys.length > 0) bpf.update(fd, keys, keyLength, values, valueLength, keys.length / keyLength);
    this.#written = wanted;
    [this.#keys, this.#values] = [keys, values];
  }

  /** Every key of the map, including a predecessor's. */
  #inKernel(): Set<string> {
    const found = new Set<string>();
    const keys = new Uint8Array(SCANNED * this.keyLength);
    const values = new Uint8Array(SCANNED * this.valueLength);
    const cursor = new Uint8Array(this.keyLength);
    for (let first = 1; ; first = 0) {
      const n = bpf.scan(this.fd, cursor, first, keys, values, SCANNED);
      for (const name of this.#namesIn(keys, n < 0 ? -1 - n : n)) found.add(name);
      if (n < 0) return found;
    }
  }

  #namesIn(keys: Uint8Array, count: number): string[] {
    const { keyLength } = this;
    return Array.from({ length: count }, (_, n) =>
      Buffer.from(keys.buffer, keys.byteOffset + n * keyLength, keyLength).toString('hex'),
    );
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
