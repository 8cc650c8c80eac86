/** One figure of `bench routing`. */
export interface RoutingFigure {
  id: string;
  value: number;
  low: number;
  high: number;
  target: string;
  met: 'yes' | 'no';
  /** Figures of other software, measured in the same run. */
  peers: Record<string, number>;
  command: string;
  /** What was done, and what was seen beside the figure. */
  what: string;
}

export type Target = { least: number } | { most: number };

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
  const met = 'least' in target ? m.value >= target.least : m.value <= target.most;
  return {
    id,
    value: rounded(m.value),
    low: rounded(m.low ?? m.value),
    high: rounded(m.high ?? m.value),
    target: 'least' in target ? `>= ${target.least}` : `<= ${target.most}`,
    met: met ? 'yes' : 'no',
    peers: m.peers ?? {},
    command: `firstack bench routing --only ${id.split(':')[0]}`,
    what: m.what,
  };
}
