/**
 * Whether to look for more packets for a moment before sleeping. To be woken costs a processor about what it takes to
 * carry a packet, and while nobody looks it sleeps, too. Pure.
 */

/** About as long as a wake-up takes, there and back. Of 20, 50, 100 and 200 it carried the most connections. */
const WAIT_US = 20;
/** So many times in vain, doubled each time, it is not tried again: on a quiet link it costs one wait in 1024 wake-ups. */
const MOST_DOUBLINGS = 10;
/**
 * A wait that took longer gave the processor to somebody who has much to do. Who sleeps is let in as soon as something
 * comes, who gives way only after the other's turn, milliseconds later.
 */
const CONTENDED_US = 500;

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

  /**
   * What came of the last wait.
   * @param tookUs with the work before it
   */
  learn(packets: number, tookUs: number): void {
    if (tookUs >= CONTENDED_US) this.#inVain = MOST_DOUBLINGS;
    else this.#inVain = packets > 0 ? 0 : Math.min(this.#inVain + 1, MOST_DOUBLINGS);
    this.#skipped = (1 << this.#inVain) - 1;
  }
}
