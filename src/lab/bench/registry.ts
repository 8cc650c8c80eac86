/**
 * `firstack bench registry`: the load of a fleet on one Redis. A private redis-server on a Unix socket, one
 * connection per role, and records that change as often as in normal operation (`registry-fleet.ts`).
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { EXIT, FirstackError } from '../../errors.js';
import { onEnd } from '../ending.js';
import { packageRoot } from '../paths.js';
import { pause, waitUntil } from '../process.js';
import type { AgentPart, AgentReport } from './registry-agent.js';
import { type FleetSize, originsOf, SILENT, servicesOf } from './registry-fleet.js';
import { type Look, look, markdownTable, PROCESSORS, type RegistryFigure } from './registry-report.js';
import { quantile } from './statistics.js';

export interface RegistryBenchOptions {
  replicas?: number;
  gateways?: number;
  seconds: number;
  json: boolean;
  markdown?: string;
}

const SIZES: FleetSize[] = [
  { replicas: 100, gateways: 10 },
  { replicas: 1000, gateways: 100 },
  { replicas: 10_000, gateways: 1000 },
];
const OBSERVED: FleetSize = { replicas: 20, gateways: 5 };
/** Up to this number of roles, all of them are whole registries. */
const WHOLE_AT_MOST = 1100;
/**
 * In larger fleets this many light roles share a connection, because two processors could not serve more connections.
 */
const PER_LINE = 20;
const SETTLE_MS = 5000;
/** Redis keeps some file descriptors for itself. */
const SPARE_CLIENTS = 64;

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
const agentScript = `${packageRoot}/dist/src/lab/bench/registry-agent.js`;

export async function benchRegistry(o: RegistryBenchOptions): Promise<number> {
  if ((o.replicas === undefined) !== (o.gateways === undefined))
    throw new FirstackError('FSA_USAGE', '--replicas and --gateways must be given together');
  const sizes = o.replicas === undefined ? SIZES : [{ replicas: o.replicas, gateways: o.gateways! }];
  const figures: RegistryFigure[] = [];
  for (const size of sizes) figures.push(await measureFleet(size, o.seconds));
  const table = markdownTable(figures);
  if (o.markdown !== undefined) writeFileSync(o.markdown, table);
  process.stdout.write(o.json ? `${JSON.stringify(figures, null, 2)}\n` : table);
  return EXIT.ok;
}

async function measureFleet(size: FleetSize, seconds: number): Promise<RegistryFigure> {
  const directory = mkdtempSync(join(tmpdir(), 'firstack-registry-'));
  const children: ChildProcess[] = [];
  const end = async (): Promise<void> => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  };
  const forget = onEnd({ orderly: end, atOnce: () => children.map((c) => c.kill('SIGKILL')) });
  try {
    return await run(size, seconds, join(directory, 'redis.sock'), children);
  } finally {
    await end();
    forget();
  }
}

