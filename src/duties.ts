/**
 * Carries a program's duties out, one after another: what its data plane and the kernel should be doing now. Asked twice
 * while one is under way, it does it once more.
 */
import type { Logger } from './log.js';

const REFRESH_MS = 20;

export class Duties {
  #wanted = false;
  #working: Promise<void> | undefined;
  #over = false;

  /** @param perform carries out what the present view asks for */
  constructor(
    readonly perform: () => Promise<void>,
    readonly log: Pick<Logger, 'error'>,
  ) {}

  /** Asks for a new duty, soon: what changes within {@link REFRESH_MS} is one change. */
  readonly refresh = (): void => {
    // What is being taken back is not to be built up again.
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

  /** No more from here on. Resolves when the one under way is done. */
  async end(): Promise<void> {
    this.#over = true;
    this.#wanted = false;
    await this.#working;
  }
}
