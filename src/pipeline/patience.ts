/**
 * Decides whether to poll for more packets for a moment before sleeping. A wake-up costs a processor about as much
 * time as carrying a packet, and the processor sleeps too while no packet is awaited. Pure.
 */

/** About the time from falling asleep to being awake again. Of 20, 50, 100 and 200 it carried the most connections. */
const WAIT_US = 20;
/**
 * After a wait in vain, polling is skipped for a number of wake-ups that doubles each time, up to 2^10: on a quiet
 * link one wake-up in 1024 waits.
 */
const MOST_DOUBLINGS = 10;
/**
 * A wait that took longer than this means that another thread had much work on this processor. A sleeping thread is
 * scheduled as soon as a packet comes. A thread that yields is scheduled only after the other thread's time slice,
 * milliseconds later.
 */
const CONTENDED_US = 500;

export class Patience {
  #inVain = 0;
  #skipped = 0;

  /**
   * Microseconds to poll now; 0 means sleep.
   * @param freeUs time until the next work is due
   */
  next(freeUs: number): number {
    if (this.#skipped > 0) {
      this.#skipped--;
      return 0;
    }
    return freeUs < WAIT_US ? 0 : WAIT_US;
  }

  /**
   * Takes the result of the last wait.
   * @param packets packets that the wait found
   * @param tookUs time of the wait, with the work before it
   */
  learn(packets: number, tookUs: number): void {
    if (tookUs >= CONTENDED_US) this.#inVain = MOST_DOUBLINGS;
    else this.#inVain = packets > 0 ? 0 : Math.min(this.#inVain + 1, MOST_DOUBLINGS);
    this.#skipped = (1 << this.#inVain) - 1;
  }
}
