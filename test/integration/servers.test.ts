// An origin before several servers: weights, health, and flows that stay at their SYN's server when the set changes;
// remote servers; services with and without replicas side by side.
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { maglev } from '../../src/balance/maglev.js';
import { slotOf } from '../../src/flow/jhash.js';
import { blankTopology } from '../../src/lab/bench/random-topology.js';
import type { Lab } from '../../src/lab/lab.js';
import { CLIENT_ADDRESS, namespaceOf, serverAddress } from '../../src/lab/network.js';
import { waitUntil } from '../../src/lab/process.js';
import { loadTopology, serversOf, type Topology } from '../../src/lab/topology.js';
import { parse as parseAddress } from '../../src/wire/address.js';
import { withLab } from './lab-support.js';

const SERVICE = '203.0.113.10';
const script = fileURLToPath(new URL('../support/kept-connections.mjs', import.meta.url));

/** The origin is nearest, and has this many servers. */
function topology(servers: number): Topology {
  return { ...loadTopology('origin-nearest'), servers: serversOf(servers) };
}

/** Connections that stay open; each call sends a request on every one of them. */
function keep(lab: Lab, firstPort: number, count: number, port = 80) {
  const argv = [process.execPath, script, SERVICE, String(port), String(firstPort), String(count)];
  const child = lab.spawnIn('client', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    async ask(): Promise<string[]> {
      child.stdin!.write('ask\n');
      const { value, done } = await lines.next();
      if (done) throw new Error('the connections have ended');
      return JSON.parse(value as string) as string[];
    },
    reset: () => child.stdin!.write('reset\n'),
    end: () => child.stdin!.end(),
  };
}

interface Server {
  address?: string;
  replica?: string;
  weight?: number;
}

interface OriginStatus {
  serverSeed: number;
  servers: { server: string; weight: number; healthy: boolean }[];
}

async function statusOf(lab: Lab): Promise<OriginStatus> {
  return (await lab.roles.status('origin')) as unknown as OriginStatus;
}

function writeServers(lab: Lab, servers: Server[]): void {
  const path = lab.roles.configFile('origin');
  const file = parse(readFileSync(path, 'utf8')) as { services: { servers: Server[] }[] };
  file.services[0].servers = servers;
  writeFileSync(path, stringify(file));
}

/** Changes the servers in the origin's file, signals the role, and waits until it reports the change. */
async function setServers(lab: Lab, servers: Server[]): Promise<void> {
  writeServers(lab, servers);
  process.kill(lab.roles.pid('origin')!, 'SIGHUP');
  const told = async (): Promise<string> =>
    JSON.stringify((await statusOf(lab)).servers.map((x) => (x.healthy ? [x.server, x.weight] : [])));
  const wanted = JSON.stringify(servers.map((s) => [s.address ?? s.replica, s.weight ?? 1]));
  expect(await waitUntil(async () => (await told()) === wanted, 10_000)).toBe(true);
  // The kernel is changed a moment after the role reports it.
  await new Promise((resolve) => setTimeout(resolve, 400));
}

const adjacent = (hosts: string[]): Server[] => hosts.map((h) => ({ address: serverAddress(h) }));
const nameOf = (host: string): string => (host === 'server' ? 'origin' : host);
const shareMoved = (a: string[], b: string[]): number => a.filter((s, i) => s !== b[i]).length / a.length;
const failures = (answers: string[]): string[] => answers.filter((a) => a.startsWith('error'));

describe('sixteen servers', () => {
  it("a flow stays at its SYN's server through all changes; few new connections change servers", async () => {
    const hosts = serversOf(16);
    // No replicas: every connection goes to a server of the origin.
    await withLab({ topology: { ...blankTopology(0), servers: hosts }, race: 'origin' }, async (lab) => {
      const old = keep(lab, 10_000, 160);
      const before = await old.ask();
      expect(new Set(before).size).toBe(16);
      const probe = keep(lab, 20_000, 1000);
      const all = await probe.ask();
      probe.reset();
      expect(failures(all)).toEqual([]);

      // The kernel uses the slots that TypeScript filled.
      const { serverSeed } = await statusOf(lab);
      const slots = maglev(hosts.map((h) => ({ name: serverAddress(h), weight: 1 })));
      const word = (text: string): number => parseAddress(text)![3];
      const expected = all.map((_, n) => {
        const at = slotOf(word(CLIENT_ADDRESS), 20_000 + n, word(SERVICE), 80, serverSeed, slots.length);
        return nameOf(hosts[slots[at]]);
      });
      expect(all).toEqual(expected);

      const fifteen = hosts.filter((h) => h !== 's7');
      await setServers(lab, adjacent(fifteen));
      expect(await old.ask()).toEqual(before);
      const without = await probe.ask();
      probe.reset();
      expect(failures(without)).toEqual([]);
      expect(without).not.toContain('s7');
      const removed = shareMoved(all, without);
      const share = all.filter((s) => s === 's7').length / all.length;
      expect(removed - share).toBeLessThan(0.08);

      await setServers(lab, adjacent(hosts));
      expect(await old.ask()).toEqual(before);
      // The server that came back is used once its check has succeeded, and new connections keep to theirs.
      let again: string[] = [];
      const areAllBack = async (): Promise<boolean> => {
        again = await probe.ask();
        probe.reset();
        return again.every((s, n) => s === all[n]);
      };
      await waitUntil(areAllBack, 10_000);
      expect(again).toEqual(all);

      // After a kill the kernel continues: old and new flows go to their servers.
      await lab.killRole('origin');
      expect(await old.ask()).toEqual(before);
      const alone = await probe.ask();
      probe.reset();
      expect(alone).toEqual(all);
      writeServers(lab, adjacent(fifteen));
      lab.startRole('origin');
      await lab.roles.waitUntilReady();
      expect(await old.ask()).toEqual(before);
      expect(await probe.ask()).toEqual(without);
      console.log(
        `removing 1 of 16: ${(removed * 100).toFixed(1)} % of new ones moved, its share ${(share * 100).toFixed(1)} %`,
      );
      old.end();
      probe.end();

      await lab.stopRole('origin');
      const namespace = namespaceOf(lab.name, 'origin');
      expect((await lab.exec('origin', ['nft', 'list', 'tables'])).stdout, namespace).not.toContain(
        'firstack',
      );
      expect((await lab.exec('origin', ['ip', 'rule', 'show'])).stdout).not.toContain('fwmark');
    });
  });
});

