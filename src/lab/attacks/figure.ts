/** One figure of `bench attacks`. */
export interface AttackFigure {
  id: string;
  value: number;
  low: number;
  high: number;
  target: string;
  met: 'yes' | 'no';
  command: string;
  /** What was done, and what was seen beside the figure. */
  what: string;
}

export type Target = { least: number } | { most: number };

const DIGITS = 1000;

export function figure(id: string, seed: number, value: number, target: Target, what: string): AttackFigure {
  const rounded = Math.round(value * DIGITS) / DIGITS;
  const met = 'least' in target ? value >= target.least : value <= target.most;
  return {
    ...{ id, value: rounded, low: rounded, high: rounded },
    target: 'least' in target ? `>= ${target.least}` : `<= ${target.most}`,
    met: met ? 'yes' : 'no',
    command: `firstack bench attacks --only ${id.split(':')[0]} --seed ${seed}`,
    what,
  };
}
