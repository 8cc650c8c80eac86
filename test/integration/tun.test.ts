// The device on a real TUN: batches of packets that the kernel sends, at their offsets in the arena, and packets that
// are written back. The other end is a service on the host.
import { execFileSync, spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BATCH_BYTES, DeviceError, PACKET_GAP, VNET_HEADER } from '../../src/device/device.js';
import { native } from '../../src/device/native.js';
import { Tun } from '../../src/device/tun.js';
import { waitUntil } from '../../src/lab/process.js';
import * as ipv4 from '../../src/wire/ipv4.js';

const NAMESPACE = `fs-tun-${process.pid}`;
const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const HEADERS = 28;
const LIMIT = 128;
const SLOT = 65_535 + PACKET_GAP;
const POISON = 0xa7;

let tun: Tun;
let socket: Socket;
let port = 0;

beforeAll(async () => {
  ip('netns', 'add', NAMESPACE);
  native.setns(`/run/netns/${NAMESPACE}`);
  tun = new Tun('fstest', { offload: true });
  tun.mtu = 65_535;
  tun.queueLength = 1000;
  // No other software sends on this interface.
  execFileSync('sysctl', ['-qw', 'net.ipv6.conf.fstest.disable_ipv6=1']);
  ip('link', 'set', 'fstest', 'multicast', 'off');
  ip('address', 'add', '10.9.0.1/24', 'dev', 'fstest');
  ip('link', 'set', 'fstest', 'up');
  socket = createSocket('udp4').bind(0, '10.9.0.1');
  await once(socket, 'listening');
  port = socket.address().port;
});

afterAll(() => {
  socket.close();
  tun.release();
  native.setns(`/proc/${process.ppid}/ns/net`);
  ip('netns', 'del', NAMESPACE);
});

interface Read {
  arena: Uint8Array;
  at: Int32Array;
  lengths: Int32Array;
  count: number;
}

async function send(payloads: readonly Uint8Array[]): Promise<void> {
  for (const payload of payloads) {
    const sent = once(socket, 'sent');
    socket.send(payload, 7, '10.9.0.2', (error) => socket.emit('sent', error));
    expect((await sent)[0]).toBeNull();
  }
}

const payloadOf = (bytes: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, k) => (k * 31 + seed) & 255);

/** Reads one batch. The former bytes must be unchanged between the packets and behind the last one. */
function read(): Read {
  const arena = new Uint8Array(LIMIT * 4096 + SLOT).fill(POISON);
  const at = new Int32Array(LIMIT);
  at[0] = PACKET_GAP;
  const lengths = new Int32Array(LIMIT);
  return { arena, at, lengths, count: tun.readBatch(arena, at, lengths, LIMIT, SLOT) };
}

const packet = (r: Read, i: number): Uint8Array => r.arena.subarray(r.at[i], r.at[i] + r.lengths[i]);

describe('a TUN', () => {
  it('reads a batch unchanged, each packet with room in front of it, and changes no other bytes', async () => {
    const payloads = [0, 1, 63, 64, 65, 1000, 1, 9000, 2].map(payloadOf);
    await send(payloads);
    const r = read();
    expect(r.count).toBe(payloads.length);
    let end = 0;
    for (let i = 0; i < r.count; i++) {
      expect(Buffer.from(packet(r, i).subarray(HEADERS)).equals(payloads[i]), `packet ${i}`).toBe(true);
      expect(r.at[i] - end).toBeGreaterThanOrEqual(PACKET_GAP);
      const between = r.arena.subarray(end, r.at[i] - VNET_HEADER);
      expect(between.every((b) => b === POISON)).toBe(true);
      end = r.at[i] + r.lengths[i];
    }
    expect(r.arena.subarray(end).every((b) => b === POISON)).toBe(true);
    expect(read().count).toBe(0);
  });

  it('ends a batch with the packet that makes it large enough, and reads the rest with the next batch', async () => {
    const payloads = Array.from({ length: 7 }, (_, n) => payloadOf(40_000, n));
    await send(payloads);
    const [first, second] = [read(), read()];
    expect(first.count).toBe(Math.ceil(BATCH_BYTES / (40_000 + HEADERS + VNET_HEADER)));
    expect(first.count + second.count).toBe(payloads.length);
    const got = [first, second].flatMap((r) => Array.from({ length: r.count }, (_, i) => packet(r, i)));
    for (const [n, p] of got.entries())
      expect(Buffer.from(p.subarray(HEADERS)).equals(payloads[n]), `packet ${n}`).toBe(true);
  });

  it('waits for a first packet for the given time at most, and ends when it comes', async () => {
    const arena = new Uint8Array(SLOT + 128);
    const lengths = new Int32Array(1);
    const waiting = (us: number): number =>
      tun.readBatch(arena, Int32Array.of(PACKET_GAP), lengths, 1, SLOT, us);
    const begun = performance.now();
    expect(waiting(20_000)).toBe(0);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(20);
    const other = spawn('sh', ['-c', 'sleep 0.3; ping -c 1 -W 1 10.9.0.3'], { stdio: 'ignore' });
    const ended = once(other, 'exit');
    expect(waiting(10_000_000)).toBe(1);
    expect(performance.now() - begun).toBeLessThan(9000);
    await ended;
    expect(ipv4.daddr(new DataView(arena.buffer), PACKET_GAP)).toBe(0x0a090003);
  });

  it('writes a batch, and reports for each packet whether the kernel accepted it', async () => {
    const payloads = [5, 600, 30_000].map(payloadOf);
    await send(payloads);
    const r = read();
    const heard: Buffer[] = [];
    socket.on('message', (message) => heard.push(message));
    const view = new DataView(r.arena.buffer);
    for (let i = 0; i < r.count; i++) {
      // Back to its sender: exchanging the addresses does not change the sums.
      const [from, to] = [ipv4.saddr(view, r.at[i]), ipv4.daddr(view, r.at[i])];
      view.setInt32(r.at[i] + 12, to);
      view.setInt32(r.at[i] + 16, from);
      view.setUint16(r.at[i] + 22, port);
      view.setUint16(r.at[i] + 20, 7);
    }
    // The second packet is no longer an IP packet.
    r.arena[r.at[1]] = 0;
    expect(tun.writeBatch(r.arena, r.at, r.lengths, r.count)).toBe(2);
    expect(r.lengths[1]).toBeLessThan(0);
    expect(await waitUntil(() => heard.length === 2, 2000)).toBe(true);
    socket.removeAllListeners('message');
    expect(heard.map((m) => Buffer.compare(m, payloads[m.length === 5 ? 0 : 2]))).toEqual([0, 0]);
  });

  it('that no longer exists is reported', () => {
    const other = new Tun('fsgone');
    ip('link', 'delete', 'fsgone');
    const at = Int32Array.of(PACKET_GAP);
    expect(() => other.readBatch(new Uint8Array(SLOT + 128), at, new Int32Array(1), 1, SLOT)).toThrow(
      DeviceError,
    );
    other.release();
  });
});
