/**
 * Four servers, of which one gets a quarter of its processor time in mid-run: how long requests take then, by a router whose
 * weights follow the servers' waits, and by HAProxy, round robin and least connections with an agent check, in turns.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { generator } from '../../load/generator.js';
import { askJson } from '../admin-client.js';
import { quantile } from '../bench/statistics.js';
import { latencyScript, serverSideScript } from '../paths.js';
import { pause } from '../process.js';
import { CpuShare } from './cpu-share.js';
import { figure, type RoutingFigure } from './figure.js';
import { HELLO_PORT, RoutedLab } from './lab.js';
import type { Answered } from './latency-main.js';
import { addressOf, VIRTUAL } from './plan.js';

export interface LoadAwareOptions {
  rounds: number;
  /** Before the cut, and after it. */
  seconds: [number, number];
  perSecond: number;
  seed: number;
}

export const LOAD_AWARE: LoadAwareOptions = { rounds: 3, seconds: [10, 40], perSecond: 6, seed: 1 };

const AGENT_PORT = 7790;
const RELAY_PORT = 7791;
const ROUND_ROBIN_PORT = 8081;
const LEAST_PORT = 8082;
const SHARE = 0.4;
const CUT = SHARE / 4;
const SLOW = 's2';
/** Of letters and digits without sense, so that to compress them costs tens of milliseconds. */
const WORK_BYTES = 2_400_000;
const SETTLED_S = 5;
const LOOK_MS = 250;
const POLICY = { cost: 'metrics.serviceMs', selection: 'outliers' };
/** A member that is not heard for three of these is out, and what it says is up to 2 s late. */
const INTERVAL_MS = 1200;

/** A member's share of the slots, at a moment after the cut. */
interface Look {
  s: number;
  shares: Record<string, number>;
}

export async function playLoadAware(o: LoadAwareOptions = LOAD_AWARE): Promise<RoutingFigure[]> {
  const lab = await RoutedLab.create({
    name: `load-${process.pid}`,
    shape: { networks: 1, systems: 0, sites: 1, servers: 4 },
    intervalMs: INTERVAL_MS,
    edit: (host, file) =>
      host.level === 'server'
        ? {
            ...file,
            virtual: [{ name: 'web', subnet: `${VIRTUAL}/32`, ports: [80] }],
            hello: { ...(file.hello as object), uppers: [`127.0.0.1:${RELAY_PORT}`] },
            // A check waits behind the requests of a server that has one processor's part.
            health: { ...(file.health as object), timeoutMs: 5000, intervalMs: 1000 },
          }
        : host.level === 'site'
          ? { ...file, policy: POLICY }
          : file,
    idle: ['n1', 't1', 's1', 's2', 's3', 's4'],
  });
  const shares = new Map<string, CpuShare>();
  try {
    for (const { name } of lab.servers) {
      const pid = lab.webServers.get(name)!.pid!;
      shares.set(name, new CpuShare(`${lab.name}-${name}`, pid, SHARE));
      const argv = [AGENT_PORT, pid, shares.get(name)!.quotaFile, RELAY_PORT, lab.address('t1'), HELLO_PORT];
      lab.spawnIn(name, [process.execPath, serverSideScript, ...argv.map(String)], { stdio: 'ignore' });
    }
    for (const { name } of lab.hosts) lab.start(name);
    await lab.untilReady();
    startHaproxy(lab);
    mkdirSync(`${lab.directory}/blob`, { recursive: true });
    writeFileSync(`${lab.directory}/blob/letters`, letters(o.seed));
    return figures(o, await new Played(lab, shares, o).all());
  } finally {
    await lab.down();
    for (const share of shares.values()) share.remove();
  }
}

interface Arm {
  name: 'routed' | 'roundrobin' | 'leastconn';
  to: [string, number];
}

class Played {
  readonly ms: Record<Arm['name'], number[]> = { routed: [], roundrobin: [], leastconn: [] };
  readonly slow: Record<Arm['name'], number[]> = { routed: [], roundrobin: [], leastconn: [] };
  readonly looks: Look[][] = [];

  constructor(
    readonly lab: RoutedLab,
    readonly shares: ReadonlyMap<string, CpuShare>,
    readonly o: LoadAwareOptions,
  ) {}

  async all(): Promise<Played> {
    const n1 = addressOf(this.lab.hosts, 'n1');
    const arms: Arm[] = [
      { name: 'routed', to: [VIRTUAL, 80] },
      { name: 'roundrobin', to: [n1, ROUND_ROBIN_PORT] },
      { name: 'leastconn', to: [n1, LEAST_PORT] },
    ];
    for (let round = 0; round < this.o.rounds; round++)
      for (let n = 0; n < arms.length; n++) await this.#one(arms[(n + round) % arms.length], round);
    return this;
  }

