/** What leaves a machine for each packet, and each byte, that a stranger, a client or a thief with a gateway's key sends to it. */
import { askJson } from '../admin-client.js';
import { type Figure, figure } from '../figure.js';
import { Lab } from '../lab.js';
import { wanAddress } from '../network.js';
import { strangerScript } from '../paths.js';
import { pause } from '../process.js';

interface Kind {
  id: string;
  kind: 'tunnel' | 'tagged' | 'probe' | 'echo' | 'syn-ack' | 'syn' | 'repeated';
  /** The host on which the packets begin, and their source. */
  on: string;
  from: string;
  to: string;
  /** The client that stands in what is tagged. */
  via: string;
  /** The machine that is looked at. */
  at: string;
  count: number;
  perSecond: number;
  most: number;
  /** Bytes that may leave for each byte, where that is another number. */
  mostBytes?: number;
  what: string;
  /** Counters of the machine that are the figure of packets, in the place of all packets that leave it. */
  counted?: readonly string[];
  /** Whether the sender has the gateway's key. */
  isGateway?: boolean;
}

const CLIENT = '192.0.2.77';
const SERVICE = '203.0.113.10';
/** The origin, r1 and r2. */
const CANDIDATES = 3;

/** The sizes of the packets (`stranger-main.ts`), in bytes: a SYN with its options, a tag, an outer header, a reset. */
const SYN = 48;
const TAG = 16;
const OUTER = 20;
const RST = 40;
/** A web server's acknowledgement has more options than the SYN, at most all that Linux sends. */
const SYN_ACK = 60;
const ASKED = SYN + TAG + OUTER;

/** SYNs that leave a gateway. */
const SYNS = ['pass.syn-raced', 'pass.syn-retransmitted-raced', 'emit.syn-copy', 'emit.syn-after-challenge'];

/** So many a second that the gateway's own probes of 1,500 bytes, which come in bursts, are less than a hundredth of it. */
const stranger = { on: 'r3', from: wanAddress('r3'), via: '192.0.2.2', count: 32_000, perSecond: 8000 };
const client = { on: 'client', from: CLIENT, to: SERVICE, via: CLIENT, at: 'gateway' };
/** All are sent before a server repeats its first acknowledgement, and are fewer than make their source a flood. */
const connections = { count: 1000, perSecond: 4000 };
/** The key is the gateway's; the packets come from elsewhere, so that the gateway's own can be told from them. */
const thief = { on: 'r3', from: wanAddress('gateway'), via: CLIENT, isGateway: true };

export const KINDS: readonly Kind[] = [
  {
    ...{ ...stranger, id: 'amplification.stranger.tunnel', kind: 'tunnel', most: 1 },
    ...{ to: wanAddress('r1'), at: 'r1', what: 'tunnels with forged tags, to a replica' },
  },
  {
    ...{ ...stranger, id: 'amplification.stranger.probe', kind: 'probe', most: 1 },
    ...{ to: wanAddress('r1'), at: 'r1', what: 'forged probes, to a replica' },
  },
  {
    ...{ ...stranger, id: 'amplification.stranger.syn-ack', kind: 'syn-ack', most: 1 },
    ...{ to: '192.0.2.2', at: 'gateway', what: "acknowledgements of no SYN, to a gateway's client" },
  },
  {
    ...{
      ...client,
      ...connections,
      id: 'amplification.client',
      kind: 'syn',
      most: CANDIDATES,
      counted: SYNS,
    },
    // Each candidate is sent one SYN, tagged and in a tunnel; the losers are sent a reset.
    mostBytes: (CANDIDATES * ASKED + (CANDIDATES - 1) * (RST + OUTER)) / SYN,
    what: 'SYNs, each of a new connection: SYNs that leave for one (each candidate is asked once); in bytes the losers’ resets too',
  },
  {
    ...{
      ...client,
      id: 'amplification.client.repeated',
      kind: 'repeated',
      count: 600,
      perSecond: 200,
      most: 1,
    },
    // A tenth of the SYNs begin connections. What comes once there is a winner goes to it, one for one, in its tunnel.
    mostBytes: (CANDIDATES * ASKED + (CANDIDATES - 1) * (RST + OUTER) + 9 * (SYN + OUTER)) / (10 * SYN),
    what: 'SYNs, each ten times in 50 ms',
  },
  {
    ...{ ...thief, ...connections, id: 'amplification.gateway.replica', kind: 'tunnel', most: 1 },
    ...{
      to: wanAddress('r1'),
      at: 'r1',
      what: 'tunnels with genuine tags, to a replica, which acknowledges each',
    },
  },
  {
    ...{ ...thief, ...connections, id: 'amplification.gateway.origin', kind: 'tagged' },
    // A replica has the service's address itself.
    ...{ on: 'gateway', via: '192.0.2.78', to: SERVICE, at: 'origin', most: CANDIDATES },
    // A copy for each replica, and the server's own acknowledgement.
    mostBytes: ((CANDIDATES - 1) * ASKED + SYN_ACK) / (SYN + TAG),
    what: 'SYNs with genuine tags, to the origin: copies and the acknowledgement of its server',
  },
  {
    ...{ ...thief, id: 'amplification.gateway.probe', kind: 'echo', count: 32_000, perSecond: 8000, most: 1 },
    ...{ to: wanAddress('r1'), at: 'r1', what: 'genuine probes, to a replica' },
  },
  {
    ...{ ...thief, id: 'amplification.gateway.greedy', kind: 'probe', count: 32_000, perSecond: 8000 },
    ...{ to: wanAddress('r1'), at: 'r1', most: 1 },
    what: 'genuine probes that ask for an answer of 1,500 bytes, to a replica',
  },
];

