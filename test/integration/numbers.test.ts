/**
 * Numbers that do not run out, through real kernels: more endpoints than 16 bits can number, records of unknown
 * machines, and machines that come and go. Connections still work, and what is left out is reported once in log,
 * status and metrics.
 */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { pack } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { run, waitUntil } from '../../src/lab/process.js';
import { request } from '../../src/lab/requests.js';
import { loadTopology, type Topology } from '../../src/lab/topology.js';
import { withLab } from './lab-support.js';

/** No machine has these addresses: the laboratory's WAN has no route to them. */
const stranger = (n: number) => ({
  ...{ v: 1, id: `a-stranger-${n}`, address: `198.19.${n >> 8}.${n & 255}`, services: [{ name: 'web' }] },
  ...{ state: 'up', reason: '', connections: 0, load: 0, clock: 'free' },
});
const MINUTE_MS = 60_000;

async function write(redis: Redis, from: number, to: number, ttlMs: number): Promise<void> {
  for (let at = from; at < to; at += 1000) {
    const batch = redis.pipeline();
    for (let n = at; n < Math.min(to, at + 1000); n++) {
      const record = stranger(n);
      batch.set(`firstack:v1:replica:${record.id}`, pack(record), 'PX', ttlMs);
    }
    await batch.exec();
  }
}
async function remove(redis: Redis, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += 1000)
    await redis.del(
      ...Array.from(
        { length: Math.min(to - at, 1000) },
        (_, k) => `firstack:v1:replica:${stranger(at + k).id}`,
      ),
    );
}

interface GatewayStatus {
  leftOut: { replicas: number; machines: number };
  replicas: { id: string; leftOut?: string }[];
}
const statusOf = async (lab: Lab): Promise<GatewayStatus> =>
  (await lab.roles.status('gateway')) as unknown as GatewayStatus;
const metric = async (lab: Lab, name: string): Promise<number> => {
  const { stdout } = await run([
    'curl',
    '-s',
    '--unix-socket',
    lab.roles.adminSocket('gateway'),
    'http://x/metrics',
  ]);
  return Number(
    new RegExp(`^${name.replace(/[{}"]/g, '\\$&')} (\\d+)$`, 'm').exec(stdout)?.[1] ?? Number.NaN,
  );
};
const said = (lab: Lab, text: string): number =>
  readFileSync(lab.roles.logFile('gateway'), 'utf8')
    .split('\n')
    .filter((line) => line.includes(text)).length;
async function connects(lab: Lab, count: number): Promise<void> {
  for (let n = 0; n < count; n++) expect(await request(lab)).toMatchObject({ ok: true, error: '' });
}

const topology: Topology = structuredClone(loadTopology());
topology.services[0].ports = [80, 81, 82, 83];
/** Each port of the service is at the same port of a replica, because (address, port) belongs to one service. */
const changes = Object.fromEntries(topology.replicas.map((id) => [id, { services: [{ name: 'web' }] }]));

describe('a gateway with many unknown machines', () => {
  it('connects past 40,001 endpoints, 33,000 records, and 500 machines that come and go', async () => {
    await withLab({ configuration: 'A', race: 'learned', topology, changes }, async (lab) => {
      const redis = new Redis(lab.redis.url.replace('redis+unix://', ''));
      const endpoints = (): Promise<number> => metric(lab, 'firstack_endpoints{program="race"}');
      try {
        await connects(lab, 5);
        const before = await endpoints();
        await write(redis, 0, 10_001, 5 * MINUTE_MS);
        await waitUntil(async () => (await endpoints()) > 40_001, MINUTE_MS);
        expect(await endpoints()).toBeGreaterThan(40_001);
        await connects(lab, 20);

        await write(redis, 10_001, 33_000, 5 * MINUTE_MS);
        // With so many records to read, the control plane may answer later than the client waits.
        await waitUntil(async () => ((await statusOf(lab))?.leftOut.machines ?? 0) > 0, MINUTE_MS);
        await connects(lab, 20);
        let status = await statusOf(lab);
        await waitUntil(async () => (status = await statusOf(lab)) !== undefined, MINUTE_MS);
        expect(status.leftOut.replicas).toBeGreaterThan(10_000);
        // Machines that were known before keep their places.
        for (const id of ['r1', 'r2', 'r3'])
          expect(status.replicas.find((r) => r.id === id)).not.toHaveProperty('leftOut');
        expect(status.replicas.some((r) => r.leftOut !== undefined)).toBe(true);
        expect(await metric(lab, 'firstack_left_out{program="race",what="replicas"}')).toBeGreaterThan(
          10_000,
        );
        expect(await metric(lab, 'firstack_left_out{program="race",what="machines"}')).toBeGreaterThan(0);
        expect(said(lab, 'more replicas are up than the races of one service can name')).toBe(1);
        expect(said(lab, 'more endpoints than a gateway can know')).toBe(1);

        await remove(redis, 0, 33_000);
        await waitUntil(async () => (await endpoints()) === before, MINUTE_MS);
        expect(await endpoints()).toBe(before);
        expect((await statusOf(lab)).leftOut).toEqual({ replicas: 0, machines: 0, services: 0, keyless: 0 });
        await connects(lab, 5);

        // Containers get a new id at each start.
        for (let n = 0; n < 500; n += 50) {
          await write(redis, n, n + 50, 1000);
          await connects(lab, 2);
        }
        await waitUntil(async () => (await endpoints()) === before, MINUTE_MS);
        expect(await endpoints()).toBe(before);
        // The nearest machine is found again, even if one of its answers was late meanwhile.
        expect(await waitUntil(async () => (await request(lab)).servedBy === 'r2', MINUTE_MS)).toBe(true);
      } finally {
        redis.disconnect();
      }
    });
  }, 240_000);
});
