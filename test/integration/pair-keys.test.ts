// A fleet in which each machine holds only its own keys (FAULTS T11): tags and probes are made with keys that two machines
// share, in every configuration; and all identities are rotated under load without a tag that is refused.
import { describe, expect, it } from 'vitest';
import { askJson } from '../../src/lab/admin-client.js';
import { beyond, refusedByAll, rotate } from '../../src/lab/attacks/rotation.js';
import { holdsOwnKeysOnly } from '../../src/lab/attacks/thief.js';
import type { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { nowServedBy, startLoad, TWO_REPLICAS, untilServedBy, withLab } from './lab-support.js';

const HOSTS = ['gateway', 'origin', 'r1', 'r2'];

interface Status {
  counters: Record<string, number>;
  candidates?: { id: string; raced: boolean; distanceMs: number | null }[];
  paths?: { replica: string; state: string }[];
}
const statusOf = async (lab: Lab, host: string): Promise<Status> =>
  (await askJson<Status>(lab.roles.adminSocket(host), '/v1/status'))!;

describe('a fleet that holds no key in common', () => {
  it.each([
    ['A', 'origin'],
    ['B', 'origin'],
    ['B', 'learned'],
    ['C', 'origin'],
    ['C', 'gateway'],
  ] as const)('races in configuration %s, started by the %s', async (configuration, race) => {
    const { lines } = await withLab(
      { ...TWO_REPLICAS, configuration, race, identities: 'alone' },
      async (lab) => {
        expect(HOSTS.map((host) => holdsOwnKeysOnly(lab, host))).toEqual([true, true, true, true]);
        await nowServedBy(lab, 'r2');
        const before = await refusedByAll(lab);
        expect((await requestMany(lab, 60, 4)).map((r) => r.error)).toEqual(Array(60).fill(''));
        // The origin's probes and the gateway's are answered.
        const { candidates } = await statusOf(lab, 'origin');
        const near = candidates!.filter((c) => c.id !== 'r3');
        expect(near.map((c) => [c.id, c.raced, c.distanceMs !== null])).toEqual([
          ['r1', true, true],
          ['r2', true, true],
        ]);
        const answered = async (): Promise<boolean> =>
          ((await statusOf(lab, 'gateway')).paths ?? []).filter((p) => p.state !== 'unknown').length === 2;
        expect(await waitUntil(answered, 10_000, 200)).toBe(true);
        return { lines: beyond(await refusedByAll(lab), before) };
      },
    );
    expect(lines).toEqual({});
  });

  it('gets new keys machine by machine: no connection fails, and no tag is refused', async () => {
    await withLab(
      { ...TWO_REPLICAS, configuration: 'C', race: 'origin', identities: 'alone' },
      async (lab) => {
        const load = startLoad(lab);
        const lost: string[] = [];
        const before = await refusedByAll(lab);
        try {
          for (const host of HOSTS) {
            lost.push(...Object.keys(beyond(await rotate(lab, host), before)));
            await untilServedBy(lab, 'r2');
          }
        } finally {
          await load.end();
        }
        lost.push(...Object.keys(await refusedByAll(lab)));
        expect(load.count).toBeGreaterThan(100);
        expect({ failed: load.failed, lost }).toEqual({ failed: [], lost: [] });
      },
    );
  });
});
