/** One figure of `bench routing`. */
import { type Figure, figure as figureOf, type Target } from '../figure.js';

export interface RoutingFigure extends Figure {
  /** Figures of other software, measured in the same run. */
  peers: Record<string, number>;
}

/** Shares are told to a ten-thousandth: a target is 0.999. */
const DIGITS = 10_000;
const rounded = (x: number): number => Math.round(x * DIGITS) / DIGITS;

export interface Measured {
  value: number;
  low?: number;
  high?: number;
  peers?: Record<string, number>;
  what: string;
}

/** @param id `PART` or `PART:DETAIL`; the part is what `--only` takes */
export function figure(id: string, target: Target, m: Measured): RoutingFigure {
  return {
    ...figureOf({ bench: 'routing' }, id, m.value, target, m.what),
    value: rounded(m.value),
    low: rounded(m.low ?? m.value),
    high: rounded(m.high ?? m.value),
    peers: m.peers ?? {},
  };
}
