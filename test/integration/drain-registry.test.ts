// A drain that the registry cannot tell is not complete: while Redis is frozen, slow, or cut off from a gateway, a
// replica is never "drained" as long as a gateway still sends to it.
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { cliScript } from '../../src/lab/paths.js';
import { type Output, pause, waitUntil } from '../../src/lab/process.js';
import { type RequestResult, request, requestMany } from '../../src/lab/requests.js';
import { TWO_REPLICAS, untilServedBy, withLab } from './lab-support.js';
import { SlowProxy } from './registry-support.js';

/** `firstack replica drain --wait` for r2. */
function drain(lab: Lab, timeout: number): Promise<Output> {
  const words = ['replica', 'drain', '--wait', '--timeout', String(timeout), '--lab', `${lab.name}/r2`];
  return lab.exec('r2', [process.execPath, cliScript, ...words], { timeoutMs: 60_000 });
}

const learned = { ...TWO_REPLICAS, configuration: 'A', race: 'learned' } as const;

/** Makes requests without a pause. @returns a function that ends them, and gives those that began after a time */
function requestsUntilTold(lab: Lab): { since(ms: number): RequestResult[]; end(): Promise<void> } {
  const made: { at: number; r: RequestResult }[] = [];
  let isEnding = false;
  const all = (async () => {
    while (!isEnding) {
      const at = performance.now();
      for (const r of await requestMany(lab, 4, 4)) made.push({ at, r });
    }
  })();
  return {
    since: (ms) => made.filter(({ at }) => at >= ms).map(({ r }) => r),
    end: () => {
      isEnding = true;
      return all;
    },
  };
}

describe('a drain while Redis is slow', () => {
  it.each([
    ['300 ms each way: it ends after the last new connection', 300, 0],
    ['so slow that the gateway is taken for gone: it waits, and says for whom', 1500, 1],
  ])('%s', async (_what, delayMs, status) => {
    await withLab({ ...learned, roles: false }, async (lab) => {
      const proxy = new SlowProxy(lab);
      await proxy.listen();
      try {
        await lab.startRoles({ ...learned, registryUrls: { gateway: proxy.url } });
        await untilServedBy(lab, 'r2');
        proxy.delayMs = delayMs;
        await pause(2 * delayMs);
        const requests = requestsUntilTold(lab);
        const first = await drain(lab, 12);
        expect(first.status, first.stdout).toBe(status);
        if (status !== 0) {
          expect(first.stderr).toMatch(/r2 is not drained; gateway-1 has /);
          proxy.delayMs = 0;
          expect((await drain(lab, 30)).status).toBe(0);
        }
        const doneAt = performance.now();
        await pause(3000);
        await requests.end();
        expect(requests.since(0).filter((r) => !r.ok)).toEqual([]);
        const late = requests.since(doneAt);
        expect(late.length).toBeGreaterThan(10);
        expect(late.filter((r) => r.servedBy === 'r2')).toEqual([]);
      } finally {
        proxy.close();
      }
    });
  });
});

describe('a drain while Redis is frozen', () => {
  it('is not complete, says who has not taken it over, and completes when Redis goes on', async () => {
    await withLab(learned, async (lab) => {
      await untilServedBy(lab, 'r2');
      const redis = lab.state.find('redis')!.pid;
      process.kill(redis, 'SIGSTOP');
      try {
        const { status, stdout, stderr } = await drain(lab, 5);
        expect([status, stdout]).toEqual([1, expect.stringContaining('draining')]);
        process.stderr.write(stderr);
        expect(stderr).toMatch(
          /^FSA_EXPECTATION: r2 is not drained; gateway-1 has not taken over the drain/m,
        );
        expect(stderr).toMatch(/origin-lab-\S+ has not taken over the drain; the registry is lost/);
      } finally {
        process.kill(redis, 'SIGCONT');
      }
      const { status, stdout } = await drain(lab, 30);
      expect([status, stdout]).toEqual([
        0,
        expect.stringContaining('drained: its last connection has ended'),
      ]);
      const after = await requestMany(lab, 10, 2);
      expect(after.filter((r) => !r.ok)).toEqual([]);
      expect(after.map((r) => r.servedBy)).not.toContain('r2');
    });
  });
});

describe('a drain while a gateway is cut off from Redis', () => {
  it('is not complete while that gateway may still send', async () => {
    await withLab({ ...learned, roles: false }, async (lab) => {
      const proxy = new SlowProxy(lab);
      await proxy.listen();
      await lab.startRoles({ ...learned, registryUrls: { gateway: proxy.url } });
      const isKnown = async (): Promise<boolean> =>
        (await lab.roles.status('r2'))!.applied.gateways.includes(1);
      expect(await waitUntil(isKnown, 15_000)).toBe(true);
      proxy.close();
      // Its records expire, and the others forget it.
      expect(await waitUntil(async () => !(await isKnown()), 15_000)).toBe(true);
      await untilServedBy(lab, 'r2');
      const { status, stderr } = await drain(lab, 5);
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(
          /r2 is not drained; gateway-1 has left the registry \d+ s ago without a farewell/,
        ),
      ]);
      await untilServedBy(lab, 'r2');

      const again = new SlowProxy(lab);
      await again.listen();
      expect((await drain(lab, 30)).status).toBe(0);
      expect((await request(lab)).servedBy).not.toBe('r2');
      await lab.stopRole('gateway');
      again.close();
    });
  });

  it('is not delayed by a gateway that was stopped', async () => {
    await withLab(learned, async (lab) => {
      await lab.stopRole('gateway');
      const words = ['replica', 'drain', '--wait', '--timeout', '12', '--lab', `${lab.name}/r2`];
      const drained = await lab.exec('r2', [process.execPath, cliScript, ...words], { timeoutMs: 60_000 });
      expect([drained.status, drained.stderr]).toEqual([0, '']);
    });
  });
});