/** Longer than what was sent is under way, and shorter than a server waits until it repeats an acknowledgement. */
const SETTLE_MS = 500;

export async function playAmplification(only: string, seed: number): Promise<Figure[]> {
  const lab = await Lab.create({
    ...{ name: `amplify-${process.pid}`, seed, topology: 'replica-nearest', idle: ['r3'] },
    ...{ configuration: 'C', race: 'gateway' },
  });
  try {
    await pause(3000);
    const figures: Figure[] = [];
    for (const k of KINDS.filter(({ id }) => id.startsWith(only)))
      figures.push(...(await play(lab, k, seed)));
    return figures;
  } finally {
    await lab.down();
  }
}

/** The machine's own probes come in bursts: so many more or less of the largest are no amplification. */
const OWN_PROBES = 4;
const PROBE_BYTES = 1520;

/** What passed an interface. */
interface Traffic {
  packets: number;
  /** Of IP packets. */
  bytes: number;
  /** When, or how long it took. */
  ms: number;
}

async function play(lab: Lab, k: Kind, seed: number): Promise<Figure[]> {
  const ms = (k.count / k.perSecond) * 1000 + SETTLE_MS;
  // What the machine sends by itself in the same time: probes, and what it says to the registry goes another way.
  const [still] = await during(lab, k.at, () => pause(ms));
  const counters = await countersOf(lab, k.at);
  const argv = [k.kind, k.from, k.to, k.via, String(k.count), String(k.perSecond)];
  if (k.isGateway === true) argv.push(`${lab.directory}/gateway.key`);
  const [out, sent] = await during(lab, k.at, async () => {
    const { stdout, stderr } = await lab.exec(k.on, [process.execPath, strangerScript, ...argv]);
    if (stderr !== '') throw new Error(stderr);
    await pause(SETTLE_MS);
    return JSON.parse(stdout) as { sent: number; bytes: number };
  });
  const idle = { packets: (still.packets * out.ms) / still.ms, bytes: (still.bytes * out.ms) / still.ms };
  const after = await countersOf(lab, k.at);
  const made = k.counted?.reduce((sum, name) => sum + (after[name] ?? 0) - (counters[name] ?? 0), 0);
  const ratio = (leaves: number, comes: number): number =>
    Math.round((100 * Math.max(0, leaves)) / comes) / 100;
  const packets = ratio(made ?? out.packets - idle.packets - OWN_PROBES, sent.sent);
  const bytes = ratio(out.bytes - idle.bytes - OWN_PROBES * PROBE_BYTES, sent.bytes);
  const seen = `${sent.sent} ${k.what}; ${out.packets} packets left meanwhile, ${idle.packets.toFixed(0)} without them`;
  const seenBytes = `of ${sent.bytes} bytes; ${out.bytes} bytes left meanwhile, ${idle.bytes.toFixed(0)} without them`;
  const asked = { bench: 'attacks', seed } as const;
  return [
    figure(asked, k.id, packets, { most: k.most }, seen),
    figure(
      asked,
      `${k.id}:bytes`,
      bytes,
      { most: Math.round(100 * (k.mostBytes ?? k.most)) / 100 },
      seenBytes,
    ),
  ];
}

async function countersOf(lab: Lab, host: string): Promise<Record<string, number>> {
  const status = await askJson<{ counters: Record<string, number> }>(
    lab.roles.adminSocket(host),
    '/v1/status',
  );
  return status!.counters;
}

/** What leaves a machine towards the WAN meanwhile. */
async function during<T>(lab: Lab, host: string, action: () => Promise<T>): Promise<[Traffic, T]> {
  const before = await sentBy(lab, host);
  const result = await action();
  const after = await sentBy(lab, host);
  const ms = after.ms - before.ms;
  return [{ packets: after.packets - before.packets, bytes: after.bytes - before.bytes, ms }, result];
}

/** The kernel counts each packet's Ethernet header too. */
const ETHERNET = 14;

async function sentBy(lab: Lab, host: string): Promise<Traffic> {
  const { stdout } = await lab.exec(host, ['ip', '-j', '-s', 'link', 'show', 'dev', 'wan0']);
  const [{ stats64 }] = JSON.parse(stdout) as { stats64: { tx: Omit<Traffic, 'ms'> } }[];
  const { packets, bytes } = stats64.tx;
  return { packets, bytes: bytes - packets * ETHERNET, ms: performance.now() };
}
