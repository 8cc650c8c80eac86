// Paths that are not perfect (FAULTS: P1, P2, P4, P5): transfers over a narrow hop arrive whole, whether the hop answers
// with ICMP errors or fragments; and an ICMP error from one candidate's path is no other candidate's loss.
import { describe, expect, it } from 'vitest';
import type { PathReport } from '../../gateway/race/paths.js';
import { ask, askJson } from '../../src/lab/admin-client.js';
import { type Narrow, NEAREST, transfers, withNarrow } from '../../src/lab/narrow/scenes.js';
import { cliScript } from '../../src/lab/paths.js';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';

const WAYS = CONFIGURATIONS.flatMap((c) => (['auto', 'off'] as const).map((f) => [c, f] as const));
const COUNT = 6;

async function arriveWhole(n: Omit<Narrow, 'mtu' | 'seed'>): Promise<void> {
  await withNarrow({ ...n, mtu: 1400, seed: 1 }, async (lab) => {
    for (const way of ['up', 'down'] as const) {
      const made = await transfers(lab, way, COUNT, 3);
      expect(made.map((t) => t.error)).toEqual(Array(COUNT).fill(''));
      // Where a replica is busy with transfers, or this machine is, another one now and then wins.
      expect(made.filter((t) => t.servedBy === NEAREST).length).toBeGreaterThan(0);
    }
  });
}

describe('a hop of 1,400 bytes to the replica', () => {
  it.each(WAYS)('that sends ICMP errors: %s, fast path %s', async (configuration, fastpath) => {
    await arriveWhole({ configuration, fastpath, hop: 'wan', kind: 'icmp' });
  });

  it.each(WAYS)('that sends no ICMP errors: %s, fast path %s', async (configuration, fastpath) => {
    await arriveWhole({ configuration, fastpath, hop: 'wan', kind: 'blocked' });
  });

  it.each(WAYS)('that fragments: %s, fast path %s', async (configuration, fastpath) => {
    await arriveWhole({ configuration, fastpath, hop: 'wan', kind: 'fragments' });
  });
});

describe('a hop of 1,400 bytes to the client', () => {
  it.each([
    ['A', 'auto'],
    ['B', 'off'],
    ['C', 'auto'],
  ] as const)('that sends ICMP errors: %s, fast path %s', async (configuration, fastpath) => {
    await arriveWhole({ configuration, fastpath, hop: 'client', kind: 'icmp' });
  });
});

describe('a path', () => {
  it('that no longer carries IP-in-IP is said to be so, by event, command, metric and doctor', async () => {
    await withLab({ topology: 'replica-nearest', race: 'learned', configuration: 'C' }, async (lab) => {
      const socket = lab.roles.adminSocket('gateway');
      const pathTo = async (id: string): Promise<PathReport | undefined> =>
        (await askJson<{ paths: PathReport[] }>(socket, '/v1/paths'))?.paths.find((p) =>
          p.machines.includes(id),
        );
      const isOpen = async (): Promise<boolean> => (await pathTo('r2'))?.state === 'open';
      expect(await waitUntil(isOpen, 10_000, 100)).toBe(true);
      expect(await pathTo('r2')).toMatchObject({ form: 'tunnel', mtuOut: 1500, mtuIn: 1500 });
      expect((await pathTo('r2'))!.rttMs).toBeGreaterThan(25);

      const drop =
        'table ip broken { chain forward { type filter hook forward priority 0; ip protocol 4 drop; }; }';
      expect((await lab.exec('wan', ['nft', '-f', '-'], { input: drop })).status).toBe(0);
      const isSilent = async (): Promise<boolean> => (await pathTo('r2'))?.state === 'silent';
      expect(await waitUntil(isSilent, 15_000, 100)).toBe(true);
      const said = async (): Promise<string[]> =>
        (await askJson<{ events: { kind: string; subject: string; message: string }[] }>(
          socket,
          '/v1/events',
        ))!.events
          .filter((e) => e.kind === 'path' && e.subject === 'r2/tunnel')
          .map((e) => e.message);
      expect(await waitUntil(async () => (await said()).length === 1, 5000, 100)).toBe(true);
      expect((await said())[0]).toMatch(
        /^path to r2 .* packets in a tunnel \(protocol 4\) do not arrive there/,
      );
      const cli = (...argv: string[]) =>
        lab.exec('gateway', [process.execPath, cliScript, ...argv, '--admin', `unix:${socket}`]);
      expect((await cli('paths')).stdout).toMatch(/^r2 +198\S+ +tunnel +silent/m);
      expect((await cli('doctor')).stdout).toMatch(/path to r2 .*no tunnel probe is answered any more/);
      const { body } = (await ask(socket, '/metrics'))!;
      expect(body).toMatch(/firstack_path_unanswered\{.*machine="r2".*\} [3-9]/);

      expect((await lab.exec('wan', ['nft', 'delete', 'table', 'ip', 'broken'])).status).toBe(0);
      expect(await waitUntil(isOpen, 10_000, 100)).toBe(true);
      expect(await waitUntil(async () => (await said()).length === 2, 5000, 100)).toBe(true);
    });
  });
});

describe("a router that answers the origin's SYNs with ICMP errors", () => {
  it.each(['host-unreachable', 'net-unreachable', 'admin-prohibited', 'port-unreachable'])(
    '%s: replicas serve every connection',
    async (kind) => {
      await withLab({ topology: 'replica-nearest', race: 'gateway', configuration: 'A' }, async (lab) => {
        const rules = `table ip broken {
          chain forward {
            type filter hook forward priority 0
            ip daddr ${lab.topology.services[0].address} tcp flags & syn == syn reject with icmp ${kind}
          }
        }`;
        const { status, stderr } = await lab.exec('wan', ['nft', '-f', '-'], { input: rules });
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        const made = await requestMany(lab, 6, 2);
        expect(made.map((r) => r.error)).toEqual(Array(6).fill(''));
      });
    },
  );
});
