// Shows that in configurations A, B and C all of 300 requests are answered and served by the machine with the least
// d(·,C), by the web servers' own logs; for three topologies, with the roles coordinated through Redis, and through a
// file for one of them.
import { describe, expect, it } from 'vitest';
import { calibrate } from '../../src/lab/calibrate.js';
import type { Lab } from '../../src/lab/lab.js';
import { measure } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { measureQuietly, withLab } from './lab-support.js';

const REQUESTS = 300;
const CASES = [
  ['replica-nearest', 'redis', 'r2'],
  ['origin-nearest', 'redis', 'origin'],
  ['asymmetric', 'redis', 'r3'],
  ['asymmetric', 'file', 'r3'],
] as const;

async function requestsAllServedBy(lab: Lab, winner: string): Promise<void> {
  const m = await measureQuietly(lab, { requests: REQUESTS, concurrency: 12, release: 'synchronized' });
  expect(m.complaints).toEqual([]);
  expect(m.expected).toBe(winner);
  expect(m.ok).toBe(REQUESTS);
  expect(m.servedBy).toEqual({ [winner]: REQUESTS });
  // Each race has three losers, and all of them are reset.
  expect(m.losersReset).toBeGreaterThanOrEqual(REQUESTS * 3);
}

describe.each(CASES)('topology %s, %s registry', (topology, registry, winner) => {
  it('A, B and C', async () => {
    await withLab({ topology, roles: false }, async (lab) => {
      const { calibrated } = await calibrate(lab.name, lab.topology);
      expect(calibrated).toBe(true);
      for (const configuration of CONFIGURATIONS) {
        await lab.startRoles({ configuration, registry });
        await requestsAllServedBy(lab, winner);
        await lab.stopRoles();
      }
    });
  });
});

describe('the published race', () => {
  it('with immediate release a machine wins that is not the nearest', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A', release: 'immediate' }, async (lab) => {
      const m = await measure(lab, { requests: 20, concurrency: 4, release: 'immediate' });
      expect(m.complaints).toEqual([]);
      expect(m.servedBy).toEqual({ origin: 20 });
    });
  });
});
