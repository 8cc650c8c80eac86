// Shows for the gateway's own races: in configurations A, B and C the least round trip wins; in A the replicas need
// no software, and the gateway may masquerade; learned times that are no longer right make no connection fail. And
// that a race can be explained, and that distances are measured as documented.
import { describe, expect, it } from 'vitest';
import type { RoleStatus } from '../../src/lab/admin-client.js';
import type { Lab } from '../../src/lab/lab.js';
import { CLIENT_ADDRESS, wanAddress } from '../../src/lab/network.js';
import { cliScript } from '../../src/lab/paths.js';
import { type Output, run, waitUntil } from '../../src/lab/process.js';
import { type RequestResult, request, requestMany } from '../../src/lab/requests.js';
import type { RoleOptions } from '../../src/lab/roles.js';
import { loadTopology, type Topology } from '../../src/lab/topology.js';
import type { Explanation } from '../../src/race/explain.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { measureQuietly, nowServedBy, untilServedBy, withLab } from './lab-support.js';

const REQUESTS = 40;
const OWN = ['gateway', 'learned'] as const;

async function allServedBy(lab: Lab, race: RoleOptions['race'], winner: string): Promise<void> {
  const m = await measureQuietly(lab, { requests: REQUESTS, concurrency: 4, release: 'synchronized', race });
  const others = (await lab.roles.races(REQUESTS)).filter((r) => r.winner !== winner);
  expect(m.complaints, JSON.stringify(others)).toEqual([]);
  expect(m.expected).toBe(winner);
  expect(m.servedBy).toEqual({ [winner]: REQUESTS });
}

function servers(results: RequestResult[]): string[] {
  expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
  return [...new Set(results.map((r) => r.servedBy))];
}

/** By round trip r1 is nearest; by the delay back, which an origin race measures, r3 would be. */
function asymmetric(): Topology {
  const topology = loadTopology('asymmetric');
  // A round trip of 80 ms against 52, because in configurations B and C packets also pass the roles' processes, on
  // two cores.
  topology.delaysMs.gateway.r3 = 70;
  return topology;
}

describe.each([
  ['replica-nearest', loadTopology('replica-nearest'), 'r2'],
  ['asymmetric', asymmetric(), 'r1'],
] as const)('topology %s', (_, topology, winner) => {
  it.each(CONFIGURATIONS)(
    'the least round trip wins the races of a gateway in configuration %s',
    async (configuration) => {
      await withLab({ topology, roles: false }, async (lab) => {
        for (const race of OWN) {
          await lab.startRoles({ configuration, race });
          await allServedBy(lab, race, winner);
          await lab.stopRoles();
        }
      });
    },
  );
});

describe('configuration A', () => {
  it.each(OWN)('race %s needs no software on the replicas', async (race) => {
    await withLab({ topology: 'replica-nearest', roles: false }, async (lab) => {
      await lab.startRoles({ configuration: 'A', race, registry: 'file' });
      await Promise.all(lab.topology.replicas.map((r) => lab.stopRole(r)));
      await allServedBy(lab, race, 'r2');
    });
  });

  it.each(OWN)('race %s works where the gateway masquerades', async (race) => {
    await withLab({ topology: 'replica-nearest', roles: false }, async (lab) => {
      await nft(lab, masquerading());
      await lab.startRoles({ configuration: 'A', race });
      await allServedBy(lab, race, 'r2');
      const clients = lab
        .webServer('r2')
        .accessLog()
        .map((l) => l.client.split(':')[0]);
      expect(new Set(clients)).toEqual(new Set([wanAddress('gateway')]));
    });
  });
});

const masquerading = (match = '') =>
  `table ip nat { chain post { type nat hook postrouting priority 100; oifname "wan0" ${match} masquerade; }; }`;

async function nft(lab: Lab, text: string): Promise<void> {
  expect(await lab.exec('gateway', ['nft', '-f', '-'], { input: text })).toMatchObject({ status: 0 });
}

describe('masquerading', () => {
  it('is refused where replicas answer the client directly, but not for other prefixes', async () => {
    await withLab({ topology: 'replica-nearest', roles: false }, async (lab) => {
      const check = async (configuration: RoleOptions['configuration'], race: RoleOptions['race']) => {
        lab.roles.prepare({
          configuration,
          race,
          release: 'synchronized',
          registry: 'file',
          fastpath: 'auto',
          log: 'info',
        });
        return lab.exec('gateway', [...lab.roles.argv('gateway'), '--check']);
      };
      const all = [
        ...CONFIGURATIONS.map((c) => [c, 'origin'] as const),
        ['B', 'gateway'],
        ['C', 'learned'],
      ] as const;
      await nft(lab, masquerading('ip saddr 172.17.0.0/16'));
      for (const [c, race] of all) expect((await check(c, race)).status, `${c} ${race}`).toBe(0);
      await nft(lab, masquerading('ip saddr 192.0.2.0/24'));
      for (const [c, race] of all) {
        const o = await check(c, race);
        expect(o.status, `${c} ${race}`).toBe(69);
        expect(o.stderr).toContain('FSA_MASQUERADE');
      }
      expect((await check('A', 'gateway')).status).toBe(0);
    });
  });
});

