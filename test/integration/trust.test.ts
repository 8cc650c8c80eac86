// A thief among the machines of a fleet (FAULTS: T1, T2, T4, T5, T6): one replica's identity, and a Redis account that may
// write anything. What other machines hold stays theirs; and no record keeps a role from starting.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { ask, askJson } from '../../src/lab/admin-client.js';
import { identityOf, refusedBy, THEFTS, Thief } from '../../src/lab/attacks/thief.js';
import { giveIdentities, restartWith, WITHOUT_IDENTITIES } from '../../src/lab/attacks/upgrade.js';
import { cliScript } from '../../src/lab/paths.js';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { nowServedBy, startLoad, TWO_REPLICAS, untilServedBy, withLab } from './lab-support.js';

const HOSTS = ['gateway', 'r1', 'origin', 'r2'];
const OPTIONS = { ...TWO_REPLICAS, configuration: 'A', race: 'learned' } as const;

describe('a fleet with identities', () => {
  it("one replica's keys, and a Redis account that may write anything, take nothing over", async () => {
    await withLab({ ...OPTIONS, identities: true }, async (lab) => {
      for (const host of ['gateway', 'origin', 'r2']) expect(await refusedBy(lab, host)).toEqual({});
      await nowServedBy(lab, 'r2');
      let thief = new Thief(lab, { by: identityOf(lab, 'r1'), records: THEFTS });
      try {
        const isSaid = async (): Promise<boolean> =>
          Object.keys(await refusedBy(lab, 'gateway')).some((key) => key.endsWith(':x'));
        expect(await waitUntil(isSaid, 10_000, 200)).toBe(true);
        const made = await requestMany(lab, 60, 4);
        expect(made.map((r) => r.error)).toEqual(Array(60).fill(''));
        expect(made.filter((r) => r.servedBy !== 'r2').length).toBeLessThan(3);
        await thief.stop();
        // Every role starts while that goes on. (A role that starts needs its own keys in Redis, which a machine's own
        // user keeps for it: test/integration/registry-trust.)
        const names = Object.keys(THEFTS).filter((name) => /:[xyz]$/.test(name));
        const others = Object.fromEntries(names.map((name) => [name, THEFTS[name]]));
        thief = new Thief(lab, { by: identityOf(lab, 'r1'), records: others });
        for (const host of ['r2', 'origin', 'gateway']) {
          await lab.stopRole(host);
          lab.startRole(host);
          const isReady = async (): Promise<boolean> =>
            (await ask(lab.roles.adminSocket(host), '/readyz'))?.status === 200;
          expect(await waitUntil(isReady, 15_000, 100), host).toBe(true);
        }
        expect(await waitUntil(isSaid, 10_000, 200)).toBe(true);
        const after = await requestMany(lab, 60, 4);
        expect(after.map((r) => r.error)).toEqual(Array(60).fill(''));
        expect(after.filter((r) => r.servedBy !== 'r2').length).toBeLessThan(4);
        // An operator sees which records, and why.
        const socket = lab.roles.adminSocket('gateway');
        const cli = await lab.exec('gateway', [
          process.execPath,
          cliScript,
          'status',
          '--admin',
          `unix:${socket}`,
        ]);
        expect(cli.stdout).toMatch(/firstack:v1:replica:x +\S+ +it belongs to replica:x/);
      } finally {
        await thief.stop();
      }
      await untilServedBy(lab, 'r2');
    });
  });

  it('comes from one without, machine by machine, and gets new keys: no connection fails', async () => {
    await withLab({ ...TWO_REPLICAS, ...WITHOUT_IDENTITIES }, async (lab) => {
      const load = startLoad(lab);
      try {
        // All of them sign in between, so nothing would be left out.
        expect(await giveIdentities(lab)).toEqual([]);
        // Rotation: the same scope, other keys.
        for (const host of HOSTS) {
          const before = `${lab.directory}/${host}.identity`;
          const out = `${before}.next`;
          const argv = [process.execPath, cliScript, 'fleet', 'rotate', before];
          const made = await lab.exec(host, [...argv, '--key', `${lab.directory}/fleet.key`, '--out', out]);
          expect(made.stderr).toBe('');
          await restartWith(lab, host, (file) => ({ ...file, identityFile: out }));
        }
        await untilServedBy(lab, 'r2');
      } finally {
        await load.end();
      }
      expect(load.count).toBeGreaterThan(100);
      expect(load.failed).toEqual([]);
      for (const host of HOSTS) expect(await refusedBy(lab, host), host).toEqual({});
    });
  });
});

