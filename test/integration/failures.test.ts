// Shows that a dead, a busy and an inactive replica are skipped; that the origin serves when all replicas are; and
// that killing a replica's role, its nginx, or both makes no new connection fail.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { type RequestResult, request, requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { freshName, nowServedBy, TWO_REPLICAS, untilServedBy, withLab } from './lab-support.js';

const REPLICAS = ['r1', 'r2', 'r3'];

async function stateAtOrigin(
  lab: Lab,
  replica: string,
): Promise<{ state: string; raced: boolean } | undefined> {
  const status = await lab.roles.status('origin');
  return (status?.candidates as { id: string; state: string; raced: boolean }[] | undefined)?.find(
    (c) => c.id === replica,
  );
}

/** Waits until the origin no longer races the replica (or races it again). */
async function untilRaced(lab: Lab, replica: string, raced: boolean): Promise<void> {
  const settled = async () => ((await stateAtOrigin(lab, replica))?.raced ?? false) === raced;
  expect(await waitUntil(settled, 15_000)).toBe(true);
}

function servers(results: RequestResult[]): string[] {
  expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
  return [...new Set(results.map((r) => r.servedBy))];
}

describe.each(CONFIGURATIONS)('configuration %s: the nearest replica', (configuration) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create({ ...TWO_REPLICAS, name: freshName(), seed: 1, configuration });
  });
  afterAll(() => lab?.down());
  // What the test before has stopped or killed.
  beforeEach(async () => {
    if (!lab.roles.isRunning('r2')) lab.startRole('r2');
    if (!lab.webServer('r2').isRunning) await lab.webServer('r2').start();
    lab.webServer('r2').resume();
    await lab.roles.waitUntilReady();
    await untilRaced(lab, 'r2', true);
    await untilServedBy(lab, 'r2');
  });

  it('is skipped when its application does not answer, although its kernel does, and comes back', async () => {
    lab.webServer('r2').pause();
    await untilRaced(lab, 'r2', false);
    const status = await lab.roles.status('r2');
    expect(status).toMatchObject({ state: 'inactive' });
    expect(String(status?.reason)).toContain('health check');
    await nowServedBy(lab, 'r1');
    lab.webServer('r2').resume();
    await untilRaced(lab, 'r2', true);
    await untilServedBy(lab, 'r2');
  });

  it.each(['its role', 'its nginx', 'both'])('killing %s makes no new connection fail', async (what) => {
    await Promise.all([
      what === 'its nginx' ? undefined : lab.killRole('r2'),
      what === 'its role' ? undefined : lab.webServer('r2').kill(),
    ]);
    // Requests at once, before any other role can know, and until all roles know.
    const results: RequestResult[] = [];
    for (let round = 0; round < 12; round++) {
      results.push(...(await requestMany(lab, 10, 10)));
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    expect(servers(results)).not.toContain('r2');
    await untilRaced(lab, 'r2', false);
    await nowServedBy(lab, 'r1');
  });
});

describe.each(CONFIGURATIONS)('configuration %s: a replica', (configuration) => {
  it('is skipped when it is busy', async () => {
    await withLab({ ...TWO_REPLICAS, configuration, roles: false }, async (lab) => {
      lab.topology.limits.r2 = { connections: 2, cpuPct: 100 };
      await lab.startRoles({ configuration });
      // Three connections that stay open.
      const idle =
        "for (let i = 0; i < 3; i++) require('net').connect(80, '203.0.113.10'); setTimeout(() => {}, 60000)";
      lab.spawnIn('client', [process.execPath, '-e', idle], { stdio: 'ignore' });
      await untilRaced(lab, 'r2', false);
      expect((await stateAtOrigin(lab, 'r2'))?.state).toBe('busy');
      await nowServedBy(lab, 'r1');
    });
  });
});

describe('with no replica left', () => {
  it('the origin serves: held for Dmax until the registry shows it, then at once', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A' }, async (lab) => {
      const { delaysMs } = lab.topology;
      const rttMs = delaysMs.gateway.origin + delaysMs.origin.gateway;
      const dmaxMs = Math.max(...REPLICAS.map((r) => delaysMs.origin[r]));
      await Promise.all(REPLICAS.map((r) => lab.killRole(r)));
      const held = await request(lab);
      expect(servers([held])).toEqual(['origin']);
      // A bound that follows from the protocol, not from speed: one second more would mean a retransmission.
      expect(held.connectMs).toBeLessThan(rttMs + dmaxMs + 500);

      for (const r of REPLICAS) await untilRaced(lab, r, false);
      const before = await lab.roles.counter('origin', 'hold.syn-for-server');
      const results = await requestMany(lab, 10, 5);
      expect(servers(results)).toEqual(['origin']);
      // No delay was added: no SYN was held.
      expect(await lab.roles.counter('origin', 'hold.syn-for-server')).toBe(before);
    });
  });

  it('inactive and busy replicas count as none', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'C', roles: false }, async (lab) => {
      await lab.startRoles({ configuration: 'C' });
      for (const r of REPLICAS) await lab.webServer(r).kill();
      for (const r of REPLICAS) await untilRaced(lab, r, false);
      expect(servers(await requestMany(lab, 20, 5))).toEqual(['origin']);
    });
  });
});