describe.each(CONFIGURATIONS)('configuration %s: the learned winner', (configuration) => {
  const learned = { topology: 'replica-nearest', configuration, race: 'learned' } as const;

  it('makes no connection fail when the paths to it are cut', async () => {
    await withLab(learned, async (lab) => {
      await untilServedBy(lab, 'r2');
      await lab.wan.setPaths({ 'gateway>r2': { lossPct: 100 }, 'r2>gateway': { lossPct: 100 } });
      const results = await requestMany(lab, 20, 4);
      expect(servers(results)).toEqual(['r1']);
      // The hedge fires before the client retransmits its SYN: a bound of the protocol.
      expect(await lab.roles.counter('gateway', 'fired.hedge')).toBeGreaterThan(0);
      for (const r of results) expect(r.connectMs).toBeLessThan(1000);
    });
  });

  it('makes no connection fail when its server is killed', async () => {
    await withLab(learned, async (lab) => {
      await untilServedBy(lab, 'r2');
      await lab.webServer('r2').kill();
      await nowServedBy(lab, 'r1');
    });
  });
});

const cli = (...argv: string[]): Promise<Output> => run([process.execPath, cliScript, ...argv]);
const admin = (lab: Lab, host = 'gateway') => `unix:${lab.roles.adminSocket(host)}`;

async function explained(lab: Lab, which: string, ...more: string[]): Promise<Explanation> {
  const o = await cli('explain', which, '--admin', admin(lab), '--json', ...more);
  expect(o).toMatchObject({ status: 0, stderr: '' });
  return JSON.parse(o.stdout);
}

/** The verdict on every candidate; all candidates have answered by then. */
async function settled(lab: Lab, which: string, answers: number): Promise<Explanation> {
  const done = async () =>
    (await explained(lab, which)).race.candidates.filter((c) => c.replyUs !== null).length === answers;
  const all = await waitUntil(done, 5000);
  const e = await explained(lab, which);
  expect(all, JSON.stringify(e)).toBe(true);
  return e;
}

const verdicts = (e: Explanation) => Object.fromEntries(e.race.candidates.map((c) => [c.id, c.verdict]));

