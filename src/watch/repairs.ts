/**
 * Bounds repairs: what another program removes again and again is put back five times in a minute, and then left
 * alone for a while, because two programs that fight over a rule harm the host more than either of them alone. Pure.
 */

/** Repairs of one thing within {@link WINDOW_MS} before this role gives way. */
export const MOST_REPAIRS = 5;
const WINDOW_MS = 60_000;
/** How long something is left alone after giving way. */
const REST_MS = 300_000;

/** `gives-way` is answered once: when the limit is reached. Then `rests`, until it is tried again. */
export type Verdict = 'repair' | 'gives-way' | 'rests';

export class Repairs {
  readonly #times = new Map<string, number[]>();
  readonly #restUntil = new Map<string, number>();

  /** The repair failed: that is no fight with another program. */
  failed(key: string): void {
    this.#times.get(key)?.pop();
  }

  /** @param key what is to be put back */
  verdict(key: string, nowMs: number): Verdict {
    const until = this.#restUntil.get(key);
    if (until !== undefined && nowMs < until) return 'rests';
    if (until !== undefined) this.#restUntil.delete(key);
    const times = (this.#times.get(key) ?? []).filter((t) => nowMs - t < WINDOW_MS);
    if (times.length >= MOST_REPAIRS) {
      this.#times.delete(key);
      this.#restUntil.set(key, nowMs + REST_MS);
      return 'gives-way';
    }
    times.push(nowMs);
    this.#times.set(key, times);
    return 'repair';
  }
}
