/**
 * Watches a thread by a counter that it raises ten times a second. A thread that does not raise it for some seconds is
 * stuck: `/livez` says so, and the service manager's watchdog is no longer fed.
 */

/** How often the counter is looked at. */
export const LOOK_MS = 500;
/** Looks without progress after which the thread is stuck. Looks, not time: the looking thread may have been stopped. */
const MOST_LOOKS = 6;

export class Heartbeat {
  #last = -1;
  #looks = 0;

  /** @returns whether the thread is alive @param beats the counter as of now */
  look(beats: number): boolean {
    this.#looks = beats === this.#last ? this.#looks + 1 : 0;
    this.#last = beats;
    return this.#looks < MOST_LOOKS;
  }
}
