// How often the sweeper goes through all keys. Its Redis is a list of keys: what a scan costs is what is counted here.
import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { replicaKind } from '../../../src/race/records.js';
import { keyOf } from '../../../src/registry/keys.js';
import { Sweep } from '../../../src/registry/sweep.js';

/** With so many replicas; counts the scans. */
function redisOf(count: number): { redis: Redis; scans: () => number } {
  const ids = Array.from({ length: count }, (_, n) => `m${n}`);
  let scans = 0;
  const pipeline = (): unknown => {
    const replies: unknown[] = [];
    const of = (reply: unknown) => (): number => replies.push(reply);
    const exec = async (): Promise<unknown> => replies.map((reply) => [null, reply]);
    return {
      scard: of(count),
      smembers: of(ids),
      sadd: of(0),
      srem: of(0),
      xadd: of('1-0'),
      exec,
      length: 0,
    };
  };
  const scan = async (): Promise<[string, string[]]> => {
    scans++;
    return ['0', ids.map((id) => keyOf(replicaKind.name, id))];
  };
  const fake = { pexpire: async () => 1, set: async () => 'epoch', pipeline, scan };
  return { redis: fake as unknown as Redis, scans: () => scans };
}

it.each([
  [100, 12],
  [5_000, 12],
  [10_000, 6],
  [12_000, 4],
  [100_000, 3],
])('%i records are gone through %i times in twelve heartbeats', async (count, times) => {
  const { redis, scans } = redisOf(count);
  const sweep = new Sweep(redis, [replicaKind]);
  for (let beat = 0; beat < 12; beat++) await sweep.round(() => false);
  expect(scans()).toBe(times);
});
