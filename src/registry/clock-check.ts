/**
 * How far this host's wall clock is from the registry's. Records live by Redis's clock alone, so they do
 * not care; a tag carries its time, in epochs of 64 s, and one that is two epochs off is refused. So a clock
 * that is off is said while it still does no harm.
 */
import type { Redis } from 'ioredis';
import type { Logger } from '../log.js';
import { EPOCH_SECONDS } from '../wire/tag.js';

/** Two hosts may be off by so much, one each way, and still understand each other. */
export const CLOCK_TOLERANCE_MS = (EPOCH_SECONDS * 1000) / 2;
const EVERY_MS = 10_000;

export class ClockCheck {
  /** Ours less the registry's, to within half a round trip; undefined until measured. */
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

/** What to say of a clock that is off by so much; undefined when it is near enough. */
export function clockProblem(offsetMs: number | undefined): string | undefined {
  if (offsetMs === undefined || Math.abs(offsetMs) <= CLOCK_TOLERANCE_MS) return undefined;
  const seconds = Math.round(Math.abs(offsetMs) / 1000);
  return `clock is ${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'} the registry's: tags are refused from ${EPOCH_SECONDS} s on, connections then go to the origin`;
}
