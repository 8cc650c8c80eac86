/** A small, fast, seeded generator (xorshift32), for repeatable loops of millions of steps. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = Math.imul(seed, 0x9e3779b1) | 1;
  }
  /** A signed word. */
  word(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x;
  }
  /** 0 ≤ n < limit ≤ 2^16 or so. */
  below(limit: number): number {
    return ((this.word() >>> 8) % limit) | 0;
  }
  bytes(n: number): Uint8Array {
    const out = new Uint8Array(n);
    for (let i = 0; i < n; i++) out[i] = this.word() >>> 13;
    return out;
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }
}
