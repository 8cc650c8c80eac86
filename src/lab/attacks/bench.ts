/**
 * `firstack bench attacks`: what a client that floods, and a thief who holds one machine's keys, do to the others; and
 * what a change of all keys does. Forged packets and records are tried in great numbers by `npm run fuzz`.
 */
import type { AttackFigure } from './figure.js';
import { FLOODS, playFlood } from './flood.js';
import { playRotation } from './rotation.js';
import { playThief, THIEVES } from './thief.js';

export interface AttacksOptions {
  /** The beginning of the ids that are tried. */
  only?: string;
  seed: number;
  /** How long a thief goes on. */
  seconds: number;
  json: boolean;
}

const ROTATION_PER_SECOND = 200;

type Play = () => Promise<AttackFigure[]>;

/** @returns the exit code: 1 when a target was not met */
export async function benchAttacks(o: AttacksOptions): Promise<number> {
  const all: [string, Play][] = [
    ...FLOODS.map((flood): [string, Play] => [flood.id, () => playFlood(flood, o.seed)]),
    ...Object.keys(THIEVES).map((id): [string, Play] => [id, () => playThief(id, o.seconds, o.seed)]),
    ['rotation', () => playRotation(ROTATION_PER_SECOND, o.seed)],
  ];
  // Without --only, or with one that is an id itself, exactly that; else what begins so.
  const exact = all.filter(([id]) => id === o.only);
  const wanted = exact.length > 0 ? exact : all.filter(([id]) => id.startsWith(o.only ?? ''));
  const figures: AttackFigure[] = [];
  if (!o.json) process.stdout.write(HEAD);
  for (const [, play] of wanted) {
    const made = await play();
    figures.push(...made);
    if (!o.json) process.stdout.write(made.map(rowOf).join(''));
  }
  if (o.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  return figures.length > 0 && figures.every((f) => f.met === 'yes') ? 0 : 1;
}

const HEAD = `met ${'attack'.padEnd(32)}${'figure'.padStart(9)}  ${'target'.padEnd(10)}what\n`;
const rowOf = (f: AttackFigure): string =>
  `${f.met.padEnd(4)}${f.id.padEnd(32)}${String(f.value).padStart(9)}  ${f.target.padEnd(10)}${f.what}\n`;
