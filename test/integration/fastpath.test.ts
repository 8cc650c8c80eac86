// Pinned flows on real kernels: they outlive the process that pinned them, end cleanly without it, are swept when
// they have ended, and may be pinned in mid-transfer. Every mode carries; what cannot be had is said.
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import type { Output } from '../../src/lab/process.js';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';

const SERVICE = 'http://203.0.113.10';
const TOPOLOGY = 'replica-nearest';

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

/** `count` downloads at once, each of them slow enough to be met on its way. */
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
  it('killed, the gateway is not missed: its flows go on, end, and are taken over', async () => {
    await withLab({ topology: TOPOLOGY, configuration, fastpath: 'on' }, async (lab) => {
      const count = 20;
      const hash = publish(lab, 'long', 3 << 20);
      const short = publish(lab, 'short', 600 << 10);
      const long = download(lab, 'long', count, '500k');
      expect(await waitUntil(async () => (await kernel(lab)).flows === count, 5000)).toBe(true);
      await lab.killRole('gateway');
      // Nobody is there: what was pinned goes on, and what is new reaches the origin.
      expect((await requestMany(lab, 5, 5)).map((r) => r.servedBy)).toEqual(Array(5).fill('origin'));
      lab.startRole('gateway');
      await lab.roles.waitUntilReady();
      expect((await kernel(lab)).flows).toBe(count);
      expect(((await lab.roles.status('gateway')) as unknown as { flows: number }).flows).toBe(count);
      expect((await requestMany(lab, 5, 5)).map((r) => r.servedBy)).toEqual(Array(5).fill('r2'));
      expect(await long).toMatchObject({ status: 0, stderr: '' });
      expectWhole(lab, count, hash);

      // Killed for good, before they end: the last bytes and the end come through all the same.
      const last = download(lab, 'short', count, '200k');
      await waitUntil(async () => (await kernel(lab)).flows >= 2 * count, 5000);
      await lab.killRole('gateway');
      expect(await last).toMatchObject({ status: 0, stderr: '' });
      expectWhole(lab, count, short);
      // Closed by both sides, in order: only the last one to say so waits for stragglers.
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

  it('pins in mid-transfer, and nothing is lost', async () => {
    const late = { fastpath: { mode: 'on', pinAfterPackets: 40 } };
    const changes = Object.fromEntries(['gateway', 'r2'].map((h) => [h, late]));
    await withLab({ topology: TOPOLOGY, configuration, changes, fastpath: 'on' }, async (lab) => {
      const count = 10;
      const hash = publish(lab, 'blob', 8 << 20);
      expect(await download(lab, 'blob', count, '20M')).toMatchObject({ status: 0, stderr: '' });
      expectWhole(lab, count, hash);
      const counters = (await lab.roles.status('gateway'))?.counters ?? {};
      // Each began on the TUN …
      expect(counters['pass.to-replica']).toBeGreaterThan(count * 10);
      // … and went on in the kernel.
      expect((await kernel(lab)).flows).toBe(count);
      expect(Number((await kernel(lab))['out.packets'])).toBeGreaterThan(count * 10);
    });
  });

  it('sweeps what has ended, the kernel entry and its own', async () => {
    const flows = { openingTimeoutMs: 2000, establishedTimeoutMs: 60_000, closingTimeoutMs: 1000 };
    const changes = Object.fromEntries(['gateway', 'r2'].map((h) => [h, { flows }]));
    await withLab({ topology: TOPOLOGY, configuration, changes, fastpath: 'on' }, async (lab) => {
      const answers = await requestMany(lab, 30, 10);
      expect(answers.every((r) => r.ok)).toBe(true);
      expect(Number((await kernel(lab))['out.packets'])).toBeGreaterThanOrEqual(60);
      // Its SYN and one answer at least of each connection came past the stack, and went on so.
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
  const learned = { topology: TOPOLOGY, configuration: 'A', race: 'learned', fastpath: 'on' } as const;
  const count = (lab: Lab, name: string) => lab.roles.counter('gateway', name);
  const servedBy = async (lab: Lab, requests: number, concurrency = 4) =>
    (await requestMany(lab, requests, concurrency)).map((r) => (r.ok ? r.servedBy : r.error));

  it('gets its SYNs from TypeScript where the kernel may not open connections', async () => {
    const changes = { gateway: { fastpath: { mode: 'on', openings: false } } };
    await withLab({ ...learned, changes }, async (lab) => {
      expect(new Set(await servedBy(lab, 60))).toEqual(new Set(['r2']));
      expect(await count(lab, 'kernel.opened')).toBe(0);
      const races = await lab.roles.races(60);
      expect(races.filter((r) => r.rule.startsWith('asked alone')).length).toBeGreaterThan(30);
    });
  });

  it('gets its SYNs from the kernel, and the race explains itself all the same', async () => {
    await withLab(learned, async (lab) => {
      expect(new Set(await servedBy(lab, 60))).toEqual(new Set(['r2']));
      expect(await count(lab, 'kernel.opened')).toBeGreaterThan(30);
      expect(await count(lab, 'fired.hedge')).toBe(0);
      const races = await lab.roles.races(60);
      expect(races).toHaveLength(60);
      expect(new Set(races.map((r) => r.winner))).toEqual(new Set(['r2']));
      // 15 ms there and 15 back, as the kernel itself saw them go and come.
      for (const r of races) expect(r.candidates[0].replyUs).toBeGreaterThan(29_000);
    });
  });

  it('that falls silent costs no connection: the SYN is taken back, and the others are asked', async () => {
    await withLab(learned, async (lab) => {
      expect(new Set(await servedBy(lab, 20))).toEqual(new Set(['r2']));
      await lab.wan.setPaths({ 'gateway>r2': { lossPct: 100 }, 'r2>gateway': { lossPct: 100 } });
      const opened = await count(lab, 'kernel.opened');
      expect(new Set(await servedBy(lab, 20))).toEqual(new Set(['r1']));
      expect(await count(lab, 'kernel.opened')).toBeGreaterThan(opened);
      expect(await count(lab, 'fired.hedge')).toBeGreaterThan(0);
    });
  });

  it('is reached for a second at most by nobody: a dead process sends to no dead winner', async () => {
    await withLab(learned, async (lab) => {
      expect(new Set(await servedBy(lab, 20))).toEqual(new Set(['r2']));
      await lab.killRole('gateway');
      await new Promise((resolve) => setTimeout(resolve, 1100));
      expect(new Set(await servedBy(lab, 10))).toEqual(new Set(['origin']));
    });
  });

  it('is not asked alone by the kernel where SYNs need a tag', async () => {
    await withLab({ ...learned, configuration: 'C' }, async (lab) => {
      expect(new Set(await servedBy(lab, 20))).toEqual(new Set(['r2']));
      expect(await count(lab, 'kernel.opened')).toBe(0);
    });
  });
});

describe('what there is', () => {
  it.each(['A', 'C'] as const)('a host with rules of its own keeps them: %s by the stack', async (c) => {
    await withLab({ topology: TOPOLOGY, roles: false }, async (lab) => {
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
          ...[...lab.roles.argv('gateway'), '--check', '--fastpath', mode],
        ]);
      expect((await check('on')).stdout).toMatch(
        /^# fastpath on: as asked; redirected packets bypass ip mine onward$/m,
      );
    });
  });

  it('and a host without says so', async () => {
    await withLab({ topology: TOPOLOGY, roles: false }, async (lab) => {
      await lab.startRoles({ configuration: 'A', fastpath: 'off' });
      expect(await kernel(lab)).toMatchObject({ how: 'off', why: 'as asked' });
      await lab.stopRoles();
      const start = (mode: string, ...more: string[]) =>
        lab.exec('gateway', [
          ...['env', `FIRSTACK_BPF_DIR=${lab.directory}`],
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
