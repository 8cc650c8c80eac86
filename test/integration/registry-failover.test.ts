// A Redis with Sentinels that dies, and hosts whose clocks are minutes off.
import { describe, expect, it } from 'vitest';
import { pause, waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { EPOCH_SECONDS } from '../../src/wire/tag.js';
import { freshName, withLab } from './lab-support.js';
import {
  client,
  everywhere,
  expectConvergence,
  isConnected,
  killNow,
  logOf,
  READERS,
  readiness,
  startRemoteRedis,
  TWO_HEARTBEATS_MS,
  WAN_ADDRESS,
  withClient,
} from './registry-support.js';

const name = () => `reg-${freshName()}`;
const [FIRST, SECOND, SENTINEL] = [6391, 6392, 26391];
const DOWN_AFTER_MS = 1000;

describe('Sentinel', () => {
  it('fails over: no connection fails, and the new master carries the fleet', async () => {
    await withLab({ name: name(), roles: false }, async (lab) => {
      const master = await startRemoteRedis(lab, 'first', [
        `port ${FIRST}`,
        `replica-announce-ip ${WAN_ADDRESS}`,
      ]);
      const replica = await startRemoteRedis(lab, 'second', [
        ...[`port ${SECOND}`, `replicaof ${WAN_ADDRESS} ${FIRST}`, `replica-announce-ip ${WAN_ADDRESS}`],
        'repl-diskless-sync-delay 0',
      ]);
      for (const n of [0, 1, 2])
        await startRemoteRedis(lab, `sentinel${n}`, [
          ...[`port ${SENTINEL + n}`, `sentinel announce-ip ${WAN_ADDRESS}`],
          `sentinel monitor registry ${WAN_ADDRESS} ${FIRST} 2`,
          `sentinel down-after-milliseconds registry ${DOWN_AFTER_MS}`,
          'sentinel failover-timeout registry 6000',
        ]);
      const second = await client({ path: replica.socket });
      const sentinels = [0, 1, 2].map((n) => `${WAN_ADDRESS}:${SENTINEL + n}`).join(',');
      const url = `redis+sentinel://${sentinels}/registry`;
      await lab.startRoles({ registryUrls: Object.fromEntries(lab.roles.hosts.map((h) => [h, url])) });
      // Waits until the Sentinels know the replica and each other, before the failure.
      expect(
        await waitUntil(async () => /master_link_status:up/.test(await second.info('replication')), 10_000),
      ).toBe(true);
      await pause(3000);
      await withClient(lab, async () => {
        await killNow(master.id);
        expect(
          await waitUntil(async () => /role:master/.test(await second.info('replication')), 20_000),
        ).toBe(true);
        // The longest pause between two attempts; in each attempt a Sentinel may still name the old master.
        await everywhere(lab, lab.roles.hosts, isConnected, 2 * 1250 + TWO_HEARTBEATS_MS);
        for (const host of READERS)
          expect((await lab.roles.status(host))!.applied.replicasUp).toEqual(['r1', 'r2', 'r3']);
        await expectConvergence(lab, second);
      });
      second.disconnect();
    });
  });
});

describe('a clock that is minutes off', () => {
  const offsetMs = 5 * EPOCH_SECONDS * 1000;
  const nearest = 'r2';

  it('of the gateway: tags are refused and the origin serves; races without tags go on; it is reported', async () => {
    await withLab({ name: name(), race: 'origin', clockOffsetsMs: { gateway: offsetMs } }, async (lab) => {
      const redis = await client({ path: lab.redis.socket });
      const results = await requestMany(lab, 20, 2);
      expect(results.map((r) => [r.error, r.servedBy])).toEqual(results.map(() => ['', 'origin']));
      expect(await lab.roles.counter('origin', 'tag.stale')).toBeGreaterThan(0);
      // Records expire by Redis's clock.
      await withClient(lab, () => expectConvergence(lab, redis));

      const { clockOffsetMs } = (await lab.roles.status('gateway'))!.registry;
      expect(Math.abs(clockOffsetMs! - offsetMs)).toBeLessThan(1000);
      expect(Math.abs((await lab.roles.status('origin'))!.registry.clockOffsetMs!)).toBeLessThan(1000);
      const ready = await readiness(lab, 'gateway');
      expect(ready).toMatchObject({ status: 200, body: expect.stringContaining('clock is 320 s ahead of') });
      expect((await readiness(lab, 'origin')).body).not.toContain('clock');
      expect(logOf(lab, 'gateway')).toContain('clock is 320 s ahead of');
      redis.disconnect();

      for (const race of ['gateway', 'learned'] as const) {
        await lab.stopRoles();
        await lab.startRoles({ race, clockOffsetsMs: { gateway: -offsetMs } });
        const raced = await requestMany(lab, 10, 2);
        expect(
          raced.map((r) => [r.error, r.servedBy]),
          race,
        ).toEqual(raced.map(() => ['', nearest]));
        expect(logOf(lab, 'gateway')).toContain('clock is 320 s behind');
      }
      // In configuration C a gateway's own race is tagged: the replicas refuse the tags, and the origin serves.
      await lab.stopRoles();
      await lab.startRoles({ configuration: 'C', race: 'gateway', clockOffsetsMs: { gateway: offsetMs } });
      const tagged = await requestMany(lab, 10, 2);
      expect(tagged.map((r) => [r.error, r.servedBy])).toEqual(tagged.map(() => ['', 'origin']));
    });
  });

  it('of a replica: only this replica refuses, and the next nearest serves', async () => {
    const clockOffsetsMs = { [nearest]: -offsetMs };
    await withLab({ name: name(), race: 'origin', clockOffsetsMs }, async (lab) => {
      const results = await requestMany(lab, 10, 2);
      expect(results.map((r) => [r.error, r.servedBy])).toEqual(results.map(() => ['', 'r1']));
      expect((await readiness(lab, nearest)).body).toContain('clock is 320 s behind');
    });
  });
});