describe('a fleet without identities', () => {
  it("another machine's record keeps no role from starting, and is said", async () => {
    await withLab(OPTIONS, async (lab) => {
      await nowServedBy(lab, 'r2');
      const records = {
        'gateway:7': { v: 1, id: 7, prefixes: ['192.0.2.128/25'] },
        'replica:y': THEFTS['replica:y'],
        'origin:z': THEFTS['origin:z'],
      };
      const thief = new Thief(lab, { by: undefined, records });
      try {
        // The nearest holds its address: the second claim changes nothing.
        const made = await requestMany(lab, 40, 4);
        expect(made.map((r) => r.error)).toEqual(Array(40).fill(''));
        await untilServedBy(lab, 'r2');
        const isSaid = async (code: string): Promise<boolean> => {
          const answer = await askJson<{ ready: { reasons: string[] } }>(
            lab.roles.adminSocket('gateway'),
            '/v1/status',
          );
          return answer?.ready.reasons.some((why) => why.startsWith(code)) === true;
        };
        const codes = ['FSA_PREFIX_OVERLAP', 'FSA_ENDPOINT_TAKEN'];
        for (const code of codes) expect(await waitUntil(() => isSaid(code), 15_000, 100), code).toBe(true);
        for (const host of ['r2', 'gateway']) {
          await lab.stopRole(host);
          lab.startRole(host);
          const isReady = async (): Promise<boolean> =>
            (await ask(lab.roles.adminSocket(host), '/readyz'))?.status === 200;
          expect(await waitUntil(isReady, 15_000, 100), host).toBe(true);
        }
        expect(readFileSync(lab.roles.logFile('r2'), 'utf8')).toMatch(
          /left out: services: 198\.18\.12\.2:80 .*replica y/,
        );
      } finally {
        await thief.stop();
      }
    });
  });

  it('a role is refused whose file names what its own credential does not cover', async () => {
    await withLab({ ...OPTIONS, identities: true }, async (lab) => {
      await lab.stopRole('r2');
      const start = async (edit: (file: Record<string, unknown>) => void) => {
        const file = parse(readFileSync(lab.roles.configFile('r2'), 'utf8')) as Record<string, unknown>;
        edit(file);
        const path = `${lab.directory}/bad.yaml`;
        writeFileSync(path, stringify(file));
        const argv = lab.roles.argv('r2').map((a) => (a === lab.roles.configFile('r2') ? path : a));
        const { status, stderr } = await lab.exec('r2', argv, { timeoutMs: 20_000 });
        return { status, stderr: stderr.trim() };
      };
      const own = `${lab.directory}/r2.identity`;
      expect(await start((f) => (f.services = [{ name: 'api' }]))).toEqual({
        status: 78,
        stderr: 'FSA_SCOPE: identityFile: replica r2: its credential does not cover services api',
      });
      expect(await start((f) => (f.identityFile = `${lab.directory}/r1.identity`))).toEqual({
        status: 78,
        stderr: 'FSA_SCOPE: identityFile: replica r2: it belongs to replica:r2',
      });
      const damaged = `${lab.directory}/damaged.identity`;
      const spoil = (change: (file: Record<string, string>) => void): void => {
        const file = parse(readFileSync(own, 'utf8')) as Record<string, string>;
        change(file);
        rmSync(damaged, { force: true });
        writeFileSync(damaged, stringify(file), { mode: 0o600 });
      };
      const theirs = parse(readFileSync(`${lab.directory}/r1.identity`, 'utf8')) as Record<string, string>;
      const refused = async (): Promise<string> => {
        const { status, stderr } = await start((f) => (f.identityFile = damaged));
        expect(status).toBe(78);
        return stderr;
      };
      spoil((f) => (f.signKey = theirs.signKey));
      expect(await refused()).toBe(
        `FSA_CREDENTIAL: ${damaged}: signKey is not the key that the credential names`,
      );
      spoil((f) => (f.credential = `${f.credential.slice(0, -4)}AAAA`));
      expect(await refused()).toBe(
        `FSA_CREDENTIAL: ${damaged}: the credential is not signed by this fleet's key`,
      );
    });
  });
});