async function run(
  size: FleetSize,
  seconds: number,
  path: string,
  children: ChildProcess[],
): Promise<RegistryFigure> {
  const redis = await startRedis(size, path, children);
  const agents = await startFleet(size, path, children);
  await pause(SETTLE_MS);
  say(`${size.replicas} replicas, ${size.gateways} gateways: measured for ${seconds} s`);
  const before = await look(redis, children[0].pid!);
  await Promise.all(agents.all.map((a) => tell(a, 'measure')));
  await pause(seconds * 1000);
  const after = await look(redis, children[0].pid!);
  const reports = await Promise.all(agents.all.map((a) => tell(a, 'report') as Promise<AgentReport>));
  redis.disconnect();
  const { convergenceMs, gone } = reports.at(-2)!;
  const silent = Object.assign({}, ...reports.map((r) => r.silent)) as Record<string, number>;
  const deaths = Object.entries(silent).flatMap(([id, at]) =>
    (gone[id] ?? []).map((t) => t - at).filter((ms) => ms > 0),
  );
  if (Object.keys(silent).some((id) => gone[id] === undefined))
    say('a replica that fell silent was still known at the end');
  const span = (after.at - before.at) / 1000;
  const rate = (pick: (l: Look) => number): number => Math.round((pick(after) - pick(before)) / span);
  const commands = Object.keys(after.calls).filter((c) => after.calls[c] !== (before.calls[c] ?? 0));
  const round = (ms: number): number => Math.round(ms);
  return {
    ...size,
    origins: originsOf(size),
    services: servicesOf(size),
    whole: agents.whole,
    connections: after.clients,
    seconds: Math.round(span * 10) / 10,
    opsPerSecond: rate((l) => l.ops),
    inBytesPerSecond: rate((l) => l.inBytes),
    outBytesPerSecond: rate((l) => l.outBytes),
    redisCpuPct: Math.round(((after.cpu - before.cpu) / span) * 1000) / 10,
    redisMemoryBytes: after.memory,
    redisDatasetBytes: after.dataset,
    gatewayCpuMsPerSecond: Math.round(reports.at(-1)!.cpuMsPerSecond * 1000) / 1000,
    convergenceMs: {
      p50: round(quantile(convergenceMs, 0.5)),
      p99: round(quantile(convergenceMs, 0.99)),
      max: round(Math.max(...convergenceMs)),
      samples: convergenceMs.length,
    },
    deathMs:
      deaths.length === 0
        ? null
        : { p50: round(quantile(deaths, 0.5)), max: round(Math.max(...deaths)), samples: deaths.length },
    machineBusyPct: Math.round(((after.machine - before.machine) / span / PROCESSORS) * 1000) / 10,
    opsByCommand: Object.fromEntries(commands.map((c) => [c, rate((l) => l.calls[c] ?? 0)])),
  };
}

async function startRedis(size: FleetSize, path: string, children: ChildProcess[]): Promise<Redis> {
  const clients = size.replicas + size.gateways + originsOf(size) + SPARE_CLIENTS;
  const argv = [
    '--port',
    '0',
    '--unixsocket',
    path,
    '--save',
    '',
    '--appendonly',
    'no',
    '--maxclients',
    String(clients),
  ];
  const child = spawn('redis-server', argv, { stdio: 'ignore' });
  child.on('error', () => {});
  children.push(child);
  const redis = new Redis({ path, lazyConnect: true, protocol: 2, retryStrategy: () => null });
  redis.on('error', () => {});
  const answers = (): Promise<boolean> =>
    redis.connect().then(
      () => true,
      () => false,
    );
  if (!(await waitUntil(answers, 5000, 50)))
    throw new FirstackError('FSA_LAB_FAILED', 'redis-server did not start');
  return redis;
}

async function startFleet(size: FleetSize, path: string, children: ChildProcess[]) {
  const observed = {
    replicas: Math.min(OBSERVED.replicas, size.replicas),
    gateways: Math.min(OBSERVED.gateways, size.gateways),
  };
  const light = size.replicas + size.gateways > WHOLE_AT_MOST;
  const perLine = light ? PER_LINE : 1;
  const all: ChildProcess[] = [];
  const part = async (how: Pick<AgentPart, 'part' | 'kind'>): Promise<void> => {
    const agent = fork(agentScript, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    children.push(agent);
    all.push(agent);
    await tell(agent, { ...how, path, size, observed, light, perLine });
  };
  await part({ part: 'origins' });
  say('replicas');
  await part({ part: 'rest', kind: 'replica' });
  say('gateways');
  await part({ part: 'rest', kind: 'gateway' });
  await part({ part: 'observed' });
  await part({ part: 'one' });
  const some = observed.replicas + observed.gateways;
  return { all, whole: originsOf(size) + 1 + (light ? some : size.replicas + size.gateways - SILENT) };
}

function tell(agent: ChildProcess, message: AgentPart | 'measure' | 'report'): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new FirstackError('FSA_LAB_FAILED', 'a process of the fleet ended'));
    agent.once('exit', onExit);
    agent.once('message', (answer) => {
      agent.off('exit', onExit);
      resolve(answer);
    });
    agent.send(message);
  });
}
