/**
 * `firstack bench attacks`: what a client that floods, and a thief who holds one machine's keys, do to the others; what a change
 * of all keys and an upgrade do; what leaves for what comes; and forged packets and records in great numbers.
 */
import { writeFileSync } from 'node:fs';
import type { Figure } from '../figure.js';
import { playAmplification } from './amplification.js';
import { FLOODS, playFlood } from './flood.js';
import { playForged } from './forged.js';
import { pageAt, pageWith } from './page.js';
import { playRotation } from './rotation.js';
import { playThief, THIEVES } from './theft.js';
import { playUpgrade } from './upgrade.js';

export interface AttacksOptions {
  /** The beginning of the ids that are tried. */
  only?: string;
  seed: number;
  /** How long a thief goes on. */
  seconds: number;
  /** The installed tree of the release from which machines are upgraded; by default this build is both. */
  before?: string;
  json: boolean;
  /** The page in which the figures are put. */
  markdown?: string;
}

/** Connections a second while keys change. */
const PER_SECOND = 200;

type Play = () => Promise<Figure[]>;

/** @returns the exit code: 1 when a target was not met */
export async function benchAttacks(o: AttacksOptions): Promise<number> {
  const only = o.only ?? '';
  const all: [string, Play][] = [
    ...FLOODS.map((flood): [string, Play] => [flood.id, () => playFlood(flood, o.seed)]),
    ...Object.keys(THIEVES).map((id): [string, Play] => [id, () => playThief(id, o.seconds, o.seed)]),
    ['amplification', () => playAmplification(only, o.seed)],
    ['forged', () => playForged(only, o.seed)],
    ['rotation', () => playRotation(PER_SECOND, o.seed)],
    ['upgrade', () => playUpgrade(PER_SECOND, o.seed, o.before)],
  ];
  // Without --only, or with one that is an id itself, exactly that; else what begins so.
  const exact = all.filter(([id]) => id === o.only);
  const begins = ([id]: [string, Play]): boolean => id.startsWith(only) || only.startsWith(`${id}.`);
  const wanted = exact.length > 0 ? exact : all.filter(begins);
  const figures: Figure[] = [];
  if (!o.json) process.stdout.write(HEAD);
  for (const [, play] of wanted) {
    const made = await play();
    figures.push(...made);
    if (!o.json) process.stdout.write(made.map(rowOf).join(''));
  }
  if (o.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  if (o.markdown !== undefined) writeFileSync(o.markdown, pageWith(pageAt(o.markdown), figures));
  return figures.length > 0 && figures.every((f) => f.met === 'yes') ? 0 : 1;
}

const HEAD = `met ${'attack'.padEnd(32)}${'figure'.padStart(9)}  ${'target'.padEnd(10)}what\n`;
const rowOf = (f: Figure): string =>
  `${f.met.padEnd(4)}${f.id.padEnd(32)}${String(f.value).padStart(9)}  ${f.target.padEnd(10)}${f.what}\n`;
