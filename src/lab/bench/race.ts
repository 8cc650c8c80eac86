/**
 * `firstack bench race`: how often each kind of race finds the nearest machine, and what it costs. Random topologies
 * from a printed seed, real TCP connections in a laboratory. The reference is a direct connection to each machine, to
 * a port that is never raced, over the same emulated paths.
 */

import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { generator } from '../../load/generator.js';
import { median } from '../../probe/distance.js';
import type { Race, Release } from '../../race/release.js';
import { Lab } from '../lab.js';
import { wanAddress } from '../network.js';
import { pause, waitUntil } from '../process.js';
import { DIRECT_PORT } from '../web-server.js';
import { Client, type Connection } from './connect.js';
import { plot } from './plot.js';
import { raceReport } from './race-report.js';
import { blankTopology, meanMs, type RandomTopology, randomTopology } from './random-topology.js';
import { type Figure, scenarios } from './scenarios.js';

const REPLICAS = 5;
export const SERVICE = '203.0.113.10';
const SERVICE_PORT = 80;
/** Two machines whose distances differ by less than this count as equally near. */
const GAP_MS = 3;
const SYNCHRONIZED_GAP_MS = 5;
const CONNECTIONS = 12;
const LEARNED_CONNECTIONS = 40;
const ORACLE_SAMPLES = 5;

export interface BenchRaceOptions {
  topologies: number;
  seed: number;
  json: boolean;
  /** File name for a plot. */
  svg?: string;
  /** File name for a page. */
  markdown?: string;
}

export interface Mode {
  id: string;
  race: Race;
  release: Release;
}

const MODES: Mode[] = [
  { id: 'origin/immediate', race: 'origin', release: 'immediate' },
  { id: 'origin/synchronized', race: 'origin', release: 'synchronized' },
  { id: 'gateway', race: 'gateway', release: 'synchronized' },
  { id: 'learned', race: 'learned', release: 'synchronized' },
];

/** The results of one mode in one topology. */
interface Sample {
  symmetric: boolean;
  /** Whether the gap, in this mode's measure, is large enough that one machine is the nearest. */
  counted: boolean;
  connections: number;
  failed: number;
  onNearest: number;
  /** For each connection: round-trip ms above the nearest machine's. */
  regretMs: number[];
  connectMs: number[];
  /** Times of direct connections, the reference. */
  nearestMs: number;
  originMs: number;
  /** d(C,O) + Dmax + d(winner,C). */
  boundMs: number;
  extraSyns: number;
  steady: number;
}

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);

