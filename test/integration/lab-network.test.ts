/** The laboratory without roles: the real emulator between real namespaces, real nginx. */
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, it, onTestFinished } from 'vitest';
import { calibrate, TOLERANCE_MS } from '../../src/lab/calibrate.js';
import type { Lab } from '../../src/lab/lab.js';
import { namespaceOf, wanAddress, within } from '../../src/lab/network.js';
import { packageRoot } from '../../src/lab/paths.js';
import { pause, waitUntil } from '../../src/lab/process.js';
import { halfOpen, request } from '../../src/lab/requests.js';
import { knownTopologies } from '../../src/lab/topology.js';
import { withLab } from './lab-support.js';

const bare = { roles: false };
const SLOW = 60_000;

describe('the WAN', () => {
  it.each(knownTopologies())(
    'has the delays of topology %s, in each direction',
    async (topology) => {
      await withLab({ ...bare, topology }, async (lab) => {
        const { calibrated, paths } = await calibrate(lab.name, lab.topology);
        expect(paths).toHaveLength(20);
        for (const p of paths) {
          expect(Math.abs((p.measuredMs ?? Infinity) - p.askedMs), p.path).toBeLessThanOrEqual(TOLERANCE_MS);
        }
        expect(calibrated).toBe(true);
      });
    },
    SLOW,
  );

  it(
    'detects a path with a wrong delay, and accepts a change while it runs',
    async () => {
      await withLab(bare, async (lab) => {
        await lab.wan.setPath('r2>gateway', { delayMs: 25 });
        const { calibrated, paths } = await calibrate(lab.name, lab.topology);
        expect(calibrated).toBe(false);
        const changed = paths.find((p) => p.path === 'r2>gateway');
        expect(Math.abs((changed?.measuredMs ?? 0) - 25)).toBeLessThanOrEqual(TOLERANCE_MS);
      });
    },
    SLOW,
  );

  it(
    'keeps the order of a burst despite jitter',
    async () => {
      await withLab(bare, async (lab) => {
        await lab.wan.setPath('gateway>r1', { delayMs: 5, jitterMs: 40 });
        const marks = await burst(lab, 'gateway', 'r1', 500);
        expect(marks).toEqual(Array.from({ length: 500 }, (_, n) => n));
        await lab.wan.setPath('gateway>r1', { delayMs: 5, jitterMs: 40, reorder: true });
        const loose = await burst(lab, 'gateway', 'r1', 500);
        expect(loose).toHaveLength(500);
        expect(loose).not.toEqual(marks);
      });
    },
    SLOW,
  );

  it(
    'loses the configured share, and counts the lost packets',
    async () => {
      await withLab(bare, async (lab) => {
        await lab.wan.setPath('gateway>r1', { delayMs: 1, lossPct: 40 });
        const marks = await burst(lab, 'gateway', 'r1', 500);
        const { lost, packets, released, unroutable } = await lab.wanStatistics();
        expect(marks.length + lost).toBe(500);
        expect(lost).toBeGreaterThan(100);
        expect(released + lost + unroutable).toBe(packets);
      });
    },
    SLOW,
  );

  it(
    'delays a packet by the host that it comes from, not by its source address',
    async () => {
      await withLab(bare, async (lab) => {
        // r3 has the service's address and sends with it, as in configuration B. The delay of r3's path is longer
        // than any timeout here, the origin's is not.
        await lab.exec('r3', ['ip', 'addr', 'add', '203.0.113.10/32', 'dev', 'lo']);
        await lab.wan.setPath('r3>gateway', { delayMs: 9000 });
        const ping = ['ping', '-c', '1', '-W', '1', '-I', '203.0.113.10', '192.0.2.2'];
        await lab.exec('r3', ping);
        expect((await lab.wanStatistics()).held).toBe(1);
        expect((await lab.exec('server', ping)).status).toBe(0);
      });
    },
    SLOW,
  );

  it(
    'answers "fragmentation needed" on a narrow path, and fragments where it may',
    async () => {
      const file = `${packageRoot}/src/lab/topologies/replica-nearest.yaml`;
      const directory = mkdtempSync(`${tmpdir()}/firstack-lab-`);
      onTestFinished(() => rmSync(directory, { recursive: true }));
      const topology = `${directory}/narrow.yaml`;
      writeFileSync(topology, `${readFileSync(file, 'utf8')}paths: {"gateway>r1": {mtu: 1400}}\n`);
      await withLab({ ...bare, topology }, async (lab) => {
        const ping = (df: string, to: string) =>
          lab.exec('client', ['ping', '-c', '1', '-W', '2', '-M', df, '-s', '1440', wanAddress(to)]);
        const narrow = await ping('do', 'r1');
        expect(narrow.status).toBe(1);
        expect(narrow.stdout).toMatch(/Frag needed and DF set \(mtu = 1400\)/);
        expect((await ping('dont', 'r1')).status).toBe(0);
        expect((await ping('do', 'r2')).status).toBe(0);
      });
    },
    SLOW,
  );

  it(
    'is an ordinary network: hops, unreachable nets and closed ports answer as they should',
    async () => {
      await withLab(bare, async (lab) => {
        const ping = (...args: string[]) => lab.exec('client', ['ping', '-n', '-c', '1', '-W', '2', ...args]);
        const hops: string[] = [];
        for (const ttl of ['1', '2', '3', '4']) {
          hops.push(/[Ff]rom ([\d.]+)/.exec((await ping('-t', ttl, wanAddress('r1'))).stdout)?.[1] ?? '');
        }
        expect(hops).toEqual(['192.0.2.1', '198.18.1.1', '198.18.1.1', '198.18.11.2']);
        expect((await ping('10.9.8.7')).stdout).toMatch(/198\.18\.1\.1 .*Destination Net Unreachable/);
        const refused = await lab.exec('client', ['curl', '-sS', `http://${wanAddress('r1')}:81/`]);
        expect(refused.status).toBe(7);
      });
    },
    SLOW,
  );
});

