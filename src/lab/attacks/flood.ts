/**
 * A flood of SYNs from the LAN, of ten times the gateway's table, beside honest clients: how many of these are served, by
 * which machine, what the gateway's memory does, and how soon all is as before.
 */
import { readFileSync } from 'node:fs';
import { askJson } from '../admin-client.js';
import { startClients } from '../damage/clients.js';
import { TIMEOUT_MS } from '../damage/tried.js';
import { type Figure, figure, type Target } from '../figure.js';
import { Lab } from '../lab.js';
import { floodScript } from '../paths.js';
import { pause, waitUntil } from '../process.js';
import { saying, startPings } from './pings.js';

export interface Flood {
  id: string;
  /** Of how many addresses the SYNs are. */
  sources: 'one' | 'many';
  /** Whether the origin's machine is off the network meanwhile. */
  isOriginDead: boolean;
}

export const FLOODS: readonly Flood[] = [
  { id: 'flood.many', sources: 'many', isOriginDead: false },
  { id: 'flood.one', sources: 'one', isOriginDead: false },
  { id: 'flood.many.origin-dead', sources: 'many', isOriginDead: true },
  { id: 'flood.one.origin-dead', sources: 'one', isOriginDead: true },
];

const TABLE = 16_384;
const TIMES = 10;
const PER_SECOND = 20_000;
const HONEST_PER_SECOND = 50;
const NEAREST = 'r2';
/** The next one: 60 ms more, there and back. */
const NEXT = 'r1';
const PREFIX = '192.0.2.0';
/** The clients that find all as it was, one after another. */
const CALM = 50;
const NORMAL_S = 10;
const PATIENCE_MS = 30_000;

export async function playFlood(flood: Flood, seed: number): Promise<Figure[]> {
  const lab = await Lab.create({
    ...{ name: `flood-${process.pid}`, seed, topology: 'replica-nearest', idle: ['r3'] },
    ...{ configuration: 'A', race: 'learned', changes: { gateway: { flows: { max: TABLE } } } },
  });
  try {
    const clients = startClients(lab, HONEST_PER_SECOND);
    await clients.untilCalm();
    if (flood.isOriginDead) await lab.exec('origin', ['ip', 'link', 'set', 'wan0', 'down']);
    const pid = lab.roles.pid('gateway')!;
    const before = residentMb(pid);
    const endPings = startPings(lab, NEAREST, NEXT);
    const from = Date.now();
    const sent = await send(lab, flood);
    const to = Date.now();
    const pings = endPings();
    const high = residentMb(pid);
    const normalMs = await untilNormal(clients.tried, to);
    await pause(TIMEOUT_MS);
    const honest = clients.tried.filter((t) => t.at >= from && t.at < to);
    const served = honest.filter((t) => t.error === '');
    const near = served.filter((t) => t.servedBy === NEAREST).length;
    const { counters } = (await askJson<{ counters: Record<string, number> }>(
      lab.roles.adminSocket('gateway'),
      '/v1/status',
    ))!;
    const seen = ['evict.half-open', 'pass.syn-source-full', 'pass.syn-raced', 'fired.hedge']
      .map((name) => `${name} ${counters[name] ?? 0}`)
      .join(', ');
    const what = `${sent} SYNs in ${((to - from) / 1000).toFixed(1)} s against a table of ${TABLE}, ${honest.length} honest connections; gateway: ${seen}`;
    const of = (part: string, value: number, target: Target, said = what): Figure =>
      figure({ bench: 'attacks', seed }, `${flood.id}${part}`, value, target, said);
    return [
      of('', served.length / honest.length, { least: 0.99 }),
      of(
        ':nearest',
        near / served.length,
        { least: 0.95 },
        `served by ${NEAREST}, of the honest connections; ${saying(pings)}`,
      ),
      of(
        ':memory',
        high / before,
        { most: 1.2 },
        `the gateway's memory, ${before} MB before, ${high} MB at the end`,
      ),
      of(
        ':normal-s',
        normalMs / 1000,
        { most: NORMAL_S },
        `s until ${CALM} in a row were served by ${NEAREST}`,
      ),
    ];
  } finally {
    await lab.down();
  }
}

async function send(lab: Lab, { sources }: Flood): Promise<number> {
  const { address, ports } = lab.topology.services[0];
  const seconds = (TABLE * TIMES) / PER_SECOND;
  const argv = [address, ports[0], PREFIX, sources === 'one' ? 1 : 'all', PER_SECOND, seconds].map(String);
  const { stdout, stderr } = await lab.exec('client', [process.execPath, floodScript, ...argv]);
  if (stderr !== '') throw new Error(stderr);
  return (JSON.parse(stdout) as { sent: number }).sent;
}

/** @returns ms from the flood's end until the first of so many connections in a row that the nearest machine served */
async function untilNormal(
  tried: readonly { at: number; error: string; servedBy: string }[],
  since: number,
): Promise<number> {
  let at = Number.POSITIVE_INFINITY;
  const isNormal = (): boolean => {
    const after = tried.filter((t) => t.at >= since).sort((a, b) => a.at - b.at);
    let run = 0;
    for (let i = 0; i < after.length && run < CALM; i++) {
      run = after[i].error === '' && after[i].servedBy === NEAREST ? run + 1 : 0;
      if (run === CALM) at = after[i - CALM + 1].at - since;
    }
    return run >= CALM;
  };
  await waitUntil(isNormal, PATIENCE_MS, 200);
  return at;
}

function residentMb(pid: number): number {
  const [, kb] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return Math.round(Number(kb) / 1024);
}
