// Streams and indexes of the registry that an account with the right to write them has spoilt: records are found by
// their keys, and roles start. A real redis-server, and the registry of roles in this process.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '../../src/lab/process.js';
import type { Logger } from '../../src/log.js';
import { gatewayKind, type ReplicaRecord, replicaKind } from '../../src/race/records.js';
import type { RecordKind } from '../../src/registry/kinds.js';
import { RedisRegistry } from '../../src/registry/redis.js';
import { serviceKind } from '../../src/registry/service.js';

const directory = mkdtempSync(join(tmpdir(), 'fs-hints-'));
const socket = `${directory}/redis.sock`;
const server = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', ''], {
  stdio: 'ignore',
});
const said: string[] = [];
const say = (...words: unknown[]): void => void said.push(JSON.stringify(words));
const log = { info: () => {}, warn: say, error: say } as unknown as Logger;
const kinds = [replicaKind, gatewayKind, serviceKind] as unknown as RecordKind[];

let redis: Redis;
const open: RedisRegistry[] = [];
async function registry(): Promise<RedisRegistry> {
  const r = new RedisRegistry(`redis+unix://${socket}`, log, kinds);
  await r.start();
  open.push(r);
  return r;
}
const record = (n: number): ReplicaRecord =>
  ({
    ...{ v: 1, id: `r${n}`, address: `198.18.1.${n}`, services: [{ name: 'web' }], state: 'up', reason: '' },
    ...{ connections: 0, load: 0, clock: 'free' },
  }) as ReplicaRecord;
const idsIn = (r: RedisRegistry): string =>
  r.view
    .of(replicaKind)
    .map((x) => x.id)
    .join();

beforeAll(async () => {
  redis = new Redis({ path: socket, retryStrategy: () => 50, lazyConnect: true });
  redis.on('error', () => {});
  expect(await waitUntil(async () => (await redis.ping().catch(() => '')) === 'PONG', 5000)).toBe(true);
});
afterAll(() => {
  redis.disconnect();
  server.kill();
  rmSync(directory, { recursive: true });
});
beforeEach(() => {
  said.length = 0;
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((r) => r.stop()));
  await redis.flushall();
});

const CHANGES = 'firstack:v1:changes:replica';
const INDEX = 'firstack:v1:index:replica';
const SPOILT: Record<string, () => Promise<unknown>> = {
  'a stream that is text': () => redis.set(CHANGES, 'x'),
  'a stream whose ids are used up': async () => {
    await redis.del(CHANGES);
    await redis.xadd(CHANGES, '18446744073709551615-18446744073709551615', 'id', 'x');
  },
  'an index that is text': () => redis.set(INDEX, 'x'),
  'an index of 60,000 ids': () => redis.sadd(INDEX, ...Array.from({ length: 60_000 }, (_, k) => `x${k}`)),
  'a stream and an index that are text': () => redis.mset(CHANGES, 'x', INDEX, 'x'),
};

describe.each(Object.entries(SPOILT))('%s', (_, spoil) => {
  it('hides no record from roles that run or start, and is said once', async () => {
    const [reader, writer] = [await registry(), await registry()];
    writer.publish(replicaKind, record(1));
    expect(await waitUntil(() => idsIn(reader) === 'r1', 3000)).toBe(true);
    await spoil();
    writer.publish(replicaKind, record(2));
    expect(await waitUntil(() => idsIn(reader) === 'r1,r2', 5000), idsIn(reader)).toBe(true);
    expect(reader.connected).toBe(true);

    const late = await registry();
    expect(idsIn(late)).toBe('r1,r2');
    writer.publish(replicaKind, { ...record(2), state: 'draining' });
    const isDraining = (r: RedisRegistry) => r.view.of(replicaKind)[1]?.state === 'draining';
    expect(await waitUntil(() => isDraining(late) && isDraining(reader), 5000)).toBe(true);

    // A role that dies is forgotten, and one that leaves too.
    await writer.stop();
    expect(await waitUntil(() => idsIn(reader) === '' && idsIn(late) === '', 10_000), idsIn(reader)).toBe(
      true,
    );
    expect([reader.problem, late.problem]).toEqual([undefined, undefined]);
    const lists = said.filter((s) => s.includes('cannot be used'));
    expect(lists.length).toBeGreaterThan(0);
    // Three registries, two lists.
    expect(lists.length).toBeLessThanOrEqual(6);
  });

  it('is used again once it is mended', async () => {
    const [reader, writer] = [await registry(), await registry()];
    await spoil();
    writer.publish(replicaKind, record(1));
    expect(await waitUntil(() => idsIn(reader) === 'r1', 5000)).toBe(true);
    await redis.del(CHANGES, INDEX);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    writer.publish(replicaKind, record(3));
    expect(await waitUntil(() => idsIn(reader) === 'r1,r3', 3000, 20)).toBe(true);
  });
});
