/** The figures of `firstack bench registry`, and their table. */
import { availableParallelism } from 'node:os';
import type { Redis } from 'ioredis';
import { machineCpuSeconds, processCpuSeconds } from './cpu.js';
import { type FleetSize, LOAD_CHANGES, STATE_CHANGES } from './registry-fleet.js';

export const PROCESSORS = availableParallelism();

export interface RegistryFigure extends FleetSize {
  origins: number;
  services: number;
  /** The number of roles that are whole registries; the others send the same commands and skim the replies. */
  whole: number;
  connections: number;
  seconds: number;
  opsPerSecond: number;
  inBytesPerSecond: number;
  outBytesPerSecond: number;
  redisCpuPct: number;
  redisMemoryBytes: number;
  redisDatasetBytes: number;
  /** Of one whole gateway that is alone in a process. */
  gatewayCpuMsPerSecond: number;
  /** From a replica's change of state to a watched gateway's view. */
  convergenceMs: { p50: number; p99: number; max: number; samples: number };
  /**
   * From the last heartbeat of a replica that died until a watched gateway forgot it; null where none was forgotten
   * in time.
   */
  deathMs: { p50: number; max: number; samples: number } | null;
  /** Of all processors. Near 100, the machine was too small for the fleet, and so the figures are too high. */
  machineBusyPct: number;
  opsByCommand: Record<string, number>;
}

export interface Look {
  at: number;
  ops: number;
  inBytes: number;
  outBytes: number;
  memory: number;
  dataset: number;
  clients: number;
  /** Processor seconds of Redis, and of the whole machine. */
  cpu: number;
  machine: number;
  calls: Record<string, number>;
}

export async function look(redis: Redis, pid: number): Promise<Look> {
  const text = `${await redis.info('everything')}`;
  const number = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  const calls = [...text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map((m): [string, number] => [
    m[1],
    Number(m[2]),
  ]);
  return {
    at: performance.now(),
    ops: number('total_commands_processed'),
    inBytes: number('total_net_input_bytes'),
    outBytes: number('total_net_output_bytes'),
    memory: number('used_memory'),
    dataset: number('used_memory_dataset'),
    clients: number('connected_clients'),
    cpu: processCpuSeconds([pid]),
    machine: machineCpuSeconds(),
    calls: Object.fromEntries(calls),
  };
}

const thousands = (n: number): string => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ',');
const mega = (bytes: number): string => (bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1);

export function markdownTable(figures: readonly RegistryFigure[]): string {
  const rows: [string, (f: RegistryFigure) => string][] = [
    ['replicas / gateways', (f) => `${thousands(f.replicas)} / ${thousands(f.gateways)}`],
    ['services / origins', (f) => `${thousands(f.services)} / ${f.origins}`],
    ['connections to Redis', (f) => thousands(f.connections)],
    ['commands a second', (f) => thousands(f.opsPerSecond)],
    ['to Redis, MB/s', (f) => mega(f.inBytesPerSecond)],
    ['from Redis, MB/s', (f) => mega(f.outBytesPerSecond)],
    ['Redis, % of one processor', (f) => f.redisCpuPct.toFixed(1)],
    ['Redis memory, MB (of it data)', (f) => `${mega(f.redisMemoryBytes)} (${mega(f.redisDatasetBytes)})`],
    ['one gateway, ms of processor a second', (f) => f.gatewayCpuMsPerSecond.toFixed(1)],
    [
      "a replica's change known, ms: p50 / p99 / max",
      (f) => `${f.convergenceMs.p50} / ${f.convergenceMs.p99} / ${f.convergenceMs.max}`,
    ],
    [
      'a dead replica forgotten, ms after its last heartbeat: p50 / max',
      (f) => (f.deathMs === null ? '' : `${f.deathMs.p50} / ${f.deathMs.max}`),
    ],
    ['the machine, % of its processors', (f) => f.machineBusyPct.toFixed(0)],
    ['whole registries among the roles', (f) => thousands(f.whole)],
  ];
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  const [head, ...rest] = rows.map(([name, cell]) => [name, ...figures.map(cell)]);
  return [
    line(head),
    line(head.map((_, i) => (i === 0 ? '---' : '---:'))),
    ...rest.map(line),
    '',
    `Each second ${STATE_CHANGES * 100} % of the replicas change between up and busy, and ${LOAD_CHANGES * 100} % have a change of load that is`,
    `announced; each writes its number of connections with every heartbeat. ${PROCESSORS} processors.`,
    '',
  ].join('\n');
}
