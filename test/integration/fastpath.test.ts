// Pinned flows on real kernels: they outlive the process that pinned them, end cleanly without it, are removed after
// their end, and may be pinned in mid-transfer. Every mode carries flows; an unavailable mode is reported.
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/lab/bench/connect.js';
import type { Lab } from '../../src/lab/lab.js';
import type { Output } from '../../src/lab/process.js';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { TWO_REPLICAS, untilServedBy, withLab } from './lab-support.js';

const SERVICE = 'http://203.0.113.10';

interface KernelStatus {
  how: string;
  why: string;
  flows: number;
  [counter: string]: number | string;
}
async function kernel(lab: Lab, host = 'gateway'): Promise<KernelStatus> {
  return ((await lab.roles.status(host)) as unknown as { fastpath: KernelStatus }).fastpath;
}

/** A file of random bytes at the nearest replica; returns its SHA-256. */
function publish(lab: Lab, name: string, size: number): string {
  const { blobDirectory } = lab.webServer('r2');
  mkdirSync(blobDirectory, { recursive: true });
  const bytes = randomBytes(size);
  writeFileSync(`${blobDirectory}/${name}`, bytes);
  return createHash('sha256').update(bytes).digest('hex');
}

const hashOf = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** `count` downloads at the same time, each slow enough that the test can act while it runs. */
function download(lab: Lab, name: string, count: number, rate: string): Promise<Output> {
  const one = Array.from({ length: count }, (_, i) => [
    ...['-o', `${lab.directory}/got-${i}`, `${SERVICE}/blob/${name}`],
  ]).flat();
  const argv = ['curl', '-sS', '--fail', '--noproxy', '*', '--max-time', '60', '--limit-rate', rate];
  argv.push('-Z', '--parallel-immediate', '--parallel-max', String(count), '--no-progress-meter');
  return lab.exec('client', [...argv, ...one], { timeoutMs: 90_000 });
}

function expectWhole(lab: Lab, count: number, hash: string): void {
  for (let i = 0; i < count; i++) expect(hashOf(`${lab.directory}/got-${i}`), `download ${i}`).toBe(hash);
}

describe.each(CONFIGURATIONS)('configuration %s', (configuration) => {
  it("a killed gateway's flows continue, end, and are taken over by the next process", async () => {
    await withLab({ ...TWO_REPLICAS, configuration, fastpath: 'on' }, async (lab) => {
      const count = 20;
      const hash = publish(lab, 'long', 3 << 20);
      const short = publish(lab, 'short', 600 << 10);
      const long = download(lab, 'long', count, '500k');
      expect(await waitUntil(async () => (await kernel(lab)).flows === count, 5000)).toBe(true);
      await lab.killRole('gateway');
      // No gateway runs: pinned flows continue, and new connections reach the origin.
      expect((await requestMany(lab, 5, 5)).map((r) => r.servedBy)).toEqual(Array(5).fill('origin'));
      lab.startRole('gateway');
      await lab.roles.waitUntilReady();
      expect((await kernel(lab)).flows).toBe(count);
      expect(((await lab.roles.status('gateway')) as unknown as { flows: number }).flows).toBe(count);
      expect((await requestMany(lab, 5, 5)).map((r) => r.servedBy)).toEqual(Array(5).fill('r2'));
      expect(await long).toMatchObject({ status: 0, stderr: '' });
      expectWhole(lab, count, hash);

      // Killed for good before the transfers end: their last bytes and FINs arrive all the same.
      const last = download(lab, 'short', count, '200k');
      await waitUntil(async () => (await kernel(lab)).flows >= 2 * count, 5000);
      await lab.killRole('gateway');
      expect(await last).toMatchObject({ status: 0, stderr: '' });
      expectWhole(lab, count, short);
      // Closed by both sides in order: only the side that closes first is in TIME-WAIT.
      const open = ['state', 'connected', 'exclude', 'time-wait', 'dst', '203.0.113.10'];
      const ended = async () => (await lab.exec('client', ['ss', '-Htn', ...open])).stdout === '';
      expect(await waitUntil(ended, 3000)).toBe(true);

      const argv = [...lab.roles.argv('gateway'), '--unpin'];
      const env = `FIRSTACK_BPF_DIR=${lab.state.bpfDirectory}`;
      const unpin = () => lab.exec('gateway', ['env', env, ...argv]);
      expect(await unpin()).toMatchObject({ status: 0, stdout: expect.stringContaining('have ended') });
      expect(await unpin()).toMatchObject({
        status: 0,
        stdout: expect.stringContaining('nothing was pinned'),
      });
      expect((await lab.exec('gateway', ['tc', 'filter', 'show', 'dev', 'lan0', 'ingress'])).stdout).toBe('');
    });
  });

  it('pins in mid-transfer without losing a byte', async () => {
    const late = { fastpath: { mode: 'on', pinAfterPackets: 40 } };
    const changes = Object.fromEntries(['gateway', 'r2'].map((h) => [h, late]));
    await withLab({ ...TWO_REPLICAS, configuration, changes, fastpath: 'on' }, async (lab) => {
      const count = 10;
      const hash = publish(lab, 'blob', 8 << 20);
      expect(await download(lab, 'blob', count, '20M')).toMatchObject({ status: 0, stderr: '' });
      expectWhole(lab, count, hash);
      const counters = (await lab.roles.status('gateway'))?.counters ?? {};
      // Each flow began on the TUN …
      expect(counters['pass.to-replica']).toBeGreaterThan(count * 10);
      // … and continued in the kernel.
      expect((await kernel(lab)).flows).toBe(count);
      expect(Number((await kernel(lab))['out.packets'])).toBeGreaterThan(count * 10);
    });
  });

  it("removes ended flows, from the kernel's table and its own", async () => {
    const flows = { openingTimeoutMs: 2000, establishedTimeoutMs: 60_000, closingTimeoutMs: 1000 };
    const changes = Object.fromEntries(['gateway', 'r2'].map((h) => [h, { flows }]));
    await withLab({ ...TWO_REPLICAS, configuration, changes, fastpath: 'on' }, async (lab) => {
      const answers = await requestMany(lab, 30, 10);
      expect(answers.every((r) => r.ok)).toBe(true);
      expect(Number((await kernel(lab))['out.packets'])).toBeGreaterThanOrEqual(60);
      // The SYN and at least one answer of each connection came past the stack, and left past it.
      expect(Number((await kernel(lab))['to.tun'])).toBeGreaterThanOrEqual(30);
      expect(Number((await kernel(lab))['from.tun'])).toBeGreaterThanOrEqual(60);
      const hosts = configuration === 'A' ? ['gateway'] : ['gateway', 'r2'];
      const empty = async () =>
        (await Promise.all(hosts.map((h) => kernel(lab, h)))).every((k) => k.flows === 0);
      expect(await waitUntil(empty, 15_000)).toBe(true);
    });
  });
});

