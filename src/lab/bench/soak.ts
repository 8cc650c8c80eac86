/**
 * `firstack bench soak`: new connections at a constant rate, for minutes, to three services, one in each
 * configuration, while replicas are drained, stopped, killed and brought back by a printed seed. Every body is
 * hashed, every failed connection is accounted for, memory is measured, and everything left behind is counted.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { EXIT } from '../../errors.js';
import { Lab } from '../lab.js';
import { setServiceAddresses } from '../network.js';
import type { Service, Topology } from '../topology.js';
import { blankTopology } from './random-topology.js';
import { accountOf, type Unwell } from './soak-account.js';
import { type BlobFile, type ClientPlan, type Second, startLoad } from './soak-client.js';
import { Havoc } from './soak-events.js';
import { figuresOf, type Soak, table } from './soak-figures.js';
import { changed, onHosts, onMachine } from './soak-leftovers.js';
import { drawing } from './soak-plot.js';
import { Sampler } from './soak-samples.js';
import { scheduleOf } from './soak-schedule.js';
import { Witness } from './soak-witness.js';

export interface SoakOptions {
  minutes: number;
  rate: number;
  seed: number;
  /** Mean seconds between two events. */
  every: number;
  json: boolean;
  svg?: string;
}

const REPLICAS = 5;
const LEAST_IN_SERVICE = 2;
const SMALL_BYTES = 8 * 1024;
const LARGE_BYTES = 256 * 1024;
const LARGE_SHARE = 0.03;
/**
 * At the usual rate the gateway's race records go back twice as far, so they show which machine carried a connection.
 */
const TIMEOUT_MS = 10_000;
const MOST_OPEN = 8000;
const SAMPLE_MS = 5000;
const LEAST_SAMPLES = 12;
const SETS_EVERY = 3;

const SERVICES: Service[] = (['A', 'B', 'C'] as const).map((configuration, n) => ({
  name: `web-${configuration.toLowerCase()}`,
  address: `203.0.113.${10 + n}`,
  ports: [80 + n],
  raceWindowMs: 500,
  configuration,
}));

/**
 * One-way delays from the gateway: two replicas that share connections, two behind them, one farther away, and the
 * origin.
 */
const GATEWAY_MS: Record<string, number> = { r1: 5, r2: 5.2, r3: 8, r4: 8.2, r5: 12, origin: 20 };

const say = (line: string): void => void process.stderr.write(`soak: ${line}\n`);

/** @returns 0 when every target is met, else 1 */
export async function benchSoak(o: SoakOptions): Promise<number> {
  const command = `firstack bench soak --minutes ${o.minutes} --rate ${o.rate} --seed ${o.seed} --every ${o.every} --json`;
  say(`${command}: ${o.rate} connections/s for ${o.minutes} min, seed ${o.seed}`);
  const name = `soak-${process.pid}`;
  const before = await onMachine(name);
  const soak = await run(name, command, o);
  soak.leftBehind.push(...changed(before, await onMachine(name)));
  const figures = figuresOf(soak);
  if (o.svg !== undefined) writeFileSync(o.svg, drawing(soak));
  process.stdout.write(o.json ? `${JSON.stringify(figures, null, 2)}\n` : table(figures));
  for (const c of [...soak.account.failed, ...soak.account.mismatches])
    say(`${c.service} ${c.path}: ${c.why}`);
  return figures.every((f) => f.met !== 'no') ? EXIT.ok : EXIT.expectation;
}

