/**
 * `firstack top`: what each machine does now, from two looks at the gateway's counters. A counter that fell belongs to
 * a role that was started again: then the second look alone counts.
 */
import { askAdmin } from '../../src/admin/client.js';
import { EXIT } from '../../src/errors.js';
import { addressOf } from '../../src/operate/asked.js';
import { columns } from '../../src/operate/columns.js';

export interface TopOptions {
  admin?: string;
  lab?: string;
  /** Seconds between two looks. */
  interval: number;
  /** How many looks; undefined: until interrupted. */
  rounds?: number;
  json: boolean;
}

/** The counters of one machine for one service's port, in `/v1/status`. */
interface Counted {
  service: string;
  port: number;
  id: string;
  state: string;
  asked: number;
  answered: number;
  won: number;
  requested: number;
  firstBytes: number;
  noFirstByte: number;
  reset: number;
  silent: number;
  /** The sum of the times to first byte, ms; absent in an older version. */
  firstByteSumMs?: number;
}

interface Look {
  instance: string;
  machines: Counted[];
  counters: Record<string, number>;
  fastpath?: Record<string, unknown> | null;
  flows: number;
}

export interface Row {
  service: string;
  machine: string;
  state: string;
  /** A second: SYNs sent to it, connections it carries from now on, requests. */
  asked: number;
  won: number;
  requested: number;
  /** The mean time to first byte of the interval, ms; null without one. */
  firstByteMs: number | null;
  /** In the interval: SYNs without an answer, requests without a first byte, connections that it reset. */
  silent: number;
  noFirstByte: number;
  reset: number;
}

export interface Top {
  instance: string;
  flows: number;
  /** Of these, in the kernel. */
  pinned: number;
  /** Packets a second through the process, and through the kernel's hooks. */
  packets: number;
  kernelPackets: number;
  machines: Row[];
}

const rise = (now: number, before = 0): number => (now < before ? now : now - before);
/** `n` per `count`, with one decimal. */
const per = (n: number, count: number): number => Math.round((10 * n) / count) / 10;

/** @param seconds the time between the two looks */
export function compare(before: Look, now: Look, seconds: number): Top {
  const key = (m: Counted): string => `${m.service}:${m.port}/${m.id}`;
  const then = new Map(before.machines.map((m) => [key(m), m]));
  const packetsOf = ({ counters }: Look): number =>
    Object.entries(counters)
      .filter(([name]) => /^(pass|drop|hold)\./.test(name))
      .reduce((all, [, n]) => all + n, 0);
  const kernelOf = ({ fastpath }: Look): number =>
    Number(fastpath?.['out.packets'] ?? 0) + Number(fastpath?.['in.packets'] ?? 0);
  return {
    instance: now.instance,
    flows: now.flows,
    pinned: Number(now.fastpath?.flows ?? 0),
    packets: per(rise(packetsOf(now), packetsOf(before)), seconds),
    kernelPackets: per(rise(kernelOf(now), kernelOf(before)), seconds),
    machines: now.machines
      .map((m): Row => {
        const old = then.get(key(m));
        const firstBytes = rise(m.firstBytes, old?.firstBytes);
        const tookMs = rise(m.firstByteSumMs ?? 0, old?.firstByteSumMs);
        return {
          ...{ service: `${m.service}:${m.port}`, machine: m.id, state: m.state },
          asked: per(rise(m.asked, old?.asked), seconds),
          won: per(rise(m.won, old?.won), seconds),
          requested: per(rise(m.requested, old?.requested), seconds),
          firstByteMs: firstBytes === 0 ? null : per(tookMs, firstBytes),
          silent: rise(m.silent, old?.silent),
          noFirstByte: rise(m.noFirstByte, old?.noFirstByte),
          reset: rise(m.reset, old?.reset),
        };
      })
      .sort((a, b) => b.won - a.won || b.asked - a.asked || (a.machine < b.machine ? -1 : 1)),
  };
}

/** The table that is shown. */
export function describe(t: Top): string {
  const head = `${t.instance}: ${t.flows} flows, ${t.pinned} of them in the kernel; ${t.packets} packets/s here, ${t.kernelPackets} packets/s in the kernel`;
  const rows = t.machines.map((m) => [
    ...[m.service, m.machine, m.state, String(m.asked), String(m.won), String(m.requested)],
    m.firstByteMs === null ? '-' : String(m.firstByteMs),
    ...[String(m.silent), String(m.noFirstByte), String(m.reset)],
  ]);
  const titles = ['service', 'machine', 'state', 'asked/s', 'won/s', 'requests/s', 'first byte ms'];
  return `${head}\n${columns([...titles, 'silent', 'no first byte', 'reset'], rows)}`;
}

const CLEAR = '\x1b[H\x1b[2J';

/** Looks until interrupted, or so many times. */
export async function top(o: TopOptions): Promise<number> {
  const admin = addressOf(o, 'gateway');
  const look = (): Promise<Look> => askAdmin<Look>(admin, '/v1/status');
  let [before, at] = [await look(), performance.now()];
  for (let n = 0; o.rounds === undefined || n < o.rounds; n++) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * o.interval));
    const now = await look();
    const seconds = (performance.now() - at) / 1000;
    at = performance.now();
    const shown = compare(before, now, seconds);
    before = now;
    if (o.json) process.stdout.write(`${JSON.stringify(shown)}\n`);
    else process.stdout.write(`${process.stdout.isTTY ? CLEAR : ''}${describe(shown)}\n`);
  }
  return EXIT.ok;
}
