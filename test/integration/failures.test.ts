// Must show 5: a dead, a busy and an inactive replica are skipped; with all of them so, the origin serves;
// killing a replica's role, its nginx, or both, costs no failed new connection.
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { type RequestResult, request, requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';

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

/** Waits until the origin races the replica no more (or again). */
async function untilRaced(lab: Lab, replica: string, raced: boolean): Promise<void> {
  const settled = async () => ((await stateAtOrigin(lab, replica))?.raced ?? false) === raced;
  expect(await waitUntil(settled, 15_000)).toBe(true);
}

function servers(results: RequestResult[]): string[] {
  expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
  return [...new Set(results.map((r) => r.servedBy))];
}

describe.each(CONFIGURATIONS)('configuration %s: the nearest replica', (configuration) => {
  it('is skipped when its application does not answer, whatever its kernel says, and comes back', async () => {
    await withLab({ topology: 'replica-nearest', configuration }, async (lab) => {
      expect(servers([await request(lab)])).toEqual(['r2']);
      lab.webServer('r2').pause();
      await untilRaced(lab, 'r2', false);
      const status = await lab.roles.status('r2');
      expect(status).toMatchObject({ state: 'inactive' });
      expect(String(status?.reason)).toContain('health check');
      expect(servers(await requestMany(lab, 10, 5))).toEqual(['r1']);
      lab.webServer('r2').resume();
      await untilRaced(lab, 'r2', true);
      expect(servers(await requestMany(lab, 10, 5))).toEqual(['r2']);
    });
  });

  it('is skipped when it is busy', async () => {
    await withLab({ topology: 'replica-nearest', configuration, roles: false }, async (lab) => {
      lab.topology.limits.r2 = { connections: 2, cpuPct: 100 };
      await lab.startRoles({ configuration });
      // Three connections that stay.
      const idle =
        "for (let i = 0; i < 3; i++) require('net').connect(80, '203.0.113.10'); setTimeout(() => {}, 60000)";
      lab.spawnIn('client', [process.execPath, '-e', idle], { stdio: 'ignore' });
      await untilRaced(lab, 'r2', false);
      expect((await stateAtOrigin(lab, 'r2'))?.state).toBe('busy');
      expect(servers(await requestMany(lab, 10, 5))).toEqual(['r1']);
    });
  });

  it.each(['its role', 'its nginx', 'both'])('killing %s costs no failed new connection', async (what) => {
    await withLab({ topology: 'replica-nearest', configuration }, async (lab) => {
      expect(servers(await requestMany(lab, 5, 5))).toEqual(['r2']);
      await Promise.all([
        what === 'its nginx' ? undefined : lab.killRole('r2'),
        what === 'its role' ? undefined : lab.webServer('r2').kill(),
      ]);
      // At once, before anybody can know, and on until everybody does.
      const results: RequestResult[] = [];
      for (let round = 0; round < 12; round++) {
        results.push(...(await requestMany(lab, 10, 10)));
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
      expect(servers(results)).not.toContain('r2');
      await untilRaced(lab, 'r2', false);
      expect(servers(await requestMany(lab, 10, 5))).toEqual(['r1']);
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
      // A bound of the protocol, not of speed: one more second would be a retransmission.
      expect(held.connectMs).toBeLessThan(rttMs + dmaxMs + 500);

      for (const r of REPLICAS) await untilRaced(lab, r, false);
      const before = await lab.roles.counter('origin', 'hold.syn-for-server');
      const results = await requestMany(lab, 10, 5);
      expect(servers(results)).toEqual(['origin']);
      // No waiting added: not one SYN was held.
      expect(await lab.roles.counter('origin', 'hold.syn-for-server')).toBe(before);
    });
  });

  it('inactive and busy ones count as none', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'C', roles: false }, async (lab) => {
      await lab.startRoles({ configuration: 'C' });
      for (const r of REPLICAS) await lab.webServer(r).kill();
      for (const r of REPLICAS) await untilRaced(lab, r, false);
      expect(servers(await requestMany(lab, 20, 5))).toEqual(['origin']);
    });
  });
});
