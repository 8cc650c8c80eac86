/** What leaves a machine for each packet that a stranger, or a client, sends to it. */
import { askJson } from '../admin-client.js';
import { Lab } from '../lab.js';
import { wanAddress } from '../network.js';
import { strangerScript } from '../paths.js';
import { pause } from '../process.js';
import { type AttackFigure, figure } from './figure.js';

interface Kind {
  id: string;
  kind: 'tunnel' | 'probe' | 'syn-ack' | 'syn' | 'repeated';
  /** The host on which the packets begin, and their source. */
  on: string;
  from: string;
  to: string;
  /** The machine that is looked at. */
  at: string;
  count: number;
  perSecond: number;
  most: number;
  what: string;
  /** Counters of the machine that are the figure, in the place of all packets that leave it. */
  counted?: readonly string[];
}

const CLIENT = '192.0.2.77';
const SERVICE = '203.0.113.10';
/** The origin, r1 and r2. */
const CANDIDATES = 3;

/** SYNs that leave a gateway. */
const SYNS = ['pass.syn-raced', 'pass.syn-retransmitted-raced', 'emit.syn-copy', 'emit.syn-after-challenge'];

const stranger = { on: 'r3', from: wanAddress('r3'), count: 10_000, perSecond: 2000, most: 1 } as const;
const client = { on: 'client', from: CLIENT, to: SERVICE, at: 'gateway', perSecond: 200 } as const;

export const KINDS: readonly Kind[] = [
  {
    ...stranger,
    ...{ id: 'amplification.stranger.tunnel', kind: 'tunnel', to: wanAddress('r1'), at: 'r1' },
    what: 'tunnels with forged tags, to a replica',
  },
  {
    ...stranger,
    ...{ id: 'amplification.stranger.probe', kind: 'probe', to: wanAddress('r1'), at: 'r1' },
    what: 'forged probes, to a replica',
  },
  {
    ...stranger,
    ...{ id: 'amplification.stranger.syn-ack', kind: 'syn-ack', to: '192.0.2.2', at: 'gateway' },
    what: "acknowledgements of no SYN, to a gateway's client",
  },
  {
    ...client,
    ...{ id: 'amplification.client', kind: 'syn', count: 60, most: CANDIDATES, counted: SYNS },
    what: 'SYNs, each of a new connection: SYNs that leave for one (each candidate is asked once; losers are reset)',
  },
  {
    ...client,
    ...{ id: 'amplification.client.repeated', kind: 'repeated', count: 600, most: 1 },
    what: 'SYNs, each ten times in 50 ms',
  },
];

/** Longer than what was sent is under way. */
const SETTLE_MS = 500;

export async function playAmplification(only: string, seed: number): Promise<AttackFigure[]> {
  const lab = await Lab.create({
    ...{ name: `amplify-${process.pid}`, seed, topology: 'replica-nearest', idle: ['r3'] },
    ...{ configuration: 'C', race: 'gateway' },
  });
  try {
    await pause(3000);
    const figures: AttackFigure[] = [];
    for (const k of KINDS.filter(({ id }) => id.startsWith(only))) figures.push(await play(lab, k, seed));
    return figures;
  } finally {
    await lab.down();
  }
}

async function play(lab: Lab, k: Kind, seed: number): Promise<AttackFigure> {
  const ms = (k.count / k.perSecond) * 1000 + SETTLE_MS;
  // What the machine sends by itself in the same time: probes, and what it says to the registry goes another way.
  const [idle] = await during(lab, k.at, () => pause(ms));
  const counters = await countersOf(lab, k.at);
  const argv = [k.kind, k.from, k.to, '192.0.2.2', String(k.count), String(k.perSecond)];
  const [out, sent] = await during(lab, k.at, async () => {
    const { stdout, stderr } = await lab.exec(k.on, [process.execPath, strangerScript, ...argv]);
    if (stderr !== '') throw new Error(stderr);
    await pause(SETTLE_MS);
    return (JSON.parse(stdout) as { sent: number }).sent;
  });
  const after = await countersOf(lab, k.at);
  const made = k.counted?.reduce((sum, name) => sum + (after[name] ?? 0) - (counters[name] ?? 0), 0);
  // A probe more or less is no amplification.
  const packets = Math.round((100 * (made ?? Math.max(0, out - idle))) / sent) / 100;
  const seen = `${sent} ${k.what}; ${out} packets left meanwhile, ${idle} without them`;
  return figure(k.id, seed, packets, { most: k.most }, seen);
}

async function countersOf(lab: Lab, host: string): Promise<Record<string, number>> {
  const status = await askJson<{ counters: Record<string, number> }>(
    lab.roles.adminSocket(host),
    '/v1/status',
  );
  return status!.counters;
}

/** What leaves a machine towards the WAN meanwhile. */
async function during<T>(lab: Lab, host: string, action: () => Promise<T>): Promise<[packets: number, T]> {
  const before = await sentBy(lab, host);
  const result = await action();
  const after = await sentBy(lab, host);
  return [after - before, result];
}

async function sentBy(lab: Lab, host: string): Promise<number> {
  const { stdout } = await lab.exec(host, ['ip', '-j', '-s', 'link', 'show', 'dev', 'wan0']);
  const [{ stats64 }] = JSON.parse(stdout) as { stats64: { tx: { packets: number } } }[];
  return stats64.tx.packets;
}