async function run(name: string, command: string, o: SoakOptions): Promise<Soak> {
  const seconds = o.minutes * 60;
  const lab = await Lab.create({ name, topology: topology(), roles: false, seed: o.seed, progress: say });
  try {
    const plan = clientPlan(lab, o, seconds);
    for (const r of lab.topology.replicas)
      await setServiceAddresses(
        name,
        r,
        SERVICES.map((s) => ({ address: s.address, have: s.configuration !== 'A' })),
      );
    const bare = await onHosts(lab);
    await lab.startRoles({ race: 'learned', log: 'warn' });
    const { text: fleet, pinned } = await fleetOf(lab);
    say(fleet);
    const schedule = scheduleOf({
      replicas: lab.topology.replicas,
      seconds,
      seed: o.seed,
      everyS: o.every,
      leastInService: LEAST_IN_SERVICE,
    });
    const timeline: Second[] = [];
    const witness = new Witness(lab, o.rate, say);
    const sampler = new Sampler(lab, Math.min(SAMPLE_MS, (seconds * 1000) / LEAST_SAMPLES), SETS_EVERY);
    const havoc = new Havoc(lab, LEAST_IN_SERVICE, say);
    const load = await startLoad(lab, plan, {
      second: (s) => timeline.push(s) % 60 === 0 && say(progress(s)),
      unwell: (c) => witness.hear(c),
    });
    sampler.start();
    const stop = new AbortController();
    const [end] = await Promise.all([
      load.ended.finally(() => stop.abort()),
      havoc.run(schedule, load.begunAt, stop.signal),
    ]);
    await sampler.stop();
    const unwell: Unwell[] = await witness.all();
    say('stopping the roles');
    await lab.stopRoles();
    const leftBehind = changed(bare, await onHosts(lab));
    const errors = errorsOf(lab);
    return {
      ...{ command, seconds, rate: o.rate, scheduled: load.scheduled, fleet, leftBehind, timeline, end },
      ...{ replicas: lab.topology.replicas, leastInService: LEAST_IN_SERVICE, begunAt: load.begunAt },
      ...{ events: havoc.done, undrained: havoc.undrained, samples: sampler.samples, errors },
      account: accountOf(unwell, havoc.blows, pinned),
    };
  } finally {
    say('removing everything');
    await lab.down();
  }
}

function topology(): Topology {
  const t = blankTopology(REPLICAS);
  for (const [host, ms] of Object.entries(GATEWAY_MS)) {
    t.delaysMs.gateway[host] = ms;
    t.delaysMs[host].gateway = ms;
  }
  return { ...t, name: 'soak', services: SERVICES };
}

function clientPlan(lab: Lab, o: SoakOptions, seconds: number): ClientPlan {
  const services = SERVICES.map((s) => ({
    ...{ name: s.name, address: s.address, port: s.ports[0], configuration: s.configuration! },
  }));
  return {
    ...{ services, rate: o.rate, seconds, seed: o.seed, largeShare: LARGE_SHARE },
    small: provide(lab, 'small', SMALL_BYTES),
    large: provide(lab, 'large', LARGE_BYTES),
    maxOpen: MOST_OPEN,
    timeoutMs: TIMEOUT_MS,
  };
}

/** A file of random bytes that every web server has. */
function provide(lab: Lab, name: string, bytes: number): BlobFile {
  const content = randomBytes(bytes);
  mkdirSync(`${lab.directory}/blob`, { recursive: true });
  writeFileSync(`${lab.directory}/blob/${name}`, content);
  return { path: `/blob/${name}`, sha256: createHash('sha256').update(content).digest('hex') };
}

/** Lines of level `error` and above in the roles' logs, and lines that are not log lines. */
function errorsOf(lab: Lab): string[] {
  return lab.roles.hosts.flatMap((host) =>
    readFileSync(lab.roles.logFile(host), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !/^\{"level":[1-4]0,/.test(line))
      .map((line) => `${host}: ${line}`),
  );
}

async function fleetOf(lab: Lab): Promise<{ text: string; pinned: boolean }> {
  const words: string[] = [];
  let pinned = true;
  for (const host of lab.roles.hosts) {
    const status = (await lab.roles.status(host)) as { fastpath?: { how: string } } | undefined;
    if (host === 'origin') continue;
    const how = status?.fastpath?.how ?? 'unknown';
    if (how !== 'on' && how !== 'stack') pinned = false;
    words.push(`${host} ${how}`);
  }
  const services = SERVICES.map((s) => `${s.name} ${s.address}:${s.ports[0]} under ${s.configuration}`);
  return { text: `${services.join(', ')}; fast path: ${words.join(', ')}`, pinned };
}

const progress = ({ counts: c, servedBy }: Second): string =>
  `${c.started} connections, ${c.ok} ok, ${c.failed} not, ${c.missed} missed, ${c.open} open; this second ` +
  Object.entries(servedBy)
    .map(([name, n]) => `${name} ${n}`)
    .join(', ');
