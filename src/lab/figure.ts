/** The figures of the benches that play something in a laboratory: `bench attacks`, `bench damage`, `bench routing`. */

export interface Figure {
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

/** What a bench was asked for, as far as its figures' commands repeat it. */
export interface Play {
  bench: 'attacks' | 'damage' | 'routing';
  /** Absent where the bench has none. */
  seed?: number;
  /** Further options, as they stand on the command line. */
  options?: string;
}

const DIGITS = 1000;
export const rounded = (value: number): number => Math.round(value * DIGITS) / DIGITS;

/** @param id figures of one play have the play's id, and a part of their own behind a colon */
export const commandOf = ({ bench, seed, options }: Play, id: string): string =>
  [
    `firstack bench ${bench} --only ${id.split(':')[0]}`,
    ...(seed === undefined ? [] : [`--seed ${seed}`]),
    ...(options === undefined ? [] : [options]),
  ].join(' ');

/** A figure that is measured once. */
export function figure(play: Play, id: string, value: number, target: Target, what: string): Figure {
  const shown = rounded(value);
  const isMet = 'least' in target ? value >= target.least : value <= target.most;
  return {
    ...{ id, value: shown, low: shown, high: shown },
    target: 'least' in target ? `>= ${target.least}` : `<= ${target.most}`,
    ...{ met: isMet ? 'yes' : 'no', command: commandOf(play, id), what },
  };
}
