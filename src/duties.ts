/**
 * Performs a program's duties one after another. A duty is the state that its data plane and the kernel should have
 * now. Requests that come while a duty is being performed are answered by one more duty.
 */
import type { Logger } from './log.js';

const REFRESH_MS = 20;
/**
 * A duty goes over all records. In a fleet of thousands that takes a while, and something changes all the time: for each
 * millisecond of processor time beyond these the next duty waits for so long, up to the longest. So duties take a hundredth
 * of the time, however fast they are.
 */
const FREE_MS = 4;
const REST = 100;
const MOST_REST_MS = 5000;

export class Duties {
  #wanted = false;
  #working: Promise<void> | undefined;
  #over = false;

  /**
   * @param perform performs the duty for the present view
   * @param isLarge whether there is so much of it that rests are due
   */
  constructor(
    readonly perform: () => Promise<void>,
    readonly log: Pick<Logger, 'error'>,
    readonly isLarge: () => boolean,
  ) {}

  /**
   * Requests a new duty soon: changes within {@link REFRESH_MS} are performed together.
   * @param isUrgent whether it waits for no rest
   */
  readonly refresh = (isUrgent = false): void => {
    // After {@link end} everything is being removed, and must not be built up again.
    if (this.#over) return;
    this.#wanted = true;
    if (isUrgent) this.#wake();
    this.#working ??= this.#work();
  };

  async #work(): Promise<void> {
    while (this.#wanted) {
      await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
      this.#wanted = false;
      const before = process.cpuUsage();
      await this.perform().catch((error: Error) =>
        this.log.error({ error: error.message }, 'a change could not be applied'),
      );
      const { user, system } = process.cpuUsage(before);
      if (this.isLarge()) await this.#rest(restMs((user + system) / 1000));
    }
    this.#working = undefined;
  }

  /** Waits before the next duty; ends at once with {@link end}. */
  #rest(ms: number): Promise<void> {
    if (ms === 0 || this.#over) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  #wake = (): void => {};

  /** Performs no more duties from now on. Resolves when the duty in progress is done. */
  async end(): Promise<void> {
    this.#over = true;
    this.#wanted = false;
    this.#wake();
    await this.#working;
  }
}

/** How long to wait after a duty that took so much processor time, both in ms. */
export function restMs(tookMs: number): number {
  return Math.round(Math.min(MOST_REST_MS, REST * Math.max(0, tookMs - FREE_MS)));
}