describe('the explanation of a race', () => {
  it("an origin race, with the origin's own record", async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A' }, async (lab) => {
      const { clientPort } = await request(lab);
      const which = `${CLIENT_ADDRESS}:${clientPort}`;
      const e = await settled(lab, which, 4);
      expect(verdicts(e)).toEqual({ r2: 'won', r1: 'reset', origin: 'reset', r3: 'reset' });
      expect(e).toMatchObject({ leftOut: [], disagreements: [] });
      expect(e.race).toMatchObject({ winner: 'r2', client: which, service: 'web', race: 'origin' });

      const joined = await explained(lab, which, '--origin', admin(lab, 'origin'));
      expect(joined.disagreements).toEqual([]);
      // The farthest replica gets its copy at once; the nearer a replica is, the later it gets its copy.
      const held = joined.origin?.candidates.toSorted((a, b) => a.sentUs - b.sentUs).map((c) => c.id);
      expect(held).toEqual(['r2', 'r1', 'r3', 'origin']);

      const text = await cli('explain', 'last', '--admin', admin(lab), '--origin', admin(lab, 'origin'));
      expect(text.stdout).toContain(`${which} → web: configuration A, race origin, synchronized release`);
      expect(text.stdout).toMatch(/^r2 .* won: .*held \d+\.\d ms at the origin/m);
      expect(text.stdout).toMatch(/^decided: r2: the first acknowledgement wins/m);
    });
  });

  it("a gateway's race: which replicas were left out, and why", async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A', race: 'gateway' }, async (lab) => {
      await lab.webServer('r3').kill();
      let which = '';
      const leftOut = async () => {
        which = `${CLIENT_ADDRESS}:${(await request(lab)).clientPort}`;
        return (await explained(lab, which)).race.candidates.every((c) => c.id !== 'r3');
      };
      expect(await waitUntil(leftOut, 10_000)).toBe(true);
      const e = await settled(lab, which, 3);
      expect(verdicts(e)).toEqual({ r2: 'won', r1: 'reset', origin: 'reset' });
      expect(e.leftOut).toMatchObject([
        { id: 'r3', why: expect.stringMatching(/^inactive: .*health check/) },
      ]);
      expect(e.race.marginUs).toBeGreaterThan(0);
    });
  });

  it('a learned race: which candidate was asked alone, and which wins for which clients', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A', race: 'learned' }, async (lab) => {
      const first = `${CLIENT_ADDRESS}:${(await request(lab)).clientPort}`;
      const e = await settled(lab, first, 4);
      expect(verdicts(e)).toEqual({ r2: 'won', r1: 'reset', origin: 'reset', r3: 'reset' });

      // One connection in fifty is raced again; of these ten none is.
      servers(await requestMany(lab, 10, 1));
      const alone = await cli('races', '--last', '10', '--json', '--admin', admin(lab));
      const records = alone.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(records).toHaveLength(10);
      expect(records.every((r) => r.winner === 'r2')).toBe(true);
      expect(records.some((r) => r.rule.startsWith('asked alone') && r.candidates.length === 1)).toBe(true);
      const lines = await cli('races', '--last', '3', '--admin', admin(lab));
      expect(lines.stdout).toMatch(/^(#\d+ 192\.0\.2\.2:\d+ → web: r2 \(.*ms\)\n){3}$/);

      const table = await cli('proximity', '--json', '--admin', admin(lab));
      const [entry, ...others] = JSON.parse(table.stdout);
      expect(others).toEqual([]);
      expect(entry).toMatchObject({ service: 'web', prefix: '192.0.2.0/24' });
      const wins = Object.fromEntries(
        entry.candidates.map((c: { id: string; wins: number }) => [c.id, c.wins]),
      );
      expect(wins).toEqual({ origin: 0, r1: 0, r2: 11, r3: 0 });
      expect((await cli('proximity', '--admin', admin(lab))).stdout).toMatch(
        /^web +192\.0\.2\.0\/24 +\d+ s ago +\d+ s ago +r2 /m,
      );
    });
  });

  it('is an error when there is no such race or role', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A' }, async (lab) => {
      for (const which of ['last', '192.0.2.2:1']) {
        const o = await cli('explain', which, '--admin', admin(lab));
        expect(o).toMatchObject({ status: 1, stdout: '' });
        expect(o.stderr).toContain('FSA_RACE_UNKNOWN');
      }
      for (const command of [['explain', 'last'], ['races'], ['proximity']]) {
        const o = await cli(...command, '--admin', `unix:${lab.directory}/nobody.sock`);
        expect(o).toMatchObject({ status: 69, stdout: '' });
        expect(o.stderr).toContain('FSA_ADMIN_UNAVAILABLE');
      }
    });
  });
});

type Status = Omit<RoleStatus, 'candidates'> & {
  replicas: { id: string; state: string }[];
  candidates: { id: string; distanceMs: number | null; measure: string }[];
};
const status = async (lab: Lab, host: string) => (await lab.roles.status(host)) as unknown as Status;

describe('the distance to a replica', () => {
  it('is one-way where clocks are known to be synchronized, and half a round trip elsewhere', async () => {
    const topology = loadTopology('replica-nearest');
    topology.delaysMs.origin.r2 = 90;
    topology.delaysMs.r2.origin = 50;
    const synchronized = { clock: 'synchronized' };
    const changes = { origin: synchronized, r2: synchronized };
    const measured = async (lab: Lab, options: Partial<RoleOptions>, measure: string, ms: number) => {
      await lab.startRoles({ configuration: 'A', ...options });
      const near = async () => {
        const r2 = (await status(lab, 'origin')).candidates.find((c) => c.id === 'r2');
        return r2?.measure === measure && Math.abs((r2.distanceMs ?? 0) - ms) < 2;
      };
      expect(await waitUntil(near, 10_000), `${measure} ${ms} ms`).toBe(true);
      // The other replicas' clocks are not known to be synchronized.
      const { candidates } = await status(lab, 'origin');
      expect(candidates.filter((c) => c.id !== 'r2').map((c) => c.measure)).toEqual(['rtt/2', 'rtt/2']);
      await lab.stopRoles();
    };
    await withLab({ topology, roles: false }, async (lab) => {
      await measured(lab, { changes }, 'one-way', 90);
      await measured(lab, { clockOffsetsMs: { r2: 40 } }, 'rtt/2', 70);
      // Both ends must declare their clocks synchronized, and the laboratory's clocks do differ.
      await measured(lab, { changes: { r2: synchronized }, clockOffsetsMs: { r2: 40 } }, 'rtt/2', 70);
      await measured(lab, { changes, clockOffsetsMs: { r2: 40 } }, 'one-way', 130);
    });
  });
});