  async #one({ name, to }: Arm, round: number): Promise<void> {
    const { perSecond, seconds, seed } = this.o;
    const [before, after] = seconds;
    const slow = this.shares.get(SLOW)!;
    const what = [perSecond, before + after, seed + round, to[0], to[1], '/work/letters'].map(String);
    const child = this.lab.exec('client', [process.execPath, latencyScript, ...what], {
      timeoutMs: (before + after) * 1000 + 30_000,
    });
    await pause(before * 1000);
    slow.set(CUT);
    const cutAt = Date.now();
    const looks: Look[] = [];
    while (Date.now() - cutAt < (after - 1) * 1000) {
      await pause(LOOK_MS);
      if (name === 'routed') looks.push({ s: (Date.now() - cutAt) / 1000, shares: await this.#shares() });
    }
    if (name === 'routed') this.looks.push(looks);
    const { stdout, stderr } = await child;
    if (stdout === '') throw new Error(`${name}: ${stderr}`);
    slow.set(SHARE);
    const answered = (JSON.parse(stdout) as Answered[]).filter((a) => a.at >= cutAt + SETTLED_S * 1000);
    this.ms[name].push(
      quantile(
        answered.map((a) => a.ms).sort((a, b) => a - b),
        0.99,
      ),
    );
    this.slow[name].push(answered.filter((a) => a.servedBy === SLOW).length / answered.length);
    // What is left of the overload is served, and what was learned of it is forgotten.
    await pause(before * 1000);
  }

  async #shares(): Promise<Record<string, number>> {
    const answer = await askJson<{ hosts: { members: { id: string; share: number }[] }[] }>(
      this.lab.adminSocket('t1'),
      '/v1/routes',
    );
    return Object.fromEntries(answer?.hosts[0]?.members.map((m) => [m.id, m.share]) ?? []);
  }
}

/** Seconds from the cut until the slow server's share stays within a tenth of the whole of what it is at the end. */
function settledS(looks: readonly Look[]): number {
  const last = looks.slice(-20);
  const end = last.reduce((n, l) => n + (l.shares[SLOW] ?? 0), 0) / last.length;
  const off = looks.filter((l) => Math.abs((l.shares[SLOW] ?? 0) - end) > 0.1);
  return off.length === 0 ? 0 : off[off.length - 1].s;
}

/** Of each other server's share after it has settled: the standard deviation over the mean, the worst. */
function variation(looks: readonly Look[]): number {
  const after = looks.filter((l) => l.s > SETTLED_S);
  const names = Object.keys(after[0].shares).filter((name) => name !== SLOW);
  return Math.max(
    ...names.map((name) => {
      const values = after.map((l) => l.shares[name] ?? 0);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      const square = values.reduce((n, v) => n + (v - mean) ** 2, 0) / values.length;
      return Math.sqrt(square) / mean;
    }),
  );
}

function startHaproxy(lab: RoutedLab): void {
  const file = `${lab.directory}/haproxy.cfg`;
  const servers = lab.servers.map(({ name }) => `  server ${name} ${lab.address(name)}:80`);
  const agent = ` weight 100 agent-check agent-port ${AGENT_PORT} agent-inter 500`;
  writeFileSync(
    file,
    `global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen roundrobin
  bind :${ROUND_ROBIN_PORT}
  balance roundrobin
${servers.join('\n')}
listen leastconn
  bind :${LEAST_PORT}
  balance leastconn
${servers.map((s) => s + agent).join('\n')}
`,
  );
  lab.spawnIn('n1', ['haproxy', '-db', '-f', file], { stdio: 'ignore' });
}

function letters(seed: number): string {
  const random = generator(seed);
  return Array.from({ length: WORK_BYTES }, () => Math.floor(random() * 36).toString(36)).join('');
}

const middle = (values: readonly number[]): number =>
  quantile(
    [...values].sort((a, b) => a - b),
    0.5,
  );

function figures(o: LoadAwareOptions, p: Played): RoutingFigure[] {
  const p99 = (name: Arm['name']): number => Math.round(middle(p.ms[name]));
  const went = (name: Arm['name']): string => `${(100 * middle(p.slow[name])).toFixed(1)} %`;
  const over = (name: Arm['name']): { value: number; low: number; high: number } => {
    const ratios = p.ms.routed.map((ms, round) => ms / p.ms[name][round]).sort((a, b) => a - b);
    return { value: middle(ratios), low: ratios[0], high: ratios[ratios.length - 1] };
  };
  const peers = {
    'HAProxy roundrobin, ms': p99('roundrobin'),
    'HAProxy leastconn and agent, ms': p99('leastconn'),
  };
  const what = `p99 of requests from ${SETTLED_S} s after one of 4 servers got a quarter of its processor time, ${p99('routed')} ms; ${o.rounds} rounds in turns, ${o.perSecond} requests a second for ${o.seconds[1]} s; to the slow one went ${went('routed')}, with roundrobin ${went('roundrobin')}, with leastconn ${went('leastconn')}; what servers say is 2 s late in a fifth of the time`;
  return [
    figure(
      'load-aware',
      { most: 0.55 },
      { ...over('roundrobin'), peers, what: `of HAProxy's round robin: ${what}` },
    ),
    figure(
      'load-aware:leastconn',
      { most: 0.8 },
      { ...over('leastconn'), what: "the same, of HAProxy's least connections with an agent check" },
    ),
    figure(
      'load-aware:slow',
      { most: 0.05 },
      { value: middle(p.slow.routed), what: 'share of those requests that the slow server got' },
    ),
    figure(
      'load-aware:settled',
      { most: 5 },
      {
        value: Math.max(...p.looks.map(settledS)),
        what: "s after which the slow server's share of slots stayed within a tenth, at most",
      },
    ),
    figure(
      'load-aware:variation',
      { most: 0.15 },
      {
        value: Math.max(...p.looks.map(variation)),
        what: "of another server's share of slots after that, standard deviation over mean, at most",
      },
    ),
  ];
}
