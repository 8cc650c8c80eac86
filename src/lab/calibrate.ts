/**
 * Measures the WAN's real delays: datagrams from every host to every other, between sockets of this one process, so
 * that one clock gives both times. A socket stays in the namespace in which its thread was when it was made.
 */
import { createSocket, type Socket } from 'node:dgram';
import type { LookupFunction } from 'node:net';
import { MonotonicClock } from '../device/clock.js';
import { namespaceOf, wanAddress, within } from './network.js';
import { pause } from './process.js';
import type { Topology } from './topology.js';

export interface PathCalibration {
  path: string;
  askedMs: number;
  /** Median; null when no datagram arrived. */
  measuredMs: number | null;
}

export interface Calibration {
  calibrated: boolean;
  paths: PathCalibration[];
}

export const TOLERANCE_MS = 2;
const ROUNDS = 9;
const ATTEMPTS = 6;
const SPACING_MS = 2;

// A lookup that calls back at once, because `bind` and `send` must make their system calls before they return.
const literal = ((name: string, _options: unknown, done: (e: null, a: string, f: number) => void) =>
  done(null, name, 4)) as unknown as LookupFunction;

/**
 * The one-way delay of each ordered pair of WAN hosts. Takes about a second where each delay is as asked. A stall of
 * this machine makes some packets late, while a wrong delay is wrong every time. So paths that are off are measured
 * again, up to {@link ATTEMPTS} times, and each path's nearest measurement counts.
 */
export async function calibrate(lab: string, topology: Topology): Promise<Calibration> {
  let paths = await measure(lab, topology);
  for (let attempt = 1; attempt < ATTEMPTS && !paths.every(withinTolerance); attempt++) {
    const again = await measure(lab, topology);
    paths = paths.map((p, n) => (error(again[n]) < error(p) ? again[n] : p));
  }
  return { calibrated: paths.every(withinTolerance), paths };
}

async function measure(lab: string, topology: Topology): Promise<PathCalibration[]> {
  const hosts = topology.wanHosts;
  const clock = new MonotonicClock();
  const sentUs: number[] = [];
  const samples = new Map<string, number[]>();
  const sockets = new Map<string, Socket>();
  const now = () => {
    clock.update();
    return clock.nowUs;
  };
  try {
    for (const to of hosts) {
      const socket = within(namespaceOf(lab, to), () => {
        const made = createSocket({ type: 'udp4', lookup: literal as never });
        made.bind(0, wanAddress(to));
        return made;
      });
      socket.on('message', (message) => {
        const arrivedUs = now();
        const sequence = message.readUInt32BE(0);
        const from = hosts[message.readUInt32BE(4)];
        const path = `${from}>${to}`;
        samples.set(path, [...(samples.get(path) ?? []), (arrivedUs - sentUs[sequence]) / 1000]);
      });
      socket.on('error', () => {});
      sockets.set(to, socket);
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const [n, from] of hosts.entries()) {
        for (const to of hosts) {
          if (to === from) continue;
          const message = Buffer.alloc(8);
          message.writeUInt32BE(sentUs.length, 0);
          message.writeUInt32BE(n, 4);
          const port = (sockets.get(to) as Socket).address().port;
          sentUs.push(now());
          (sockets.get(from) as Socket).send(message, port, wanAddress(to));
        }
        await pause(SPACING_MS);
      }
    }
    const slowest = Math.max(0, ...hosts.flatMap((h) => Object.values(topology.delaysMs[h])));
    await pause(slowest + 100);
  } finally {
    for (const socket of sockets.values()) socket.close();
  }
  return hosts.flatMap((from) =>
    hosts
      .filter((to) => to !== from)
      .map((to) => ({
        path: `${from}>${to}`,
        askedMs: topology.delaysMs[from][to],
        measuredMs: median(samples.get(`${from}>${to}`) ?? []),
      })),
  );
}

/** By how many ms a measurement differs from what was asked. */
function error(p: PathCalibration): number {
  return p.measuredMs === null ? Infinity : Math.abs(p.measuredMs - p.askedMs);
}

export function withinTolerance(p: PathCalibration): boolean {
  return error(p) <= TOLERANCE_MS;
}

/** The table for the terminal: a row per sending host, a column per receiving host, requested/measured. */
export function calibrationTable(calibration: Calibration): string[] {
  const hosts = [...new Set(calibration.paths.map((p) => p.path.split('>')[0]))];
  const cell = (from: string, to: string) => {
    const p = calibration.paths.find((c) => c.path === `${from}>${to}`);
    if (p === undefined) return '-';
    const measured = p.measuredMs === null ? 'lost' : p.measuredMs.toFixed(1);
    return `${p.askedMs}/${measured}${withinTolerance(p) ? '' : ' !'}`;
  };
  const rows = [
    ['from \\ to', ...hosts],
    ...hosts.map((from) => [from, ...hosts.map((to) => cell(from, to))]),
  ];
  const widths = rows[0].map((_, c) => Math.max(...rows.map((r) => r[c].length)));
  return rows.map((r) =>
    r.map((text, c) => (c === 0 ? text.padEnd(widths[c]) : text.padStart(widths[c]))).join('  '),
  );
}

/** One line that tells how far off the worst path is. */
export function calibrationLine(calibration: Calibration): string {
  const { calibrated, paths } = calibration;
  const most = Math.max(0, ...paths.map(error));
  const worst = most === Infinity ? 'a path lost every packet' : `at most ${most.toFixed(2)} ms off`;
  return `calibration: ${paths.length} paths, ${worst}${calibrated ? '' : ': NOT calibrated'}`;
}

function median(values: number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.floor(sorted.length / 2)] * 1000) / 1000;
}
