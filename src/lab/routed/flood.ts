/**
 * SYNs from random sources, and packets of connections that never were, as fast as one processor sends them, beside long
 * downloads and new connections.
 */
import { readFileSync } from 'node:fs';
import { Client, type Connection } from '../bench/connect.js';
import { floodScript } from '../paths.js';
import { Downloads } from './downloads.js';
import type { Downloaded } from './downloads-main.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';

export interface FloodOptions {
  seconds: number;
  downloads: number;
  perSecond: number;
  /** Packets a second; 'max': as many as a processor sends. */
  flood: number | 'max';
}

export const FLOOD: FloodOptions = { seconds: 60, downloads: 1000, perSecond: 200, flood: 'max' };

/** The flood's sources: `wan` drops what is sent to them, without an ICMP error. */
const SOURCES = '10.0.0.0';
const SOON_MS = 1000;
const ROUTERS = ['n1', 't1'];
const SEEN = [
  ['pass.routed', 'routed by TypeScript'],
  ['by.slot', 'by their slots in the kernel'],
  ['evict.half-open', 'half-open flows evicted'],
  ['drop.given-back', 'given back and dropped'],
] as const;

export async function playRoutedFlood(o: FloodOptions = FLOOD): Promise<RoutingFigure[]> {
  const shape = { networks: 1, systems: 0, sites: 1, servers: 4 };
  const lab = await RoutedLab.create({ name: `rflood-${process.pid}`, shape });
  try {
    await lab.exec('wan', ['ip', 'route', 'add', 'blackhole', `${SOURCES}/8`]);
    const downloads = await Downloads.start(lab, o.downloads);
    const before = memory(lab);
    const client = new Client(lab);
    const flood = [VIRTUAL, 80, SOURCES, 'random', o.flood, o.seconds, 'strays'].map(String);
    const [connections, sent] = await Promise.all([
      client.connectSteadily(VIRTUAL, 80, o.perSecond * o.seconds, o.perSecond),
      lab.exec('client', [process.execPath, floodScript, ...flood], { timeoutMs: o.seconds * 1000 + 30_000 }),
    ]);
    const high = memory(lab);
    client.end();
    const downloaded = await downloads.end();
    const packets = (JSON.parse(sent.stdout) as { sent: number }).sent;
    const statuses = await Promise.all(ROUTERS.map((r) => lab.status(r)));
    const seen = statuses
      .map((s, n) => {
        const of = (name: string): number => s?.counters[name] ?? Number(s?.fastpath?.[name] ?? 0);
        return `${ROUTERS[n]}: ${SEEN.map(([name, text]) => `${of(name)} ${text}`).join(', ')}`;
      })
      .join('; ');
    return figures(o, connections, downloaded, packets, high / before, seen);
  } finally {
    await lab.down();
  }
}

/** Resident memory of the routers, kB. */
function memory(lab: RoutedLab): number {
  return ROUTERS.reduce((sum, name) => {
    const [, kb] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${lab.pid(name)}/status`, 'utf8'))!;
    return sum + Number(kb);
  }, 0);
}

function figures(
  o: FloodOptions,
  connections: readonly Connection[],
  downloaded: Downloaded,
  packets: number,
  grown: number,
  seen: string,
): RoutingFigure[] {
  const soon = connections.filter((c) => c.servedBy !== '' && c.connectMs <= SOON_MS).length;
  const failed = connections.filter((c) => c.servedBy === '').length;
  const reasons = Object.entries(downloaded.errors).map(([why, n]) => `${n} ${why}`);
  const what = `${packets} SYNs and strays in ${o.seconds} s, ${Math.round(packets / o.seconds)} a second; ${seen}`;
  return [
    figure(
      'flood',
      { most: 0 },
      {
        value: downloaded.broken,
        what: `downloads broken, of ${downloaded.whole + downloaded.broken}, ${o.downloads} at a time${reasons.length > 0 ? ` (${reasons.join(', ')})` : ''}; ${what}`,
      },
    ),
    figure(
      'flood:new',
      { least: 0.99 },
      {
        value: soon / connections.length,
        what: `share of ${connections.length} new connections, ${o.perSecond} a second, that were established within ${SOON_MS} ms; ${failed} failed`,
      },
    ),
    figure(
      'flood:memory',
      { most: 1.2 },
      { value: grown, what: `memory of ${ROUTERS.join(' and ')} at the end, of that before the flood` },
    ),
  ];
}
