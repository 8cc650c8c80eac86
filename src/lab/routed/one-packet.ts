/**
 * One packet per connection at the routers below the first: client → network's router → 2 systems → 4 sites → 8 nginx.
 * Counted in captures of every router's interface.
 */
import { Client } from '../bench/connect.js';
import { datagramsScript } from '../paths.js';
import { type Capture, capture, TUNNELLED_REST, TUNNELLED_SYN, TUNNELLED_UDP } from './capture.js';
import type { Asked } from './datagrams-main.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';

export interface OnePacketOptions {
  connections: number;
  perSecond: number;
  datagramFlows: number;
  shape: RoutedLab['options']['shape'];
}

export const ONE_PACKET: OnePacketOptions = {
  connections: 10_000,
  perSecond: 400,
  datagramFlows: 2000,
  shape: { networks: 1, systems: 2, sites: 2, servers: 2 },
};

/** One-way, on the client's line: what a shortcut takes is less. */
const CLIENT_DELAY_MS = 5;
const DATAGRAM_PORT = 5353;
const EACH = 5;
const GAP_MS = 50;

export async function playOnePacket(o: OnePacketOptions = ONE_PACKET): Promise<RoutingFigure[]> {
  const lab = await RoutedLab.create({
    name: `one-${process.pid}`,
    shape: o.shape,
    clientDelayMs: CLIENT_DELAY_MS,
  });
  try {
    return await play(lab, o);
  } finally {
    await lab.down();
  }
}

async function play(lab: RoutedLab, o: OnePacketOptions): Promise<RoutingFigure[]> {
  for (const { name } of lab.servers)
    lab.spawnIn(name, [process.execPath, datagramsScript, 'serve', VIRTUAL, String(DATAGRAM_PORT), name]);
  const lower = lab.routers.filter((r) => r.level !== lab.hosts[0].level).map((r) => r.name);
  const captures = new Map<string, Capture>();
  for (const { name } of lab.routers)
    captures.set(name, await capture(lab, name, `ip proto 4 or src host ${VIRTUAL}`));
  const client = new Client(lab);
  const connections = await client.connectSteadily(VIRTUAL, 80, o.connections, o.perSecond);
  client.end();
  const asked = await askDatagrams(lab, o.datagramFlows);
  let missed = 0;
  for (const c of captures.values()) missed += await c.end();
  const total = async (names: readonly string[], filter: string): Promise<number> => {
    const counts = await Promise.all(names.map((n) => captures.get(n)!.count(filter)));
    return counts.reduce((a, b) => a + b, 0);
  };
  const all = lab.routers.map((r) => r.name);
  // A connection passes one router of each lower level, so its SYN is seen there as often as there are such levels.
  const levels = new Set(lab.routers.map((r) => r.level)).size - 1;
  const [syns, rest, datagrams, answers] = [
    await total(lower, TUNNELLED_SYN),
    await total(lower, TUNNELLED_REST),
    await total(lower, TUNNELLED_UDP),
    await total(all, `src host ${VIRTUAL}`),
  ];
  const ok = connections.filter((c) => c.servedBy !== '').length;
  const shape = `${o.connections} connections at ${o.perSecond} a second, ${ok} served by ${new Set(connections.map((c) => c.servedBy)).size} servers; ${CLIENT_DELAY_MS} ms on the client's line`;
  return [
    figure(
      'one-packet',
      { least: 0.999 },
      {
        value: 1 - rest / levels / o.connections,
        what: `share of connections of which routers below the first see the SYN alone; ${shape}; ${syns} SYNs, ${rest} other packets at ${lower.length} routers; the captures missed ${missed}`,
      },
    ),
    figure('one-packet:served', { least: 1 }, { value: ok / o.connections, what: shape }),
    figure(
      'one-packet:udp',
      { least: 0.999 },
      {
        value: 1 - Math.max(0, datagrams / levels - asked.flows) / asked.flows,
        what: `the same of ${asked.flows} flows of ${EACH} datagrams, one each ${GAP_MS} ms; ${asked.answered} of ${asked.datagrams} answered, ${asked.split} flows at more than one server`,
      },
    ),
    figure(
      'one-packet:answers',
      { most: 0 },
      {
        value: answers,
        what: 'packets from servers to clients at any router',
      },
    ),
  ];
}

async function askDatagrams(lab: RoutedLab, flows: number): Promise<Asked> {
  const argv = [process.execPath, datagramsScript, 'ask', VIRTUAL, String(DATAGRAM_PORT)];
  const { stdout } = await lab.exec('client', [...argv, String(flows), String(EACH), String(GAP_MS)]);
  return JSON.parse(stdout) as Asked;
}
