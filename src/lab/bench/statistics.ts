/** Statistics of the bench's samples: medians, their bootstrap intervals, and whether a target was met. */
import { median } from '../../probe/distance.js';

export interface Interval {
  value: number;
  /** Ends of the 95 % interval of the median. */
  low: number;
  high: number;
}

export type Met = 'yes' | 'no' | 'unresolved' | 'reported';

export interface Target {
  /** `least`: the value must be at least the target; `most`: at most. */
  kind: 'least' | 'most';
  value: number;
}

const RESAMPLES = 2000;

/** The `q` quantile, linearly between neighbours. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}

/** The median, and the interval of the medians of resamples. `random` gives numbers from 0 to 1. */
export function bootstrap(values: readonly number[], random: () => number): Interval {
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(values.map(() => values[Math.floor(random() * values.length)])),
  );
  return { value: median(values), low: quantile(medians, 0.025), high: quantile(medians, 0.975) };
}

export function judge({ low, high }: Interval, target: Target | undefined): Met {
  if (target === undefined) return 'reported';
  const [worse, better] = target.kind === 'least' ? [low, high] : [-high, -low];
  const wanted = target.kind === 'least' ? target.value : -target.value;
  if (worse >= wanted) return 'yes';
  return better < wanted ? 'no' : 'unresolved';
}

/** Whether the middle half of the samples is wider than a fifth of their median. */
export function isUnstable(values: readonly number[]): boolean {
  return quantile(values, 0.75) - quantile(values, 0.25) > 0.2 * median(values);
}

export function describeTarget(target: Target | undefined): string {
  if (target === undefined) return 'reported';
  return `${target.kind === 'least' ? '>=' : '<='} ${target.value}`;
}
