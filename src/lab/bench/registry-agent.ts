/**
 * A process of `firstack bench registry`; an IPC message tells it which part of the fleet it plays:
 *
 *   origins   all origins, as whole registries; the first has the sweeper's lease, because light roles do not sweep
 *   observed  a few replicas that change on purpose, and a few gateways that are watched: whole registries
 *   rest      all other roles: whole registries in a small fleet, light roles in a large one
 *   one       one whole gateway alone, to measure its processor time
 */
import { createLog, type Logger } from '../../log.js';
import { gatewayKind, originKind, raceKinds, racePart, replicaKind } from '../../race/records.js';
import { resyncEveryMs } from '../../registry/follow.js';
import { HEARTBEAT_MS } from '../../registry/keys.js';
import type { RecordKind } from '../../registry/kinds.js';
import { RedisRegistry } from '../../registry/redis.js';
import { serviceKind, serviceKindFor } from '../../registry/service.js';
import {
  type FleetSize,
  gatewayRecord,
  LOAD_CHANGES,
  originRecord,
  originsOf,
  replicaRecord,
  SILENT,
  STATE_CHANGES,
  servicesOf,
  servicesOfOrigin,
} from './registry-fleet.js';
import { LightRole } from './registry-light.js';
import { Line } from './registry-line.js';

export interface AgentPart {
  part: 'origins' | 'observed' | 'rest' | 'one';
  path: string;
  size: FleetSize;
  /** The numbers of observed replicas and gateways; they are the first of each. */
  observed: FleetSize;
  light: boolean;
  /** How many light roles share a connection. */
  perLine: number;
  /** For `rest`: which kind this process plays; another process plays the other kind. */
  kind?: 'replica' | 'gateway';
}

export interface AgentReport {
  /** Times from a replica's change of state until a watched gateway has it in its view. */
  convergenceMs: number[];
  /** By replica that fell silent: wall clock of its last heartbeat, and of when each watched gateway forgot it. */
  silent: Record<string, number>;
  gone: Record<string, number[]>;
  cpuMsPerSecond: number;
}

const TOGGLE_MS = 200;
const CHURN_MS = 100;
const AT_ONCE = 100;

interface Replica {
  n: number;
  connections: number;
  busy: boolean;
  load: number;
  changed(): void;
  light?: LightRole<'replica'>;
}

const report: AgentReport = { convergenceMs: [], silent: {}, gone: {}, cpuMsPerSecond: 0 };
const log: Logger = createLog('bench', 'error');
let begun = { at: 0, cpu: process.cpuUsage() };
let replicas: Replica[] = [];

const recordOf = (r: Replica): ReturnType<typeof replicaRecord> =>
  replicaRecord(r.n, r.connections, r.busy, r.load);
const fresh = (n: number): Replica => ({
  n,
  connections: 100 + n,
  busy: false,
  load: 0.3,
  changed: () => {},
});

/** Makes `to` - `from` objects, a hundred at a time. */
async function inTurn(from: number, to: number, make: (n: number) => Promise<void>): Promise<void> {
  for (let at = from; at < to; at += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, to - at) }, (_, i) => make(at + i)));
}

const KINDS = [serviceKindFor({ race: racePart }) as RecordKind, ...raceKinds];

async function open(path: string, topics: string[]): Promise<RedisRegistry> {
  const registry = new RedisRegistry(`redis+unix://${path}`, log, KINDS);
  await registry.start();
  await registry.follow(topics);
  return registry;
}
const KEEN = ['service', 'replica', 'gateway', 'origin'];
const CALM = ['service', 'gateway'];

async function wholeReplica(path: string, n: number): Promise<void> {
  const registry = await open(path, CALM);
  const replica = fresh(n);
  replica.changed = () => registry.publish(replicaKind, recordOf(replica));
  replica.changed();
  // As in the role: its connections are counted each second.
  setInterval(() => {
    replica.connections += n % 2 === 0 ? 1 : -1;
    replica.changed();
  }, HEARTBEAT_MS);
  replicas.push(replica);
}

async function lightReplica(line: Line, n: number, everyMs: number): Promise<void> {
  const replica = fresh(n);
  const record = (): ReturnType<typeof replicaRecord> => {
    replica.connections++;
    return recordOf(replica);
  };
  replica.light = new LightRole(line, 'replica', `replica-${n}`, record, everyMs);
  replica.changed = () => replica.light!.announce();
  await replica.light.start();
  replicas.push(replica);
}

async function wholeGateway(path: string, n: number): Promise<RedisRegistry> {
  const registry = await open(path, KEEN);
  registry.publish(gatewayKind, gatewayRecord(n));
  return registry;
}

