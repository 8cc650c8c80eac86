/**
 * `firstack bench paths`: transfers over paths with a narrow hop, in every configuration, with the fast path and
 * without it: how many arrive whole, and how long they stand still.
 */
import { writeFileSync } from 'node:fs';
import { CONFIGURATIONS, type Configuration } from '../../race/records.js';
import { plot } from '../bench/plot.js';
import { type Narrow, NEAREST, transfers, withNarrow } from './scenes.js';
import type { Transfer, Way } from './transfer.js';

export interface PathsOptions {
  configuration?: Configuration;
  family?: 4 | 6;
  only?: string;
  transfers: number;
  seed: number;
  /** Where a plot is drawn. */
  svg?: string;
  json: boolean;
}

export interface PathsFigure {
  id: string;
  /** Transfers that arrived whole. */
  value: number;
  /** The least and the greatest longest stall of a transfer, ms. */
  low: number;
  high: number;
  target: string;
  met: 'yes' | 'no' | 'reported';
  command: string;
  servedBy: Record<string, number>;
  errors: Record<string, number>;
}

const AT_ONCE = 4;
const STALL_MS = 1000;
/** Where no ICMP error comes, the first stall of a path may be this long. */
const BLIND_STALL_MS = 5000;

interface Case extends Narrow {
  id: string;
}

const KINDS = { icmp: 'P12', blocked: 'P3', fragments: 'P4' } as const;

/**
 * Every case, by id: `KIND.CONFIGURATION.HOP.MTU.FASTPATH`, and `.v6` over IPv6: in configuration A, through the TUN,
 * where the hop sends errors.
 */
export function cases(seed: number): Case[] {
  const all: Case[] = [];
  for (const kind of ['icmp', 'blocked', 'fragments'] as const)
    for (const configuration of CONFIGURATIONS)
      for (const hop of kind === 'blocked' ? (['wan'] as const) : (['wan', 'client'] as const))
        for (const mtu of kind === 'icmp' ? [1280, 1400, 1492] : [1400])
          for (const fastpath of ['auto', 'off'] as const) {
            const carried = fastpath === 'auto' ? 'pinned' : 'tun';
            const id = `${KINDS[kind]}.${configuration}.${hop}.${mtu}.${carried}`;
            all.push({ id, kind, configuration, hop, mtu, fastpath, seed, family: 4 });
            if (kind === 'icmp' && configuration === 'A' && fastpath === 'off')
              all.push({ id: `${id}.v6`, kind, configuration, hop, mtu, fastpath, seed, family: 6 });
          }
  return all;
}

/** @returns the exit code: 1 when a target was not met */
export async function benchPaths(o: PathsOptions): Promise<number> {
  const wanted = cases(o.seed).filter(
    (c) =>
      c.id.startsWith(o.only ?? '') &&
      (o.family === undefined || c.family === o.family) &&
      (o.configuration === undefined || c.configuration === o.configuration),
  );
  const figures: PathsFigure[] = [];
  const stalls: Stalls[] = [];
  if (!o.json) process.stdout.write(HEAD);
  for (const c of wanted) {
    const made = await withNarrow(c, async (lab) => ({
      down: await transfers(lab, 'down', o.transfers, AT_ONCE),
      up: await transfers(lab, 'up', o.transfers, AT_ONCE),
    }));
    for (const way of ['down', 'up'] as const) {
      const figure = judged(c, way, made[way], o);
      figures.push(figure);
      stalls.push({ kind: c.kind, configuration: c.configuration, ms: made[way].map((t) => t.stallMs) });
      if (!o.json) process.stdout.write(lineOf(figure));
    }
  }
  if (o.svg !== undefined) writeFileSync(o.svg, drawn(stalls));
  if (o.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  return figures.length > 0 && figures.every((f) => f.met !== 'no') ? 0 : 1;
}

function judged(c: Case, way: Way, made: readonly Transfer[], o: PathsOptions): PathsFigure {
  const whole = made.filter((t) => t.error === '').length;
  // Where a replica is busy with transfers, another one now and then wins, over another path.
  const over = made.filter((t) => t.servedBy === NEAREST).length;
  const stalls = made.map((t) => t.stallMs);
  const most = c.kind === 'blocked' ? BLIND_STALL_MS : STALL_MS;
  const met = whole === o.transfers && over >= o.transfers / 2 && Math.max(...stalls) <= most;
  return {
    id: `${c.id}.${way}`,
    value: whole,
    low: Math.min(...stalls),
    high: Math.max(...stalls),
    target: `${o.transfers} of ${o.transfers} whole, half of them by ${NEAREST}; longest stall <= ${most} ms`,
    met: met ? 'yes' : 'no',
    command: `firstack bench paths --only ${c.id} --transfers ${o.transfers} --seed ${c.seed}`,
    servedBy: tally(made.map((t) => t.servedBy)),
    errors: tally(made.filter((t) => t.error !== '').map((t) => t.error)),
  };
}

interface Stalls extends Pick<Narrow, 'kind' | 'configuration'> {
  ms: number[];
}

const TITLES = {
  icmp: 'the hop sends ICMP errors',
  blocked: 'it sends none',
  fragments: 'it fragments',
} as const;

/** The longest stall of each transfer, cumulative: a panel per kind of hop, a line per configuration. */
function drawn(stalls: readonly Stalls[]): string {
  const panels = (['icmp', 'blocked', 'fragments'] as const)
    .filter((kind) => stalls.some((s) => s.kind === kind))
    .map((kind) => ({
      title: TITLES[kind],
      unit: 'ms',
      least: 0,
      most: STALL_MS,
      series: CONFIGURATIONS.map((name) => ({
        name,
        values: stalls.filter((s) => s.kind === kind && s.configuration === name).flatMap((s) => s.ms),
      })).filter((s) => s.values.length > 0),
    }));
  return plot('longest stall of a transfer over a narrow hop', panels);
}

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

const HEAD = `met  ${'path'.padEnd(32)}${'whole'.padStart(6)}${'stall ms'.padStart(16)}  served by\n`;

function lineOf(f: PathsFigure): string {
  const told = (counts: Record<string, number>): string =>
    Object.entries(counts)
      .map(([what, n]) => `${n} × ${what === '' ? 'no machine' : what}`)
      .join(', ');
  const why = Object.keys(f.errors).length === 0 ? '' : `: ${told(f.errors)}`;
  const stall = `${f.low} to ${f.high}`.padStart(16);
  return `${f.met.padEnd(5)}${f.id.padEnd(32)}${String(f.value).padStart(6)}${stall}  ${told(f.servedBy)}${why}\n`;
}
