/**
 * Says, as an event, that something is full or fails again and again: once when its counter begins to rise, and again
 * only after it has been quiet for a while. The counter itself stands in status and metrics.
 */
import type { Events } from './events/events.js';

/** How often counters are looked at, and how long one must not have risen to be told anew. */
export const LOOK_MS = 1000;
const QUIET_MS = 60_000;
/** How long a counter counts as rising after it rose. */
const PRESENT_MS = 15_000;

export class Fullness {
  readonly #seen = new Map<string, { count: number; roseAt: number }>();

  /** @param sentences by counter */
  constructor(
    readonly sentences: Readonly<Record<string, string>>,
    readonly events: Pick<Events, 'say'>,
  ) {}

  look(counters: Readonly<Record<string, number>>, nowMs: number): void {
    for (const [counter, sentence] of Object.entries(this.sentences)) {
      const count = counters[counter] ?? 0;
      const before = this.#seen.get(counter) ?? { count: 0, roseAt: Number.NEGATIVE_INFINITY };
      if (count <= before.count) continue;
      if (nowMs - before.roseAt > QUIET_MS) this.events.say('warn', 'counter', counter, sentence, { count });
      this.#seen.set(counter, { count, roseAt: nowMs });
    }
  }

  /** The sentences of the counters that rose a moment ago, for `/v1/status`. */
  present(nowMs: number): string[] {
    return Object.entries(this.sentences)
      .filter(
        ([counter]) => nowMs - (this.#seen.get(counter)?.roseAt ?? Number.NEGATIVE_INFINITY) < PRESENT_MS,
      )
      .map(([, sentence]) => sentence);
  }
}
