/**
 * Performs a program's duties one after another. A duty is the state that its data plane and the kernel should have
 * now. Requests that come while a duty is being performed are answered by one more duty.
 */
import type { Logger } from './log.js';

const REFRESH_MS = 20;

export class Duties {
  #wanted = false;
  #working: Promise<void> | undefined;
  #over = false;

  /** @param perform performs the duty for the present view */
  constructor(
    readonly perform: () => Promise<void>,
    readonly log: Pick<Logger, 'error'>,
  ) {}

  /** Requests a new duty soon: changes within {@link REFRESH_MS} are performed together. */
  readonly refresh = (): void => {
    // After {@link end} everything is being removed, and must not be built up again.
    if (this.#over) return;
    this.#wanted = true;
    this.#working ??= this.#work();
  };

  async #work(): Promise<void> {
    while (this.#wanted) {
      await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
      this.#wanted = false;
      await this.perform().catch((error: Error) =>
        this.log.error({ error: error.message }, 'a change could not be applied'),
      );
    }
    this.#working = undefined;
  }

  /** Performs no more duties from now on. Resolves when the duty in progress is done. */
  async end(): Promise<void> {
    this.#over = true;
    this.#wanted = false;
    await this.#working;
  }
}
