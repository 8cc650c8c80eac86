/**
 * Whether to look for more packets for a moment before sleeping. To be woken costs a processor about what it takes to
 * carry a packet, and while nobody looks it sleeps, too. Pure.
 */

/** About as long as a wake-up takes, there and back. Of 20, 50, 100 and 200 it carried the most connections. */
const WAIT_US = 20;
/** So many times in vain, doubled each time, it is not tried again: on a quiet link it costs one wait in 64 wake-ups. */
const MOST_DOUBLINGS = 6;

export class Patience {
  #inVain = 0;
  #skipped = 0;

  /**
   * Microseconds to wait now; 0: sleep.
   * @param freeUs what there is until something else is due
   */
  next(freeUs: number): number {
    if (this.#skipped > 0) {
      this.#skipped--;
      return 0;
    }
    return freeUs < WAIT_US ? 0 : WAIT_US;
  }

  /** What came of the last wait. */
  learn(packets: number): void {
    this.#inVain = packets > 0 ? 0 : Math.min(this.#inVain + 1, MOST_DOUBLINGS);
    this.#skipped = (1 << this.#inVain) - 1;
  }
}
