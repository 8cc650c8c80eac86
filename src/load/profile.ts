/**
 * The rate profile: stages with a number of arrivals per second, and the times at which arrivals are due. Pure.
 *
 * N(t) is the area under the rate: the number of arrivals that are due by t. Uniform arrivals are due where N passes
 * ½, 1½, 2½ …; Poisson arrivals are due where N passes the arrivals of a unit Poisson process (time change). So both
 * follow a ramp exactly, and the number of arrivals has the same mean.
 */
import { generator } from './generator.js';

export interface Stage {
  /** Arrivals a second at the stage's beginning and at its end; linear in between. */
  fromPerS: number;
  toPerS: number;
  lastsS: number;
}

export const ARRIVALS = ['uniform', 'poisson'] as const;
export type Arrivals = (typeof ARRIVALS)[number];

const UNIT_S: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600 };

/** Seconds in `500ms`, `30s`, `2m`, `1h` or a plain number of seconds. @returns undefined for anything else */
export function parseDuration(text: string): number | undefined {
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  return parts === null ? undefined : Number(parts[1]) * UNIT_S[parts[2] ?? 's'];
}

/** `from:to:duration`, several separated by commas. @returns undefined for anything else */
export function parseRamp(text: string): Stage[] | undefined {
  const stages = text.split(',').map((part) => {
    const fields = part.split(':');
    const [fromPerS, toPerS] = fields.slice(0, 2).map(parseRate);
    const lastsS = parseDuration(fields[2] ?? '');
    if (fields.length !== 3 || fromPerS === undefined || toPerS === undefined || !lastsS) return undefined;
    return { fromPerS, toPerS, lastsS };
  });
  return stages.every((s) => s !== undefined) ? stages : undefined;
}

/** Arrivals a second. @returns undefined when the text is not a number from 0 */
export function parseRate(text: string): number | undefined {
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

export const durationS = (stages: readonly Stage[]): number => stages.reduce((sum, s) => sum + s.lastsS, 0);

const areaOf = (s: Stage): number => ((s.fromPerS + s.toPerS) / 2) * s.lastsS;

/** The number of arrivals of the profile; the mean for Poisson arrivals. */
export const expectedArrivals = (stages: readonly Stage[]): number =>
  stages.reduce((sum, s) => sum + areaOf(s), 0);

/**
 * The times at which arrivals are due, in ms from the beginning, ascending.
 * @param seed of Poisson arrivals; the same seed gives the same times
 */
export function dueTimes(stages: readonly Stage[], arrivals: Arrivals, seed: number): Float64Array {
  const random = generator(seed);
  const uniform = arrivals === 'uniform';
  const step = uniform ? () => 1 : () => -Math.log(1 - random());
  const due: number[] = [];
  let at = uniform ? 0.5 : step();
  let before = 0;
  let beganS = 0;
  for (const stage of stages) {
    const area = areaOf(stage);
    for (; at - before < area; at += step()) due.push((beganS + whenArea(stage, at - before)) * 1000);
    before += area;
    beganS += stage.lastsS;
  }
  return Float64Array.from(due);
}

/**
 * Seconds into the stage at which the area under its rate is `area`: the root of a quadratic, computed in the
 * numerically stable form.
 */
function whenArea({ fromPerS, toPerS, lastsS }: Stage, area: number): number {
  const slope = (toPerS - fromPerS) / lastsS;
  const root = Math.sqrt(Math.max(0, fromPerS * fromPerS + 2 * slope * area));
  return Math.min(lastsS, (2 * area) / (fromPerS + root));
}
