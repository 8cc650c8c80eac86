/**
 * Tags by which a SYN was let through (FAULTS T10): the same tag lets it through again for ten seconds, in which a client repeats
 * a SYN and its copies may come late; after that a captured tag opens no connection. A tag counts for three minutes.
 *
 * A tag is known by its MAC, whose 64 bits are as good as random, so they choose the place themselves. Where a place is
 * taken by a younger tag, the older one is forgotten: what a machine remembers is bounded, and nothing genuine is refused.
 */
import { MAC_AT } from '../wire/tag.js';

/** A power of two. At 500 tags a second one in five is forgotten before its three minutes have passed. */
const PLACES = 1 << 18;
/** Two words of the MAC, and the tick of the first time. */
const WORDS = 3;
/** In ticks of a tenth of a second. */
const REPEATED = 100;
const FORGOTTEN = 1920;

export class OpenedOnce {
  readonly #words = new Int32Array(WORDS * PLACES);

  /**
   * Notes that a SYN with the genuine tag at `p` is let through.
   * @returns false where it was let through before, and longer ago than a client repeats it
   */
  admits(view: DataView, p: number, nowTick: number): boolean {
    const first = view.getInt32(p + MAC_AT);
    const second = view.getInt32(p + MAC_AT + 4);
    const at = WORDS * (second & (PLACES - 1));
    const words = this.#words;
    if (words[at] === first && words[at + 1] === second) {
      const age = (nowTick - words[at + 2]) | 0;
      if (age >= 0 && age < FORGOTTEN) return age <= REPEATED;
    }
    words[at] = first;
    words[at + 1] = second;
    words[at + 2] = nowTick;
    return true;
  }
}
