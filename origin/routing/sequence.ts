/**
 * The sequence numbers of datagrams that may come out of order, each to be taken once (RFC 4303, 3.4.3): 32 bits that
 * wrap, and a window of 64.
 */
const WINDOW = 64;

export class Sequence {
  #newest = 0;
  #isFirst = true;
  /** Bit n of word n / 32: the number that is n below the newest was taken. */
  readonly #taken = new Int32Array(WINDOW / 32);

  /** @returns whether the number was not taken before, and is not too old to tell */
  admits(number: number): boolean {
    const ahead = (number - this.#newest) | 0;
    if (ahead > 0 || this.#isFirst) {
      this.#isFirst = false;
      this.#shift(ahead);
      this.#newest = number | 0;
      this.#taken[0] |= 1;
      return true;
    }
    const behind = -ahead;
    if (behind >= WINDOW) return false;
    const [word, bit] = [behind >>> 5, 1 << (behind & 31)];
    if ((this.#taken[word] & bit) !== 0) return false;
    this.#taken[word] |= bit;
    return true;
  }

  #shift(by: number): void {
    const taken = this.#taken;
    if (by >= WINDOW || by < 0) taken[0] = taken[1] = 0;
    else if (by >= 32) {
      taken[1] = taken[0] << (by - 32);
      taken[0] = 0;
    } else {
      taken[1] = (taken[1] << by) | (taken[0] >>> (32 - by));
      taken[0] <<= by;
    }
  }
}