/** Changes replicas as often as in normal operation. */
function churn(): void {
  let states = 0;
  let loads = 0;
  const any = (): Replica => replicas[Math.floor(Math.random() * replicas.length)];
  setInterval(() => {
    const share = (replicas.length * CHURN_MS) / 1000;
    for (states += STATE_CHANGES * share; states >= 1; states--) {
      const replica = any();
      replica.busy = !replica.busy;
      replica.changed();
    }
    for (loads += LOAD_CHANGES * share; loads >= 1; loads--) {
      const replica = any();
      replica.load = replica.load > 0.5 ? 0.3 : replica.load + 0.15;
      replica.changed();
    }
  }, CHURN_MS);
}

/** The watched gateways wait for this change of a replica of this process, and report how long it took. */
function observe(gateways: RedisRegistry[]): void {
  const changedAt = new Map<string, { at: number; busy: boolean }>();
  let next = 0;
  setInterval(() => {
    const replica = replicas[next++ % replicas.length];
    replica.busy = !replica.busy;
    changedAt.set(`replica-${replica.n}`, { at: performance.now(), busy: replica.busy });
    replica.changed();
  }, TOGGLE_MS);
  for (const gateway of gateways) {
    const told = new Map<string, number>();
    let before = new Set<string>();
    gateway.onChange(() => {
      const now = performance.now();
      const present = new Set<string>();
      for (const r of gateway.view.of(replicaKind)) {
        present.add(r.id);
        const change = changedAt.get(r.id);
        if (change === undefined || told.get(r.id) === change.at || (r.state === 'busy') !== change.busy)
          continue;
        told.set(r.id, change.at);
        report.convergenceMs.push(now - change.at);
      }
      for (const id of before) if (!present.has(id)) (report.gone[id] ??= []).push(Date.now());
      before = present;
    });
  }
}

async function start({ part, path, size, observed, light, perLine, kind }: AgentPart): Promise<void> {
  if (part === 'one') {
    await wholeGateway(path, size.gateways);
    return;
  }
  if (part === 'origins') {
    for (let n = 0; n < originsOf(size); n++) {
      const registry = await open(path, KEEN);
      for (const service of servicesOfOrigin(n, size)) registry.publish(serviceKind, service);
      registry.publish(originKind, originRecord(n, size));
    }
    return;
  }
  if (part === 'observed') {
    // One by one, because each reads the whole fleet, and they share a process.
    for (let n = 0; n < observed.replicas; n++) await wholeReplica(path, n);
    const gateways: RedisRegistry[] = [];
    for (let n = 0; n < observed.gateways; n++) gateways.push(await wholeGateway(path, n));
    observe(gateways);
    return;
  }
  // The number of records of the whole fleet: while the fleet starts, the first roles would count fewer.
  const records = servicesOf(size) + size.gateways;
  const calmMs = resyncEveryMs(records, size.replicas);
  const keenMs = resyncEveryMs(records + size.replicas + originsOf(size), size.gateways + originsOf(size));
  const lines: Line[] = [];
  const lineOf = (n: number): Line => (lines[Math.floor(n / perLine)] ??= new Line(path));
  if (kind === 'replica') {
    const whole = (n: number): boolean => !light && n < size.replicas - SILENT;
    await inTurn(observed.replicas, size.replicas, (n) =>
      whole(n) ? wholeReplica(path, n) : lightReplica(lineOf(n), n, calmMs),
    );
    churn();
    return;
  }
  await inTurn(observed.gateways, size.gateways, async (n) => {
    if (light) await new LightRole(lineOf(n), 'gateway', String(n), () => gatewayRecord(n), keenMs).start();
    else await wholeGateway(path, n);
  });
}

/** Some replicas fall silent, as if their machines had lost power. */
function silence(): void {
  const dead = replicas.filter((r) => r.light !== undefined).slice(-SILENT);
  for (const { n, light } of dead) {
    report.silent[`replica-${n}`] = light!.beatAt;
    light!.end();
  }
  replicas = replicas.filter((r) => !dead.includes(r));
}

process.on('message', (message: AgentPart | 'measure' | 'report') => {
  void (async () => {
    if (message === 'measure') {
      report.convergenceMs = [];
      begun = { at: performance.now(), cpu: process.cpuUsage() };
      silence();
    } else if (message === 'report') {
      const { user, system } = process.cpuUsage(begun.cpu);
      report.cpuMsPerSecond = (user + system) / (performance.now() - begun.at);
    } else await start(message);
    process.send!(message === 'report' ? report : 'done');
  })();
});
process.on('disconnect', () => process.exit(0));
