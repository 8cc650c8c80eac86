/**
 * An access link of 100 Mbit/s, three customers, of which one has two classes and one sends datagrams without end: what each
 * gets, how soon an idle share is lent and given back, how long small requests take beside it, and whether the accounts are right.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { askJson } from '../admin-client.js';
import { quantile } from '../bench/statistics.js';
import { namespaceOf } from '../network.js';
import { latencyScript, udpScript } from '../paths.js';
import { pause } from '../process.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import type { Answered } from './latency-main.js';
import { ROUTED_CLIENT } from './plan.js';

export interface SharesOptions {
  /** Of each measurement. */
  seconds: number;
}

export const SHARES: SharesOptions = { seconds: 15 };

const MBIT = 100;
/** The link's own header counts. */
const HEADER = 14;
const HOSTS = { web: '203.0.113.80', b: '203.0.113.81', c: '203.0.113.82', stream: '203.0.113.83' } as const;
type Host = keyof typeof HOSTS;
const WANTED = { a: 0.2, b: 0.3, c: 0.5 } as const;
const AT_ONCE = 4;
const FILE_BYTES = 50_000_000;
const FLOOD_MBIT = 150;
const FLOOD_PORT = 5001;
const SETTLE_MS = 3000;
const LOOK_MS = 100;
/** Looks over which a rate is taken. */
const WINDOW = 3;
const ENOUGH = 0.9;
const REQUESTS_PER_SECOND = 50;

type Bytes = Record<Host, number>;

export async function playShares(o: SharesOptions = SHARES): Promise<RoutingFigure[]> {
  const lab = await RoutedLab.create({
    name: `shares-${process.pid}`,
    shape: { networks: 1, systems: 0, sites: 1, servers: 3 },
    // Until they have the addresses.
    idle: ['n1', 't1', 's1', 's2', 's3'],
    edit: (host, file) => ({
      ...file,
      virtual: Object.entries(HOSTS).map(([name, address]) => ({ name, subnet: `${address}/32` })),
      ...(host.level === 'site' ? { shares: LINK } : {}),
    }),
  });
  try {
    return await new Link(lab).play(o);
  } finally {
    await lab.down();
  }
}

const LINK = {
  interface: 'wan0',
  rateMbit: MBIT,
  classes: [
    {
      ...{ name: 'a', share: 100 * WANTED.a },
      classes: [
        { name: 'web', share: 50, virtual: ['web'] },
        { name: 'stream', share: 50, virtual: ['stream'] },
      ],
    },
    { name: 'b', share: 100 * WANTED.b, virtual: ['b'] },
    { name: 'c', share: 100 * WANTED.c, virtual: ['c'] },
  ],
};

class Link {
  readonly #running = new Map<Host, ChildProcess[]>();

  constructor(readonly lab: RoutedLab) {}

  async play({ seconds }: SharesOptions): Promise<RoutingFigure[]> {
    await this.#prepare();
    const counted = await this.#received();
    for (const host of ['web', 'stream', 'b'] as const) this.#download(host);
    this.#flood();
    await pause(SETTLE_MS);
    const all = await this.#during(seconds * 1000);
    this.#stop('b');
    await pause(SETTLE_MS);
    const lent = await this.#during(seconds * 1000);
    const returnedS = await this.#untilReturned();
    this.#stop('b');
    await pause(SETTLE_MS);
    const ms = await this.#smallRequests(seconds);
    for (const host of ['web', 'stream', 'c'] as const) this.#stop(host);
    await pause(SETTLE_MS);
    const off = await this.#accounts(counted);
    return figures(all, lent, returnedS, ms, off, seconds);
  }

