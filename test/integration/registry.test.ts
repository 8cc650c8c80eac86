// Shows registration, expiry by heartbeat, late start, and restart and loss of Redis while the roles run: the service
// continues, and the fault is reported.
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { unpack } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { ask } from '../../src/lab/admin-client.js';
import type { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { type RequestResult, request, requestMany } from '../../src/lab/requests.js';
import { expectRaced, withLab } from './lab-support.js';

const PREFIX = 'firstack:v1:';
// Besides records there are the streams of changes, an index for each kind, the epoch and the lease.
const isRecord = (key: string) => /^firstack:v1:(service|replica|gateway|origin|proximity):/.test(key);

async function withRedis<T>(lab: Lab, body: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ path: lab.redis.url.replace('redis+unix://', ''), lazyConnect: true });
  redis.on('error', () => {});
  await redis.connect();
  try {
    return await body(redis);
  } finally {
    redis.disconnect();
  }
}

const keys = (lab: Lab) =>
  withRedis(lab, async (redis) =>
    (await redis.keys(`${PREFIX}*`)).filter(isRecord).map((k) => k.slice(PREFIX.length)),
  );

function allOk(results: RequestResult[], servedBy: string): void {
  expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
  expect(new Set(results.map((r) => r.servedBy))).toEqual(new Set([servedBy]));
}

const isReady = async (lab: Lab, host: string) =>
  (await ask(lab.roles.adminSocket(host), '/readyz'))?.status === 200;

const servedBy = (lab: Lab, name: string) => async () => (await request(lab)).servedBy === name;

describe('Redis', () => {
  it('holds one record per role, which expires after three heartbeats', async () => {
    await withLab({ configuration: 'A' }, async (lab) => {
      const instance = lab.roles.instanceOf('origin');
      expect((await keys(lab)).sort()).toEqual(
        ['gateway:1', `origin:${instance}`, 'replica:r1', 'replica:r2', 'replica:r3', 'service:web'].sort(),
      );
      await withRedis(lab, async (redis) => {
        const replica = unpack((await redis.getBuffer(`${PREFIX}replica:r2`)) as Buffer);
        expect(replica).toMatchObject({ v: 1, id: 'r2', address: '198.18.12.2', state: 'up' });
        const service = unpack((await redis.getBuffer(`${PREFIX}service:web`)) as Buffer);
        expect(service).toMatchObject({ v: 1, name: 'web', configuration: 'A', ports: [80] });
        // A change that can wait is announced with the next heartbeat, and the first measurement is inaccurate.
        const delays = Object.entries({ r1: 55, r2: 70, r3: 40 });
        const measured = async () => {
          const origin = unpack((await redis.getBuffer(`${PREFIX}origin:${instance}`)) as Buffer);
          return delays.every(([id, asked]) => Math.abs(origin.distancesMs[id] - asked) < 5);
        };
        expect(await waitUntil(measured, 5000)).toBe(true);
        for (const key of ['gateway:1', 'replica:r2', `origin:${instance}`]) {
          const ttl = await redis.pttl(PREFIX + key);
          expect(ttl).toBeGreaterThan(0);
          expect(ttl).toBeLessThanOrEqual(3000);
        }
        // The registry contains no secret.
        const secret = /secret: (\w+)/.exec(
          readFileSync(`${lab.directory}/master.key`, 'utf8'),
        )?.[1] as string;
        for (const key of await redis.keys(`${PREFIX}*`)) {
          if (isRecord(key)) expect((await redis.getBuffer(key))?.includes(secret)).toBe(false);
        }
      });
    });
  });

  it('forgets a replica that was killed, and learns of one that starts late', async () => {
    await withLab({ configuration: 'B' }, async (lab) => {
      allOk(await requestMany(lab, 5, 5), 'r2');
      await lab.killRole('r2');
      expect(await waitUntil(async () => !(await keys(lab)).includes('replica:r2'), 8000)).toBe(true);
      allOk(await requestMany(lab, 5, 5), 'r1');
      lab.startRole('r2');
      expect(await waitUntil(async () => (await keys(lab)).includes('replica:r2'), 8000)).toBe(true);
      expect(await waitUntil(servedBy(lab, 'r2'), 8000)).toBe(true);
      allOk(await requestMany(lab, 5, 5), 'r2');
      // A replica that is stopped withdraws its record at once.
      await lab.stopRole('r2');
      expect(await keys(lab)).not.toContain('replica:r2');
    });
  });

  it('lost while roles run, and back empty: the service continues, and the loss is reported', async () => {
    await withLab({ configuration: 'C' }, async (lab) => {
      let going = true;
      const results: RequestResult[] = [];
      const load = (async () => {
        while (going) results.push(...(await requestMany(lab, 5, 5)));
      })();
      await lab.redis.kill();
      for (const host of lab.roles.hosts) {
        expect(await waitUntil(async () => !(await isReady(lab, host)), 5000)).toBe(true);
        const answer = await ask(lab.roles.adminSocket(host), '/readyz');
        expect(answer?.status).toBe(503);
        expect(answer?.body).toContain('registry lost');
        expect(readFileSync(lab.roles.logFile(host), 'utf8')).toContain(
          'registry lost: going on with the last view',
        );
      }
      // Longer than the time to live of every record.
      await new Promise((resolve) => setTimeout(resolve, 5000));
      allOk(await requestMany(lab, 10, 5), 'r2');

      await lab.redis.start();
      for (const host of lab.roles.hosts) {
        expect(await waitUntil(() => isReady(lab, host), 8000)).toBe(true);
        expect(readFileSync(lab.roles.logFile(host), 'utf8')).toContain('registry is back');
      }
      expect(await waitUntil(async () => (await keys(lab)).length === 6, 8000)).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 4000));
      going = false;
      await load;
      // In all that time no request failed, or was served by another machine.
      expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
      expectRaced(results, 'r2');
      expect(results.length).toBeGreaterThan(50);
    });
  });

  it('emptied while roles run: no request is affected', async () => {
    await withLab({ configuration: 'A' }, async (lab) => {
      await withRedis(lab, (redis) => redis.flushall());
      const results = await requestMany(lab, 60, 5);
      expect(results.filter((r) => !r.ok)).toEqual([]);
      expect(await waitUntil(async () => (await keys(lab)).length === 6, 8000)).toBe(true);
      expect(await waitUntil(servedBy(lab, 'r2'), 5000)).toBe(true);
    });
  });

  it('a record that does not match its schema is left out, and logged', async () => {
    await withLab({ configuration: 'A' }, async (lab) => {
      await withRedis(lab, async (redis) => {
        await redis.set(`${PREFIX}replica:evil`, Buffer.from([0xc1]));
        await redis.set(`${PREFIX}replica:odd`, JSON.stringify({ id: 'odd', address: 'not an address' }));
      });
      const said = () => readFileSync(lab.roles.logFile('gateway'), 'utf8');
      expect(await waitUntil(() => said().includes('left out'), 5000)).toBe(true);
      allOk(await requestMany(lab, 5, 5), 'r2');
      const status = (await lab.roles.status('gateway')) as unknown as { replicas: { id: string }[] };
      expect(status.replicas.map((r) => r.id)).toEqual(['r1', 'r2', 'r3']);
    });
  });
});
