// Drain and admission: a replica out of service keeps its connections and reports when the last has ended; a limit on
// the rate of new connections; a health check by command.
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { cliScript } from '../../src/lab/paths.js';
import { waitUntil } from '../../src/lab/process.js';
import { request, requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { TWO_REPLICAS, untilServedBy, withLab } from './lab-support.js';

async function replicaCommand(lab: Lab, ...args: string[]) {
  const socket = `unix:${lab.roles.adminSocket('r2')}`;
  return lab.exec('r2', [process.execPath, cliScript, 'replica', ...args, '--admin', socket], {
    timeoutMs: 30_000,
  });
}

/** A download that takes some seconds. */
function slowDownload(lab: Lab) {
  const path = `${lab.directory}/slow`;
  const url = 'http://203.0.113.10/blob/slow';
  const child = lab.spawnIn(
    'client',
    ['curl', '-s', '--limit-rate', '60k', '-D', path, '-o', `${path}.body`, url],
    {
      stdio: 'ignore',
    },
  );
  return new Promise<number | null>((resolve) => child.once('exit', resolve));
}

const servedBy = async (lab: Lab, n: number): Promise<string[]> => {
  const all = await requestMany(lab, n, 5);
  expect(all.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
  return [...new Set(all.map((r) => r.servedBy))];
};

describe.each(CONFIGURATIONS)('configuration %s', (configuration) => {
  it('drain keeps existing connections, takes no new ones, ends with the last flow; resume', async () => {
    await withLab({ ...TWO_REPLICAS, configuration, race: 'learned' }, async (lab) => {
      await untilServedBy(lab, 'r2');
      writeFileSync(`${lab.webServer('r2').blobDirectory}/slow`, Buffer.alloc(400_000, 'x'));
      const download = slowDownload(lab);
      const open = async () => Number((await lab.roles.status('r2'))?.connections ?? 0) > 0;
      expect(await waitUntil(open, 5000)).toBe(true);

      const at = await replicaCommand(lab, 'drain', '--json');
      expect(JSON.parse(at.stdout)).toMatchObject({ id: 'r2', state: 'draining', drain: 'draining' });
      expect(at.status).toBe(0);
      const seen = async () =>
        (await lab.roles.status('gateway'))?.applied.replicasUp.includes('r2') === false;
      expect(await waitUntil(seen, 4000)).toBe(true);
      expect(await servedBy(lab, 10)).toEqual(['r1']);

      const waited = await replicaCommand(lab, 'drain', '--wait', '--timeout', '25');
      expect(waited.status).toBe(0);
      expect(waited.stdout).toMatch(/r2: inactive \(drained: its last connection has ended\), 0 connections/);
      expect(await download).toBe(0);

      // After a kill and a restart it is still out of service.
      await lab.killRole('r2');
      lab.startRole('r2');
      // Connections that were open at the kill would have to end first: it counts them anew.
      const stillOut = async () => String((await lab.roles.status('r2'))?.reason).startsWith('drained');
      expect(await waitUntil(stillOut, 8000)).toBe(true);
      expect((await replicaCommand(lab, 'status')).stdout).toContain('drained');

      expect((await replicaCommand(lab, 'resume', '--json')).stdout).toContain('"state":"up"');
      const back = async () => (await request(lab)).servedBy === 'r2';
      expect(await waitUntil(back, 10_000)).toBe(true);
    });
  });
});

/** Moves the web server of r2 into a namespace of its own, behind rules that translate R:80 to it, as containers have. */
async function intoContainer(lab: Lab): Promise<void> {
  await lab.webServer('r2').stop();
  const { directory } = lab.webServer('r2');
  const nginx = ['nginx', '-p', directory, '-e', 'error.log', '-c', `${directory}/nginx.conf`];
  const box = lab.spawnIn('r2', ['unshare', '--net', ...nginx], { stdio: 'ignore' });
  const inside = ['nsenter', '-t', String(box.pid), '--net', 'ip', '-batch', '-'];
  const isApart = async () => (await lab.exec('r2', inside, { input: 'link set lo up' })).status === 0;
  expect(await waitUntil(isApart, 5000)).toBe(true);
  const [address, bridge] = ['172.31.0.2', '172.31.0.1'];
  const outside = `link add box0 type veth peer name eth0 netns ${box.pid}
address add ${bridge}/24 dev box0
link set box0 up`;
  const must = async (argv: string[], input: string) =>
    expect((await lab.exec('r2', argv, { input })).stderr).toBe('');
  await must(['ip', '-batch', '-'], outside);
  await must(inside, `address add ${address}/24 dev eth0\nlink set eth0 up\nroute add default via ${bridge}`);
  await must(
    ['nft', '-f', '-'],
    `table ip box {
      chain prerouting {
        type nat hook prerouting priority dstnat
        fib daddr type local tcp dport 80 dnat to ${address}:80
      }
      chain output {
        type nat hook output priority -100
        fib daddr type local tcp dport 80 dnat to ${address}:80
      }
    }`,
  );
  await must(['sysctl', '-qw', 'net.ipv4.ip_forward=1'], '');
}

describe('a replica whose web server is in a container', () => {
  it('is drained when the last connection into the container has ended, not before', async () => {
    await withLab({ ...TWO_REPLICAS, configuration: 'A', race: 'learned', roles: false }, async (lab) => {
      await intoContainer(lab);
      await lab.startRoles({ configuration: 'A', race: 'learned' });
      await untilServedBy(lab, 'r2');
      writeFileSync(`${lab.webServer('r2').blobDirectory}/slow`, Buffer.alloc(400_000, 'x'));
      const download = slowDownload(lab);
      const open = async () => Number((await lab.roles.status('r2'))?.connections ?? 0) === 1;
      expect(await waitUntil(open, 5000)).toBe(true);

      const early = await replicaCommand(lab, 'drain', '--wait', '--timeout', '3');
      expect([early.status, early.stdout]).toEqual([1, expect.stringContaining('1 connections left')]);
      const waited = await replicaCommand(lab, 'drain', '--wait', '--timeout', '25');
      expect(waited.stdout).toMatch(/r2: inactive \(drained/);
      expect(await download).toBe(0);
    });
  });
});

describe('admission', () => {
  it('accepts a number of new connections per second; other machines serve the rest', async () => {
    const changes = { r2: { limits: { connections: 10_000, cpuPct: 100, newPerSecond: 5 } } };
    await withLab({ ...TWO_REPLICAS, configuration: 'C', race: 'origin', changes }, async (lab) => {
      const all = await requestMany(lab, 60, 30);
      expect(all.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
      const limited = all.filter((r) => r.servedBy === 'r2').length;
      expect(limited).toBeGreaterThanOrEqual(5);
      expect(limited).toBeLessThan(40);
      expect(await lab.roles.counter('r2', 'drop.over-rate')).toBeGreaterThan(0);
    });
  });

  it('checks health by a command', async () => {
    const health = { command: ['test', '-e', ''], intervalMs: 200, timeoutMs: 1000, rise: 2, fall: 2 };
    await withLab({ ...TWO_REPLICAS, race: 'learned', roles: false }, async (lab) => {
      const here = `${lab.directory}/healthy`;
      health.command[2] = here;
      writeFileSync(here, '');
      await lab.startRoles({ race: 'learned', changes: { r2: { health } } });
      await untilServedBy(lab, 'r2');
      await lab.exec('r2', ['rm', here]);
      const down = async () => (await lab.roles.status('r2'))?.state === 'inactive';
      expect(await waitUntil(down, 5000)).toBe(true);
      expect((await lab.roles.status('r2'))?.reason).toBe('health check: test ended with 1');
      await new Promise((resolve) => setTimeout(resolve, 1500));
      expect(await servedBy(lab, 5)).toEqual(['r1']);
    });
  });
});