describe('a learned winner', () => {
  const learned = { ...TWO_REPLICAS, configuration: 'A', race: 'learned', fastpath: 'on' } as const;
  const count = (lab: Lab, name: string) => lab.roles.counter('gateway', name);
  const servedBy = async (lab: Lab, requests: number, concurrency = 4) =>
    (await requestMany(lab, requests, concurrency)).map((r) => (r.ok ? r.servedBy : r.error));

  it('gets its SYNs from TypeScript where the kernel may not open connections', async () => {
    const changes = { gateway: { fastpath: { mode: 'on', openings: false } } };
    await withLab({ ...learned, changes }, async (lab) => {
      await untilServedBy(lab, 'r2');
      expect(new Set(await servedBy(lab, 60))).toEqual(new Set(['r2']));
      expect(await count(lab, 'kernel.opened')).toBe(0);
      const races = await lab.roles.races(60);
      expect(races.filter((r) => r.rule.startsWith('asked alone')).length).toBeGreaterThan(30);
    });
  });

  it('gets its SYNs from the kernel, and the race can still be explained', async () => {
    await withLab(learned, async (lab) => {
      await untilServedBy(lab, 'r2');
      const hedges = await count(lab, 'fired.hedge');
      expect(new Set(await servedBy(lab, 60))).toEqual(new Set(['r2']));
      expect(await count(lab, 'kernel.opened')).toBeGreaterThan(30);
      expect(await count(lab, 'fired.hedge')).toBe(hedges);
      const races = await lab.roles.races(60);
      expect(races).toHaveLength(60);
      expect(new Set(races.map((r) => r.winner))).toEqual(new Set(['r2']));
      // 15 ms there and 15 ms back, by the times of the kernel's hooks.
      for (const r of races) expect(r.candidates[0].replyUs).toBeGreaterThan(29_000);
    });
  });

  it('gets the SYNs of many clients behind one address from the kernel, too', async () => {
    const changes = { gateway: { flows: { max: 1024 } } };
    await withLab({ ...learned, changes }, async (lab) => {
      await untilServedBy(lab, 'r2');
      const client = new Client(lab);
      await client.connect('203.0.113.10', 80, 300, 150);
      expect(await count(lab, 'limit.race-of-source')).toBeGreaterThan(0);
      const opened = await count(lab, 'kernel.opened');
      const connections = await client.connect('203.0.113.10', 80, 600, 150);
      client.end();
      expect(connections.filter((c) => c.servedBy === '')).toEqual([]);
      expect((await count(lab, 'kernel.opened')) - opened).toBeGreaterThan(300);
    });
  });

  it('that falls silent makes no connection fail: the other candidates are asked', async () => {
    await withLab(learned, async (lab) => {
      await untilServedBy(lab, 'r2');
      await lab.wan.setPaths({ 'gateway>r2': { lossPct: 100 }, 'r2>gateway': { lossPct: 100 } });
      const opened = await count(lab, 'kernel.opened');
      expect(new Set(await servedBy(lab, 20))).toEqual(new Set(['r1']));
      expect(await count(lab, 'kernel.opened')).toBeGreaterThan(opened);
      expect(await count(lab, 'fired.hedge')).toBeGreaterThan(0);
    });
  });

  it('loses its lease one second after the process died: no SYN is sent to a dead winner', async () => {
    await withLab(learned, async (lab) => {
      await untilServedBy(lab, 'r2');
      await lab.killRole('gateway');
      await new Promise((resolve) => setTimeout(resolve, 1100));
      expect(new Set(await servedBy(lab, 10))).toEqual(new Set(['origin']));
    });
  });

  it('is not asked alone by the kernel where SYNs need a tag', async () => {
    await withLab({ ...learned, configuration: 'C' }, async (lab) => {
      await untilServedBy(lab, 'r2');
      expect(await count(lab, 'kernel.opened')).toBe(0);
    });
  });
});