  /** Answers leave by the site's router, as they would by a site's own access router; the client counts what it gets. */
  async #prepare(): Promise<void> {
    const { lab } = this;
    mkdirSync(`${lab.directory}/blob`, { recursive: true });
    writeFileSync(`${lab.directory}/blob/big`, Buffer.alloc(FILE_BYTES));
    await lab.mustExec('wan', [
      'ip',
      'route',
      'add',
      '192.0.2.0/24',
      'via',
      lab.address('t1'),
      'table',
      '300',
    ]);
    // Tunnels to the servers leave by another interface, as they do within a site.
    const pair = ['ip', 'link', 'add', 'to-lan', 'type', 'veth', 'peer', 'name', 'lan1'];
    await lab.mustExec('wan', [...pair, 'netns', namespaceOf(lab.name, 't1')]);
    for (const [host, dev, n] of [
      ['wan', 'to-lan', 1],
      ['t1', 'lan1', 2],
    ] as const) {
      await lab.mustExec(host, ['ip', 'address', 'add', `198.18.200.${n}/24`, 'dev', dev]);
      await lab.mustExec(host, ['ip', 'link', 'set', dev, 'up']);
    }
    for (const { name } of lab.servers) {
      await lab.mustExec('t1', ['ip', 'route', 'add', `${lab.address(name)}/32`, 'via', '198.18.200.1']);
      await lab.mustExec('wan', ['ip', 'rule', 'add', 'pref', '300', 'iif', `to-${name}`, 'lookup', '300']);
      for (const address of Object.values(HOSTS).slice(1))
        await lab.mustExec(name, ['ip', 'address', 'add', `${address}/32`, 'dev', 'lo']);
      // A link's packets are no larger than its MTU, and the kernel's default here is no algorithm to compare shares with.
      await lab.mustExec(name, ['ip', 'link', 'set', 'wan0', 'gso_max_segs', '1']);
      await lab.mustExec(name, ['sysctl', '-qw', 'net.ipv4.tcp_congestion_control=reno']);
    }
    for (const { name } of lab.hosts) lab.start(name);
    await lab.untilReady();
    const counters = Object.keys(HOSTS).map((h) => `  counter ${h} { }\n`);
    const rules = Object.entries(HOSTS).map(([h, address]) => `    ip saddr ${address} counter name ${h}\n`);
    await lab.mustExec('client', ['nft', '-f', '-'], {
      input: `table ip received {
${counters.join('')}  chain in {
    type filter hook prerouting priority raw;
${rules.join('')}    udp dport ${FLOOD_PORT} drop
  }
}
`,
    });
  }

  #download(host: Host): void {
    const loop = `while :; do curl -s -o /dev/null http://${HOSTS[host]}/blob/big; done`;
    const start = (): ChildProcess =>
      this.lab.spawnIn('client', ['sh', '-c', loop], { stdio: 'ignore', detached: true });
    this.#running.set(host, Array.from({ length: AT_ONCE }, start));
  }

  #flood(): void {
    const argv = [HOSTS.c, ROUTED_CLIENT, FLOOD_PORT, FLOOD_MBIT].map(String);
    this.#running.set('c', [
      this.lab.spawnIn('s3', [process.execPath, udpScript, ...argv], { stdio: 'ignore', detached: true }),
    ]);
  }

  #stop(host: Host): void {
    for (const child of this.#running.get(host) ?? []) {
      try {
        // Each is the leader of its group.
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
    this.#running.delete(host);
  }

  /** What the client has received so far, with the link's headers. */
  async #received(): Promise<Bytes> {
    const text = await this.lab.mustExec('client', ['nft', '-j', 'list', 'counters']);
    const { nftables } = JSON.parse(text) as {
      nftables: { counter?: { name: Host; packets: number; bytes: number } }[];
    };
    const all = nftables.flatMap(({ counter }) => (counter === undefined ? [] : [counter]));
    return Object.fromEntries(all.map((c) => [c.name, c.bytes + HEADER * c.packets])) as Bytes;
  }

  /** Mbit/s of each, over a time. */
  async #during(ms: number): Promise<Bytes> {
    const [before, from] = [await this.#received(), performance.now()];
    await pause(ms);
    return rates(before, await this.#received(), performance.now() - from);
  }

  /** Seconds from the moment at which a customer with an idle share begins to send until it has its share. */
  async #untilReturned(): Promise<number> {
    const looks: { at: number; got: Bytes }[] = [];
    const began = performance.now();
    this.#download('b');
    while (performance.now() - began < 10_000) {
      looks.push({ at: performance.now(), got: await this.#received() });
      const [last, before] = [looks.at(-1)!, looks.at(-1 - WINDOW)];
      if (
        before !== undefined &&
        rates(before.got, last.got, last.at - before.at).b >= ENOUGH * WANTED.b * MBIT
      )
        return (last.at - began) / 1000;
      await pause(LOOK_MS);
    }
    return Number.POSITIVE_INFINITY;
  }

  async #smallRequests(seconds: number): Promise<number[]> {
    const what = [REQUESTS_PER_SECOND, seconds, 1, HOSTS.b, 80, '/'].map(String);
    const text = await this.lab.mustExec('client', [process.execPath, latencyScript, ...what], {
      timeoutMs: seconds * 1000 + 30_000,
    });
    return (JSON.parse(text) as Answered[]).map((a) => a.ms).sort((x, y) => x - y);
  }

  /** By how much the router's accounts of a customer are off what the client received, at most. */
  async #accounts(before: Bytes): Promise<number> {
    const got = await this.#received();
    const answer = await askJson<{ classes: { name: string; bytes: number }[] }>(
      this.lab.adminSocket('t1'),
      '/v1/shares',
    );
    const of = (name: string): number => answer?.classes.find((c) => c.name === name)?.bytes ?? 0;
    const pairs = [
      [of('a/web'), got.web - before.web],
      [of('a/stream'), got.stream - before.stream],
      [of('b'), got.b - before.b],
      [of('c'), got.c - before.c],
    ];
    return Math.max(...pairs.map(([said, received]) => Math.abs(said / received - 1)));
  }
}

