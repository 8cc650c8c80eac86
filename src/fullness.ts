/**
 * Says in the log that something is full: once when its counter begins to rise, and again only after it has been quiet for a
 * while. The counter itself stands in status and metrics.
 */
import type { Logger } from './log.js';

/** How often counters are looked at, and how long one must not have risen to be told anew. */
export const LOOK_MS = 1000;
const QUIET_MS = 60_000;

export class Fullness {
  readonly #seen = new Map<string, { count: number; roseAt: number }>();

  /** @param sentences by counter */
  constructor(
    readonly sentences: Readonly<Record<string, string>>,
    readonly log: Pick<Logger, 'warn'>,
  ) {}

  look(counters: Readonly<Record<string, number>>, nowMs: number): void {
    for (const [counter, sentence] of Object.entries(this.sentences)) {
      const count = counters[counter] ?? 0;
      const before = this.#seen.get(counter) ?? { count: 0, roseAt: Number.NEGATIVE_INFINITY };
      if (count <= before.count) continue;
      if (nowMs - before.roseAt > QUIET_MS) this.log.warn({ counter, count }, sentence);
      this.#seen.set(counter, { count, roseAt: nowMs });
    }
  }
}