describe('the web servers', () => {
  it(
    'answer with their own names, and log each client',
    async () => {
      await withLab(bare, async (lab) => {
        const direct = await request(lab);
        expect(direct).toMatchObject({ ok: true, servedBy: 'origin', error: '' });
        const r1 = await lab.exec('client', ['curl', '-sSi', `http://${wanAddress('r1')}/`]);
        expect(r1.stdout).toMatch(/^X-Served-By: r1\r$/m);
        expect(r1.stdout).toMatch(/\nserved by r1\n$/);
        const health = await lab.exec('client', ['curl', '-sS', `http://${wanAddress('r1')}/healthz`]);
        expect(health.stdout).toBe('ok\n');
        const log = lab.webServer('r1');
        await waitUntil(() => log.accessLog().length > 0, 2000);
        expect(log.accessLog()).toEqual([
          expect.objectContaining({
            host: 'r1',
            server: '198.18.11.2:80',
            status: 200,
            request: 'GET / HTTP/1.1',
          }),
        ]);
        const { client } = lab.webServer('server').accessLog()[0];
        expect(client).toBe(`192.0.2.2:${direct.clientPort}`);
        expect(lab.webServer('r2').accessLog()).toEqual([]);
        expect(halfOpen(lab)).toEqual({ server: 0, r1: 0, r2: 0, r3: 0 });
      });
    },
    SLOW,
  );

  it(
    'send and receive large files intact, through the emulator',
    async () => {
      await withLab({ ...bare, topology: 'origin-nearest' }, async (lab) => {
        const content = randomBytes(24 << 20);
        const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
        mkdirSync(lab.webServer('server').blobDirectory, { recursive: true });
        const [file, got] = [`${lab.directory}/blob/24M`, `${lab.directory}/got`];
        writeFileSync(file, content);
        const curl = (...args: string[]) => lab.exec('client', ['curl', '-sSf', '--max-time', '30', ...args]);
        expect((await curl('-o', got, 'http://203.0.113.10/blob/24M')).status).toBe(0);
        expect(sha(readFileSync(got))).toBe(sha(content));
        expect((await curl('-T', file, 'http://203.0.113.10/upload/24M')).status).toBe(0);
        const put = readFileSync(`${lab.webServer('server').uploadDirectory}/24M`);
        expect(sha(put)).toBe(sha(content));
        const { holdFull, writeErrors } = await lab.wanStatistics();
        expect({ holdFull, writeErrors }).toEqual({ holdFull: 0, writeErrors: 0 });
      });
    },
    SLOW,
  );

  it(
    'can be stopped, killed, paused and started',
    async () => {
      await withLab(bare, async (lab) => {
        const get = async (seconds = '5') =>
          (await lab.exec('client', ['curl', '-sS', '--max-time', seconds, `http://${wanAddress('r1')}/`]))
            .status;
        const r1 = lab.webServer('r1');
        r1.pause();
        expect(await get('1')).toBe(28);
        r1.resume();
        expect(await get()).toBe(0);
        await r1.kill();
        expect(await get()).toBe(7);
        await r1.start();
        expect(await get()).toBe(0);
        await r1.stop();
        expect(await get()).toBe(7);
      });
    },
    SLOW,
  );
});

/** Sends numbered datagrams from one host to another; returns the numbers that arrived, in order. */
async function burst(lab: Lab, from: string, to: string, count: number): Promise<number[]> {
  const literal = (name: string, _options: unknown, done: (e: null, a: string, f: number) => void) =>
    done(null, name, 4);
  const open = (host: string) =>
    within(namespaceOf(lab.name, host), () => {
      const socket = createSocket({ type: 'udp4', lookup: literal as never, recvBufferSize: 4 << 20 });
      socket.bind(0, wanAddress(host));
      return socket;
    });
  const [sender, receiver] = [open(from), open(to)];
  const marks: number[] = [];
  receiver.on('message', (m) => marks.push(m.readUInt32BE(0)));
  for (let n = 0; n < count; n++) {
    const message = Buffer.alloc(100);
    message.writeUInt32BE(n, 0);
    sender.send(message, receiver.address().port, wanAddress(to));
    // The kernel queues only a few packets for a neighbour that is not resolved yet.
    if (n % 25 === 0) await pause(3);
  }
  await pause(400);
  sender.close();
  receiver.close();
  return marks;
}