const rates = (before: Bytes, after: Bytes, ms: number): Bytes =>
  Object.fromEntries(
    (Object.keys(HOSTS) as Host[]).map((h) => [h, ((after[h] - before[h]) * 8) / 1000 / ms]),
  ) as Bytes;

const sum = (r: Bytes): number => Object.values(r).reduce((a, b) => a + b, 0);
const shown = (r: Bytes): string =>
  Object.entries(r)
    .map(([h, mbit]) => `${h} ${mbit.toFixed(1)}`)
    .join(', ');

function figures(
  all: Bytes,
  lent: Bytes,
  returnedS: number,
  ms: readonly number[],
  off: number,
  seconds: number,
): RoutingFigure[] {
  const got = { a: all.web + all.stream, b: all.b, c: all.c };
  const apart = [
    ...(['a', 'b', 'c'] as const).map((name) => Math.abs(got[name] / sum(all) - WANTED[name])),
    Math.abs(all.web / got.a - 0.5) * WANTED.a,
  ];
  return [
    figure(
      'shares',
      { most: 3 },
      {
        value: 100 * Math.max(...apart),
        what: `points by which a customer's part of a link of ${MBIT} Mbit/s was off its share (20, 30, 50; two classes of 50 in the first), at most; the third sends ${FLOOD_MBIT} Mbit/s of datagrams, the others ${AT_ONCE} downloads a class; Mbit/s in ${seconds} s: ${shown(all)}`,
      },
    ),
    figure(
      'shares:full',
      { least: 0.97 },
      {
        value: Math.min(sum(all), sum(lent)) / MBIT,
        what: `part of the link that was used, with all three and while the second was idle (${shown(lent)})`,
      },
    ),
    figure(
      'shares:returned',
      { most: 1 },
      {
        value: returnedS,
        what: `s until the second had ${100 * ENOUGH} % of its share again, after it began to send`,
      },
    ),
    figure(
      'shares:requests',
      { most: 15 },
      {
        value: quantile(ms, 0.99),
        what: `ms that small requests of the second customer took, p99 of ${ms.length}, while the others filled the link`,
      },
    ),
    figure(
      'shares:accounts',
      { most: 0.005 },
      {
        value: off,
        what: "by which the router's account of a class was off what the client received, at most",
      },
    ),
  ];
}
