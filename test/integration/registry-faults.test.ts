// A slow, stalled or refusing registry, or an old view: no connection fails, the fault is reported, and afterwards
// every role knows all changes within two heartbeats. No packet ever waits for Redis.
import { describe, expect, it } from 'vitest';
import { pause, signal, waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { freshName, withLab } from './lab-support.js';
import {
  client,
  everywhere,
  expectConvergence,
  HEARTBEAT_MS,
  isConnected,
  logOf,
  READERS,
  readiness,
  SlowProxy,
  TWO_HEARTBEATS_MS,
  withClient,
} from './registry-support.js';

const name = () => `reg-${freshName()}`;

describe('a registry', () => {
  it('that is slow, 300 ms each way: no role is forgotten, and every change is known in two heartbeats', async () => {
    await withLab({ name: name(), roles: false }, async (lab) => {
      const proxy = new SlowProxy(lab);
      await proxy.listen();
      const redis = await client({ path: lab.redis.socket });
      try {
        const hosts = lab.roles.hosts;
        await lab.startRoles({ registryUrls: Object.fromEntries(hosts.map((h) => [h, proxy.url])) });
        proxy.delayMs = 300;
        // The stream always names a record that has not changed; reading it must not delay other changes.
        const news = setInterval(
          () => void redis.xadd('firstack:v1:changes:replica', '*', 'id', 'r1').catch(() => {}),
          50,
        );
        try {
          await withClient(lab, async () => {
            await pause(4 * HEARTBEAT_MS);
            for (let n = 0; n < 3; n++) await expectConvergence(lab, redis);
          });
        } finally {
          clearInterval(news);
        }
        for (const host of ['gateway', 'origin', 'r1', 'r2']) {
          expect(await readiness(lab, host)).toMatchObject({ status: 200 });
          expect(logOf(lab, host)).not.toContain('registry lost');
        }
      } finally {
        redis.disconnect();
        proxy.close();
      }
    });
  });

  it('that stalls for ten seconds: connections are made and served meanwhile, with the last view', async () => {
    await withLab({ name: name() }, async (lab) => {
      const redis = await client({ path: lab.redis.socket });
      const server = lab.state.find('redis')!;
      await withClient(lab, async () => {
        signal(server, 'SIGSTOP');
        const stoppedAt = performance.now();
        // A replica dies meanwhile: the other roles' records of it become stale, which does no harm.
        await lab.killRole('r3');
        for (const host of [...READERS, 'r1', 'r2'])
          expect(await waitUntil(async () => (await readiness(lab, host)).status === 503, 6000)).toBe(true);
        const during = await requestMany(lab, 10, 2);
        expect(during.map((r) => [r.ok, r.servedBy])).toEqual(during.map(() => [true, 'r2']));
        await pause(10_000 - (performance.now() - stoppedAt));
        const stale = (await lab.roles.status('gateway'))!;
        expect(stale.registry).toMatchObject({ connected: false });
        expect(stale.registry.viewAgeMs).toBeGreaterThan(8000);
        expect(stale.applied.replicas).toEqual(['r1', 'r2', 'r3']);
        expect((await readiness(lab, 'gateway')).body).toMatch(
          /registry lost \d+ ms ago: going on with the last view/,
        );

        signal(server, 'SIGCONT');
        await everywhere(lab, [...READERS, 'r1', 'r2'], isConnected, TWO_HEARTBEATS_MS);
        // All roles have three heartbeats to publish their records again; a role that has not is forgotten within two
        // more.
        await everywhere(
          lab,
          READERS,
          (s) => !s.applied.replicas.includes('r3'),
          3 * HEARTBEAT_MS + TWO_HEARTBEATS_MS,
        );
        lab.startRole('r3');
        await everywhere(lab, READERS, (s) => s.applied.replicasUp.includes('r3'), 20_000);
        await expectConvergence(lab, redis);
      });
      redis.disconnect();
    });
  });

  it('that is emptied: no role is forgotten, and changes are known in two heartbeats', async () => {
    await withLab({ name: name() }, async (lab) => {
      const redis = await client({ path: lab.redis.socket });
      await withClient(lab, async () => {
        const missed: string[] = [];
        let watching = true;
        const watch = (async () => {
          while (watching) {
            for (const host of READERS) {
              const known = (await lab.roles.status(host))!.applied.replicasUp;
              if (known.length < 3) missed.push(`${host}: ${known}`);
            }
            await pause(20);
          }
        })();
        for (let n = 0; n < 3; n++) {
          await redis.flushall();
          await pause(1.3 * HEARTBEAT_MS);
        }
        watching = false;
        await watch;
        expect(missed).toEqual([]);
        await expectConvergence(lab, redis);
      });
      redis.disconnect();
    });
  });

  it('that answers reads and refuses writes: the last view stays, and is said to stay', async () => {
    await withLab({ name: name() }, async (lab) => {
      const redis = await client({ path: lab.redis.socket });
      const refused = async (host: string): Promise<boolean> => {
        const { status, body } = await readiness(lab, host);
        return status === 503 && /going on with the last view: .*OOM/.test(body);
      };
      await withClient(lab, async () => {
        await redis.config('SET', 'maxmemory', '1');
        for (const host of [...READERS, 'r1']) expect(await waitUntil(() => refused(host), 5000)).toBe(true);
        await pause(10 * HEARTBEAT_MS);
        expect((await redis.keys('firstack:v1:replica:*')).length).toBe(0);
        for (const host of READERS)
          expect((await lab.roles.status(host))!.applied.replicasUp).toEqual(['r1', 'r2', 'r3']);
        await redis.config('SET', 'maxmemory', '0');
        await everywhere(lab, [...READERS, 'r1', 'r2'], isConnected, 3 * HEARTBEAT_MS);
        await pause(5 * HEARTBEAT_MS);
        for (const host of READERS)
          expect((await lab.roles.status(host))!.applied.replicasUp).toEqual(['r1', 'r2', 'r3']);
      });
      redis.disconnect();
    });
  });
});
