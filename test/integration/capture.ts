// Packet captures by tcpdump on the hosts of a laboratory, read by a small parser in this file, so that no code of
// src/ judges packets that src/ sent.

import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';

export interface Ip {
  src: string;
  dst: string;
  protocol: number;
  ttl: number;
  dontFragment: boolean;
}

export interface Tcp {
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  flags: string;
  options: { kind: number; bytes: Buffer }[];
  payload: number;
  mss: number | undefined;
}

export interface Captured {
  /** Seconds. */
  time: number;
  /** The outermost first. */
  headers: Ip[];
  tcp: Tcp | undefined;
  icmp: { type: number; code: number } | undefined;
  bytes: Buffer;
}

export class Capture {
  private constructor(
    readonly file: string,
    readonly child: ChildProcess,
  ) {}

  static async start(lab: Lab, host: string, device: string, filter = 'ip'): Promise<Capture> {
    const file = `${lab.directory}/${host}-${device}.pcap`;
    const child = lab.spawnIn(
      host,
      ['tcpdump', '-i', device, '-U', '--immediate-mode', '-B', '16384', '-Z', 'root', '-w', file, filter],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    if (!(await waitUntil(() => said.includes('listening on'), 5000))) throw new Error(`tcpdump: ${said}`);
    return new Capture(file, child);
  }

  async stop(): Promise<Captured[]> {
    // Waits for packets that are still in the kernel's ring.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGINT');
    await ended;
    return parsePcap(readFileSync(this.file));
  }
}

/** Captures on several devices during a function call. Keys are `host:device`. */
export async function during(
  lab: Lab,
  devices: string[],
  body: () => Promise<void>,
): Promise<Record<string, Captured[]>> {
  const captures = await Promise.all(
    devices.map(async (d) => {
      const [host, device] = d.split(':');
      return [d, await Capture.start(lab, host, device)] as const;
    }),
  );
  await body();
  const out: Record<string, Captured[]> = {};
  for (const [device, capture] of captures) out[device] = await capture.stop();
  return out;
}

function parsePcap(file: Buffer): Captured[] {
  const ethernet = file.readUInt32LE(20) === 1;
  const out: Captured[] = [];
  for (let p = 24; p + 16 <= file.length; ) {
    const length = file.readUInt32LE(p + 8);
    const time = file.readUInt32LE(p) + file.readUInt32LE(p + 4) / 1e6;
    const frame = file.subarray(p + 16, p + 16 + length);
    p += 16 + length;
    if (ethernet && frame.readUInt16BE(12) !== 0x0800) continue;
    const packet = parseIp(ethernet ? frame.subarray(14) : frame, time);
    if (packet !== undefined) out.push(packet);
  }
  return out;
}

function parseIp(bytes: Buffer, time: number): Captured | undefined {
  const headers: Ip[] = [];
  let at = 0;
  let tcp: Tcp | undefined;
  let icmp: Captured['icmp'];
  let end = bytes.length;
  while (bytes[at] >> 4 === 4) {
    const address = (o: number) => [...bytes.subarray(at + o, at + o + 4)].join('.');
    const protocol = bytes[at + 9];
    headers.push({
      src: address(12),
      dst: address(16),
      protocol,
      ttl: bytes[at + 8],
      dontFragment: (bytes[at + 6] & 0x40) !== 0,
    });
    const total = bytes.readUInt16BE(at + 2);
    // A super-packet of a veth may say 0.
    end = total === 0 ? end : at + total;
    at += (bytes[at] & 15) * 4;
    if (protocol === 6) tcp = parseTcp(bytes.subarray(at, end));
    if (protocol === 1) icmp = { type: bytes[at], code: bytes[at + 1] };
    if (protocol !== 4) break;
  }
  return headers.length === 0 ? undefined : { time, headers, tcp, icmp, bytes: bytes.subarray(0, end) };
}

const FLAGS = ['F', 'S', 'R', 'P', 'A'];

function parseTcp(bytes: Buffer): Tcp {
  const header = (bytes[12] >> 4) * 4;
  const options: Tcp['options'] = [];
  for (let p = 20; p < header && bytes[p] !== 0; ) {
    if (bytes[p] === 1) {
      p++;
      continue;
    }
    options.push({ kind: bytes[p], bytes: bytes.subarray(p, p + bytes[p + 1]) });
    p += bytes[p + 1];
  }
  const mss = options.find((o) => o.kind === 2);
  return {
    sport: bytes.readUInt16BE(0),
    dport: bytes.readUInt16BE(2),
    seq: bytes.readUInt32BE(4),
    ack: bytes.readUInt32BE(8),
    flags: FLAGS.filter((_, i) => (bytes[13] >> i) & 1).join(''),
    options,
    payload: bytes.length - header,
    mss: mss?.bytes.readUInt16BE(2),
  };
}

/** `[a→b][c→d]` with names instead of addresses, as in the table of `wire-table.test.ts`. */
export function form(packet: Captured, names: Record<string, string>): string {
  const name = (address: string): string => names[address] ?? address;
  return packet.headers.map((h) => `[${name(h.src)}→${name(h.dst)}]`).join('');
}

/** The tag of a SYN: kind 253 and firstack's ExID. */
export function tagOf(packet: Captured): Buffer | undefined {
  return packet.tcp?.options.find((o) => o.kind === 253 && o.bytes.readUInt16BE(2) === 0xfa57)?.bytes;
}