describe('hosts with and without the fast path', () => {
  it.each(['A', 'C'] as const)(
    'on a host with rules of its own, the stack forwards in configuration %s',
    async (c) => {
      await withLab({ ...TWO_REPLICAS, roles: false }, async (lab) => {
        const rules =
          'table ip mine { chain onward { type filter hook forward priority 0; policy accept; counter; }; }';
        expect(await lab.exec('gateway', ['nft', '-f', '-'], { input: rules })).toMatchObject({ status: 0 });
        await lab.startRoles({ configuration: c, fastpath: 'auto' });
        expect(await kernel(lab)).toMatchObject({
          how: 'stack',
          why: expect.stringContaining('ip mine onward'),
        });
        const hash = publish(lab, 'blob', 4 << 20);
        expect(await download(lab, 'blob', 4, '50M')).toMatchObject({ status: 0, stderr: '' });
        expectWhole(lab, 4, hash);
        expect(Number((await kernel(lab))['in.bytes'])).toBeGreaterThan(16 << 20);
        const counted = (await lab.exec('gateway', ['nft', 'list', 'table', 'ip', 'mine'])).stdout;
        expect(Number(/bytes (\d+)/.exec(counted)?.[1])).toBeGreaterThan(16 << 20);

        const check = (mode: string) =>
          lab.exec('gateway', [
            ...['env', `FIRSTACK_BPF_DIR=${lab.state.bpfDirectory}`],
            `FIRSTACK_STATE_DIR=${lab.directory}/events`,
            ...[...lab.roles.argv('gateway'), '--check', '--fastpath', mode],
          ]);
        expect((await check('on')).stdout).toMatch(
          /^# fastpath on: as asked; redirected packets bypass ip mine onward$/m,
        );
      });
    },
  );

  it('a host without it reports that', async () => {
    await withLab({ ...TWO_REPLICAS, roles: false }, async (lab) => {
      await lab.startRoles({ configuration: 'A', fastpath: 'off' });
      expect(await kernel(lab)).toMatchObject({ how: 'off', why: 'as asked' });
      await lab.stopRoles();
      const start = (mode: string, ...more: string[]) =>
        lab.exec('gateway', [
          ...['env', `FIRSTACK_BPF_DIR=${lab.directory}`],
          `FIRSTACK_STATE_DIR=${lab.directory}/events`,
          ...[...lab.roles.argv('gateway'), '--fastpath', mode, ...more],
        ]);
      for (const mode of ['on', 'stack']) {
        const o = await start(mode, '--check');
        expect(o).toMatchObject({ status: 78, stdout: '' });
        expect(o.stderr).toMatch(/^FSA_FASTPATH_UNAVAILABLE: fastpath: .* is no bpffs \(mount -t bpf/);
      }
      expect((await start('auto', '--check')).stdout).toMatch(/^# fastpath off: .* is no bpffs/m);
    });
  });
});