export async function benchRace(o: BenchRaceOptions): Promise<number> {
  say(`${o.topologies} topologies of ${REPLICAS} replicas, seed ${o.seed}`);
  const random = generator(o.seed);
  const hosts = blankTopology(REPLICAS).wanHosts;
  const topologies = Array.from({ length: o.topologies }, (_, i) =>
    randomTopology(hosts, random, i % 2 === 0),
  );
  const command = `firstack bench race --topologies ${o.topologies} --seed ${o.seed} --json`;
  const figures: Figure[] = [];
  const samples = new Map<string, Sample[]>();
  for (const mode of MODES) samples.set(mode.id, await runMode(mode, topologies));
  figures.push(...figuresOf(samples, command));
  figures.push(...(await scenarios(command, say)));
  if (o.svg !== undefined) writeFileSync(o.svg, drawing(samples, o));
  if (o.markdown !== undefined) writeFileSync(o.markdown, raceReport(figures, basename(o.svg ?? 'race.svg')));
  if (o.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  else for (const f of figures) process.stdout.write(`${line(f)}\n`);
  return figures.every((f) => f.met !== 'no') ? 0 : 1;
}

function drawing(samples: Map<string, Sample[]>, o: BenchRaceOptions): string {
  const series = (of: (s: Sample) => number[]): { name: string; values: number[] }[] =>
    MODES.map((m) => ({ name: m.id, values: samples.get(m.id)!.flatMap(of) }));
  return plot(`Share of connections (${o.topologies} random topologies, seed ${o.seed})`, [
    {
      title: 'round trip above the nearest',
      unit: 'ms',
      least: 0,
      most: 200,
      series: series((s) => s.regretMs),
    },
    {
      title: 'connect time',
      unit: 'nearest round trips',
      least: 0,
      most: 8,
      series: series((s) => s.connectMs.map((c) => c / s.nearestMs)),
    },
  ]);
}

function line(f: Figure): string {
  const value = typeof f.value === 'number' ? String(Math.round(f.value * 10_000) / 10_000) : f.value;
  return `${f.id.padEnd(16)} ${f.mode.padEnd(20)} ${value.padEnd(34)} ${f.target.padEnd(18)} ${f.met}`;
}

async function runMode(mode: Mode, topologies: RandomTopology[]): Promise<Sample[]> {
  const lab = await Lab.create({
    name: `bench-${process.pid}`,
    topology: blankTopology(REPLICAS),
    configuration: 'A',
    race: mode.race,
    release: mode.release,
    log: 'warn',
  });
  const client = new Client(lab);
  const out: Sample[] = [];
  try {
    for (const [n, topology] of topologies.entries()) {
      await lab.wan.setPaths(topology.paths);
      // Forgets what was learned, because it was learned in the topology before.
      if (mode.race === 'learned') {
        await lab.stopRole('gateway');
        lab.startRole('gateway');
        await lab.roles.waitUntilReady();
      }
      if (mode.id === 'origin/synchronized') await measured(lab, topology);
      out.push(await sample(lab, client, mode, topology));
      if ((n + 1) % 5 === 0 || n + 1 === topologies.length) say(`${mode.id}: ${n + 1}/${topologies.length}`);
    }
  } finally {
    client.end();
    await lab.down();
  }
  return out;
}

/** Waits until the origin has measured every distance again. */
async function measured(lab: Lab, t: RandomTopology): Promise<void> {
  const settled = async (): Promise<boolean> => {
    const candidates = (await lab.roles.status('origin'))?.candidates ?? [];
    return candidates.every((c) => {
      const half = (meanMs(t, 'origin', c.id) + meanMs(t, c.id, 'origin')) / 2;
      return c.distanceMs !== null && Math.abs(c.distanceMs - half) < 1.5;
    });
  };
  await waitUntil(settled, 15_000, 100);
  await pause(300);
}

async function sample(lab: Lab, client: Client, mode: Mode, t: RandomTopology): Promise<Sample> {
  const machines = ['origin', ...lab.topology.replicas];
  const oracle = new Map<string, number>();
  await Promise.all(
    machines.map(async (m) => {
      const address = m === 'origin' ? SERVICE : wanAddress(m);
      const direct = await client.connect(address, DIRECT_PORT, ORACLE_SAMPLES);
      oracle.set(m, median(direct.map((c) => c.connectMs)));
    }),
  );
  const roundTrip = (m: string): number => meanMs(t, 'gateway', m) + meanMs(t, m, 'gateway');
  const cost = (m: string): number => (mode.race === 'origin' ? meanMs(t, m, 'gateway') : roundTrip(m));
  const byCost = [...machines].sort((a, b) => cost(a) - cost(b));
  const nearest = byCost[0];
  const least = Math.min(...machines.map(roundTrip));
  const gap = cost(byCost[1]) - cost(nearest);

  const count = mode.race === 'learned' ? LEARNED_CONNECTIONS : CONNECTIONS;
  const first = mode.race === 'learned' ? await client.connect(SERVICE, SERVICE_PORT) : [];
  // The losers of the first connection answer before the counting begins.
  if (mode.race === 'learned') await pause(400);
  const before = await copiesSent(lab, mode);
  const steady = await client.connect(SERVICE, SERVICE_PORT, count, 4);
  const extraSyns = (await copiesSent(lab, mode)) - before;
  const all = [...first, ...steady];
  const ok = all.filter((c) => c.servedBy !== '');
  const served = ok.length === 0 ? nearest : mostly(ok);
  const dmax = Math.max(
    ...lab.topology.replicas.map((r) => (meanMs(t, 'origin', r) + meanMs(t, r, 'origin')) / 2),
  );
  return {
    symmetric: t.symmetric,
    counted: gap >= (mode.race === 'origin' ? SYNCHRONIZED_GAP_MS : GAP_MS),
    connections: all.length,
    failed: all.length - ok.length,
    onNearest: ok.filter((c) => c.servedBy === nearest).length,
    regretMs: ok.map((c) => roundTrip(c.servedBy) - least),
    connectMs: ok.map((c) => c.connectMs),
    nearestMs: Math.min(...oracle.values()),
    originMs: oracle.get('origin')!,
    boundMs: meanMs(t, 'gateway', 'origin') + dmax + meanMs(t, served, 'gateway'),
    extraSyns,
    steady: steady.length,
  };
}

/** SYNs other than the client's own, so far: the origin's copies, or the gateway's. */
async function copiesSent(lab: Lab, mode: Mode): Promise<number> {
  if (mode.race !== 'origin') return lab.roles.counter('gateway', 'emit.syn-copy');
  return (
    (await lab.roles.counter('origin', 'emit.copy')) + (await lab.roles.counter('origin', 'queued.copy'))
  );
}

function mostly(connections: Connection[]): string {
  const counts = new Map<string, number>();
  for (const c of connections) counts.set(c.servedBy, (counts.get(c.servedBy) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0][0];
}

const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
const mean = (values: number[]): number => sum(values) / values.length;
const quantile = (values: number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))];

