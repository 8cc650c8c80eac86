// Identities and places have one holder (faults S7 and S8).
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { askJson } from '../../src/lab/admin-client.js';
import type { Lab } from '../../src/lab/lab.js';
import { type Output, pause, waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { expectRaced, untilServedBy, withLab } from './lab-support.js';
import { Client, logOf } from './registry-support.js';

type File = Record<string, unknown>;

/** A copy of a host's role file, with an instance and an admin socket of its own. @returns its path */
function copyOf(lab: Lab, host: string, name: string, change: (file: File) => void): string {
  const file = parse(readFileSync(lab.roles.configFile(host), 'utf8')) as File;
  Object.assign(file, { instance: name, admin: { listen: `unix:${lab.directory}/${name}.sock` } });
  change(file);
  const path = `${lab.directory}/${name}.yaml`;
  writeFileSync(path, stringify(file));
  return path;
}

/** Runs a role with a file on a host until it ends by itself. */
function runRole(lab: Lab, role: string, host: string, file: string, ...args: string[]): Promise<Output> {
  const argv = lab.roles.argv(host);
  const own = [...argv.slice(0, argv.indexOf(host === 'gateway' ? 'gateway' : 'replica')), role];
  const rest = argv.slice(argv.indexOf('--config-file') + 2);
  const env = [`FIRSTACK_BPF_DIR=${lab.state.bpfDirectory}`, `FIRSTACK_STATE_DIR=${lab.directory}/events`];
  return lab.exec(host, ['env', ...env, ...own, '--config-file', file, ...rest, ...args], {
    timeoutMs: 40_000,
  });
}

const stateOf = async (lab: Lab, host: string): Promise<string> =>
  (
    await lab.exec(host, [
      'sh',
      '-c',
      'nft list ruleset; ip rule; ip -4 route show table all; ip -o link | sed "s/ qdisc.*//"; ls /run/firstack | grep "$0"',
      String(process.pid),
    ])
  ).stdout;

describe('a second machine with the same identity', () => {
  it('is refused as a replica; the first one goes on, and no connection fails', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A', race: 'learned' }, async (lab) => {
      await untilServedBy(lab, 'r2');
      await lab.stopRole('r3');
      const client = new Client(lab);
      const file = copyOf(lab, 'r3', `t${process.pid}-copy`, (f) => {
        f.id = 'r2';
      });
      const { status, stderr } = await runRole(lab, 'replica', 'r3', file);
      await client.end();
      expect([status, stderr]).toEqual([69, expect.stringContaining('FSA_IDENTITY_TAKEN')]);
      expect(stderr).toMatch(
        /FSA_IDENTITY_TAKEN: another machine \(host \S+\) runs as replica r2 too: this role ends/,
      );
      expectRaced(client.results, 'r2');
      const view = await lab.roles.status('gateway');
      const replicas = (view as unknown as { replicas: { id: string; address: string }[] }).replicas;
      expect(replicas.find((r) => r.id === 'r2')?.address).toBe('198.18.12.2');
      expect((await lab.roles.status('r2'))?.state).toBe('up');
    });
  });

  it('is refused as a gateway; tags of the first one are accepted throughout', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'C', race: 'learned' }, async (lab) => {
      await untilServedBy(lab, 'r2');
      await lab.stopRole('r3');
      const client = new Client(lab);
      // Another office, by mistake with the file of the first: its key, its gatewayId.
      const file = copyOf(lab, 'gateway', `t${process.pid}-office`, (f) => {
        Object.assign(f, { lan: ['lo'], prefixes: ['192.0.3.0/24'], tun: { name: 'fscopy' } });
      });
      const argv = lab.roles.argv('gateway');
      argv[argv.indexOf('--config-file') + 1] = file;
      const env = [
        `FIRSTACK_BPF_DIR=${lab.state.bpfDirectory}`,
        `FIRSTACK_STATE_DIR=${lab.directory}/events`,
      ];
      const { status, stderr } = await lab.exec('r3', ['env', ...env, ...argv], { timeoutMs: 40_000 });
      await client.end();
      expect([status, stderr]).toEqual([69, expect.stringContaining('FSA_IDENTITY_TAKEN')]);
      expect(stderr).toContain('runs as gateway 1 too');
      expectRaced(client.results, 'r2');
    });
  });

  it('is not what a killed role is that starts again at once', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A', race: 'learned' }, async (lab) => {
      for (const host of ['r2', 'gateway']) {
        await lab.killRole(host);
        const startedAt = performance.now();
        lab.startRole(host);
        const ready = async () =>
          (await askJson<{ ready: boolean }>(lab.roles.adminSocket(host), '/readyz'))?.ready === true;
        expect(await waitUntil(ready, 15_000)).toBe(true);
        const tookMs = Math.round(performance.now() - startedAt);
        process.stderr.write(`${host} is ready again ${tookMs} ms after its start\n`);
        // Heartbeats in which a refused identity would be found.
        await pause(5000);
        expect(lab.roles.isRunning(host)).toBe(true);
        expect(logOf(lab, host)).not.toContain('FSA_IDENTITY_TAKEN');
      }
    });
  });
});

describe('a second gateway on one host', () => {
  it('is refused by --check and by its start, and removes nothing of the first', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A', race: 'learned' }, async (lab) => {
      await untilServedBy(lab, 'r2');
      const file = copyOf(lab, 'gateway', `t${process.pid}-second`, (f) => {
        Object.assign(f, { prefixes: ['192.0.3.0/24'] });
      });
      const before = await stateOf(lab, 'gateway');
      for (const args of [['--check'], []]) {
        const { status, stderr } = await runRole(lab, 'gateway', 'gateway', file, ...args);
        expect([args, status, stderr]).toEqual([args, 78, expect.stringContaining('FSA_STEERING_TAKEN')]);
        expect(stderr).toMatch(
          /^FSA_STEERING_TAKEN: steering: .*tun\.name fsgw.* belong to instance lab-\S+-gateway of this host/m,
        );
        expect(await stateOf(lab, 'gateway')).toBe(before);
      }
      const after = await requestMany(lab, 10, 2);
      expect(after.filter((r) => !r.ok)).toEqual([]);
      // Raced: the origin, which is farther than two machines, serves what the gateway does not steer.
      expect(after.filter((r) => r.servedBy === 'origin').length).toBeLessThan(5);
    });
  });
});
