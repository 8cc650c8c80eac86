/**
 * Compares this host's wall clock with the registry's. Records expire by Redis's clock alone, so a difference does
 * not affect them. A tag carries its time, in epochs of 64 s, and a tag that is two epochs off is refused. So a clock
 * that is off is reported while it still does no harm.
 */
import type { Redis } from 'ioredis';
import type { Logger } from '../log.js';
import { EPOCH_SECONDS } from '../wire/tag.js';

/** Two hosts whose clocks are off by this much in opposite directions still accept each other's tags. */
export const CLOCK_TOLERANCE_MS = (EPOCH_SECONDS * 1000) / 2;
const EVERY_MS = 10_000;

export class ClockCheck {
  /** This host's clock less the registry's, to within half a round trip; undefined until measured. */
  offsetMs: number | undefined;
  #measuredAt = 0;
  #warned = false;

  constructor(readonly log: Pick<Logger, 'warn' | 'info'>) {}

  async measureSometimes(redis: Pick<Redis, 'time'>, wallMs: () => number): Promise<void> {
    if (performance.now() - this.#measuredAt >= EVERY_MS) await this.measure(redis, wallMs);
  }

  async measure(redis: Pick<Redis, 'time'>, wallMs: () => number): Promise<void> {
    this.#measuredAt = performance.now();
    const before = wallMs();
    const [seconds, micros] = (await redis.time()).map(Number);
    this.offsetMs = Math.round((before + wallMs()) / 2 - (seconds * 1000 + micros / 1000));
    const problem = clockProblem(this.offsetMs);
    if (problem !== undefined && !this.#warned) this.log.warn({ clockOffsetMs: this.offsetMs }, problem);
    if (problem === undefined && this.#warned) this.log.info('the clock is right again');
    this.#warned = problem !== undefined;
  }
}

/** The text to report for a clock that is off by `offsetMs`; undefined when it is accurate enough. */
export function clockProblem(offsetMs: number | undefined): string | undefined {
  if (offsetMs === undefined || Math.abs(offsetMs) <= CLOCK_TOLERANCE_MS) return undefined;
  const seconds = Math.round(Math.abs(offsetMs) / 1000);
  return `clock is ${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'} the registry's: tags are refused from ${EPOCH_SECONDS} s on, connections then go to the origin`;
}