function figuresOf(samples: Map<string, Sample[]>, command: string): Figure[] {
  const out: Figure[] = [];
  const add = (id: string, mode: string, value: number, target: string, met: boolean | null): void =>
    void out.push({ id, mode, value, target, met: met === null ? 'reported' : met ? 'yes' : 'no', command });
  const share = (list: Sample[]): number => {
    const counted = list.filter((s) => s.counted);
    return sum(counted.map((s) => s.onNearest)) / sum(counted.map((s) => s.connections));
  };
  for (const mode of MODES) {
    const list = samples.get(mode.id)!;
    const symmetric = list.filter((s) => s.symmetric);
    const asymmetric = list.filter((s) => !s.symmetric);
    if (mode.id === 'origin/synchronized') {
      add('nearest', `${mode.id} symmetric`, share(symmetric), '>= 0.99', share(symmetric) >= 0.99);
      add('nearest', `${mode.id} asymmetric`, share(asymmetric), 'reported', null);
    } else if (mode.race === 'origin') add('nearest', mode.id, share(list), 'reported', null);
    else add('nearest', mode.id, share(list), '>= 0.995', share(list) >= 0.995);

    const ratios = list.flatMap((s) => s.connectMs.map((c) => c / s.nearestMs));
    const own = mode.race !== 'origin';
    add(
      'connect/rtt',
      mode.id,
      median(ratios),
      own ? '<= 1.1' : 'reported',
      own ? median(ratios) <= 1.1 : null,
    );
    if (mode.id === 'origin/synchronized') {
      const bound = median(list.flatMap((s) => s.connectMs.map((c) => c / s.boundMs)));
      add('connect/bound', mode.id, bound, '<= 1.05', bound <= 1.05);
    }
    // The gain of the mean client, and the mean of the clients' gains, in which near origins have more weight.
    const origin = mean(list.map((s) => mean(s.connectMs))) / mean(list.map((s) => s.originMs));
    const each = mean(list.map((s) => mean(s.connectMs) / s.originMs));
    const learned = mode.race === 'learned';
    add('connect/origin', mode.id, origin, learned ? '<= 0.55' : 'reported', learned ? origin <= 0.55 : null);
    add('connect/origin', `${mode.id}, mean of ratios`, each, 'reported', null);
    const extra = sum(list.map((s) => s.extraSyns)) / sum(list.map((s) => s.steady));
    add('extra-syns', mode.id, extra, learned ? '<= 0.15' : 'reported', learned ? extra <= 0.15 : null);
    const regret = list.flatMap((s) => s.regretMs);
    add('regret/mean', mode.id, mean(regret), 'reported', null);
    add('regret/p99', mode.id, quantile(regret, 0.99), 'reported', null);
    const failed = sum(list.map((s) => s.failed));
    add('failed', mode.id, failed, '0', failed === 0);
  }
  return out;
}