describe('servers', () => {
  it('get connections by weight and health; an invalid file changes nothing', async () => {
    // No replicas: a replica that is answered sooner once would take a connection, rightly.
    await withLab(
      { topology: { ...blankTopology(0), servers: serversOf(3) }, race: 'learned' },
      async (lab) => {
        const [a, b, c] = serversOf(3).map(serverAddress);
        await setServers(lab, [
          { address: a, weight: 3 },
          { address: b, weight: 1 },
          { address: c, weight: 0 },
        ]);
        const probe = keep(lab, 20_000, 400);
        const by = async (): Promise<Record<string, number>> => {
          const answers = await probe.ask();
          probe.reset();
          const counts: Record<string, number> = {};
          for (const s of answers) counts[s] = (counts[s] ?? 0) + 1 / answers.length;
          return counts;
        };
        // The kernel is changed a moment after the role reports it.
        const become = async (names: string[]): Promise<Record<string, number>> => {
          let now: Record<string, number> = {};
          const isSo = async () =>
            Object.keys((now = await by()))
              .sort()
              .join() === names.join();
          await waitUntil(isSo, 5000);
          expect(Object.keys(now).sort()).toEqual(names);
          return now;
        };
        const shares = await become(['origin', 's2']);
        expect(Math.abs(shares.origin - 0.75)).toBeLessThan(0.08);

        lab.webServer('server').pause();
        const down = async (): Promise<boolean> => !(await statusOf(lab)).servers[0].healthy;
        expect(await waitUntil(down, 10_000)).toBe(true);
        await new Promise((resolve) => setTimeout(resolve, 400));
        await become(['s2']);
        lab.webServer('server').resume();
        expect(await waitUntil(async () => !(await down()), 10_000)).toBe(true);

        const path = lab.roles.configFile('origin');
        const good = readFileSync(path, 'utf8');
        writeFileSync(path, good.replace('weight: 3', 'weight: -3'));
        process.kill(lab.roles.pid('origin')!, 'SIGHUP');
        const said = (): boolean =>
          readFileSync(lab.roles.logFile('origin'), 'utf8').includes('FSA_CONFIG_INVALID');
        expect(await waitUntil(said, 5000)).toBe(true);
        writeFileSync(path, good);
        await new Promise((resolve) => setTimeout(resolve, 400));
        await become(['origin', 's2']);
        probe.end();
      },
    );
  });

  // A remote server runs the replica role. A SYN must reach it tagged, so the race is the published one.
  it.each(['A', 'B', 'C'] as const)(
    '%s: a remote server serves a service that is not replicable',
    async (configuration) => {
      const two: Topology = {
        ...topology(1),
        services: [
          { name: 'static', address: SERVICE, ports: [80], raceWindowMs: 500 },
          { name: 'dynamic', address: '203.0.113.11', ports: [81], raceWindowMs: 500 },
        ],
      };
      await withLab({ topology: two, roles: false }, async (lab) => {
        const services = [
          { ...two.services[0], replicable: true },
          { ...two.services[1], replicable: false, servers: [{ replica: 'r3' }] },
        ];
        await lab.startRoles({ configuration, race: 'origin', changes: { origin: { services } } });
        const served = async (url: string): Promise<string> =>
          (await lab.exec('client', ['curl', '-s', '-m', '5', url])).stdout.trim();
        // One service is raced, and the nearest wins; the other has one server, wherever that is.
        expect(await served(`http://${SERVICE}/`)).toBe('served by origin');
        for (let n = 0; n < 5; n++) expect(await served('http://203.0.113.11:81/')).toBe('served by r3');
        const counters = (await lab.roles.status('origin'))!.counters;
        expect(counters['drop.syn-to-remote-server']).toBe(5);
      });
    },
  );
});

describe('servers that come and go', () => {
  it('are numbered again when their numbers run short: four servers, one after another, with three numbers', async () => {
    const hosts = serversOf(4);
    const edit = (host: string, file: Record<string, unknown>): Record<string, unknown> =>
      host !== 'origin'
        ? file
        : {
            ...file,
            steering: { serverMask: 3 },
            services: (file.services as { servers: Server[] }[]).map((s) => ({
              ...s,
              servers: s.servers.slice(0, 3),
            })),
          };
    await withLab(
      { topology: { ...blankTopology(0), servers: hosts }, race: 'origin', edit },
      async (lab) => {
        let port = 30_000;
        for (const only of [...hosts, ...hosts.reverse()]) {
          await setServers(lab, adjacent([only]));
          // Nothing is remembered of these connections: none is opened through the origin until all have had their turn.
          if (only !== hosts.at(-1)) continue;
          const probe = keep(lab, port, 4);
          port += 100;
          expect(await probe.ask()).toEqual(new Array(4).fill(nameOf(only)));
          probe.end();
        }
        expect(readFileSync(lab.roles.logFile('origin'), 'utf8')).not.toContain('could not be applied');
      },
    );
  });
});
