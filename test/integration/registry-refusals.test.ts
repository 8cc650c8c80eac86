// A registry with passwords, ACL rules and certificates: the right ones suffice, a wrong one is reported in one line.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { cliScript } from '../../src/lab/paths.js';
import { mustRun, waitUntil } from '../../src/lab/process.js';
import { freshName, withLab } from './lab-support.js';
import {
  client,
  everywhere,
  expectConvergence,
  HEARTBEAT_MS,
  isConnected,
  logOf,
  readiness,
  startRemoteRedis,
  TWO_HEARTBEATS_MS,
  WAN_ADDRESS,
  withClient,
} from './registry-support.js';

const HOME = mkdtempSync(join(tmpdir(), 'firstack-registry-'));
afterAll(() => rmSync(HOME, { recursive: true, force: true }));
const name = () => `reg-${freshName()}`;
const PORT = 6390;

const README = readFileSync(fileURLToPath(new URL('../../src/registry/README.md', import.meta.url)), 'utf8');
/** The rules as src/registry/README.md has them. */
const RULES = README.split('\n').filter((l) => l.startsWith('user firstack-'));
const roleOf = (host: string) => (host === 'gateway' || host === 'origin' ? host : 'replica');
const urls = (lab: Lab, scheme = 'redis') =>
  Object.fromEntries(
    lab.roles.hosts.map((h) => [h, `${scheme}://firstack-${roleOf(h)}:PASSWORD@${WAN_ADDRESS}:${PORT}`]),
  );

/** Starts a host's role again with another registry: the start must fail. */
async function refusedStart(lab: Lab, host: string, registry: string, file = lab.roles.configFile(host)) {
  const argv = [
    process.execPath,
    cliScript,
    roleOf(host),
    '--config-file',
    file,
    '--check',
    '--registry',
    registry,
  ];
  const { status, stderr } = await lab.exec(host, argv, { timeoutMs: 20_000 });
  expect(stderr).not.toContain('PASSWORD');
  return { status, lines: stderr.trimEnd().split('\n') };
}

describe('a registry with a user per role', () => {
  it('serves the fleet by the documented rules only, and may change passwords and rules', async () => {
    await withLab({ name: name(), roles: false }, async (lab) => {
      const remote = await startRemoteRedis(lab, 'acl', [`port ${PORT}`, ...RULES]);
      const admin = await client({ path: remote.socket });
      await lab.startRoles({ registryUrls: urls(lab) });
      await withClient(lab, async () => {
        await expectConvergence(lab, admin);

        // The password of a running role changes: the role continues with its last view, reports the refusal, and
        // connects again.
        await admin.acl('SETUSER', 'firstack-gateway', 'resetpass', '>other');
        await admin.client('KILL', 'USER', 'firstack-gateway');
        const refused = async () => (await readiness(lab, 'gateway')).body.includes('registry refuses us');
        expect(await waitUntil(refused, 6000)).toBe(true);
        expect(await readiness(lab, 'gateway')).toMatchObject({ status: 503 });
        expect((await readiness(lab, 'gateway')).body).toMatch(
          /going on with the last view: (WRONGPASS|NOAUTH)/,
        );
        expect(logOf(lab, 'gateway')).toContain('registry refuses us');
        expect((await lab.roles.status('gateway'))!.applied.replicasUp).toEqual(['r1', 'r2', 'r3']);

        // At a first start: one line, and the exit code for a wrong configuration.
        const start = await refusedStart(lab, 'gateway', urls(lab).gateway);
        expect(start).toMatchObject({
          status: 78,
          lines: [expect.stringMatching(/^FSA_REGISTRY_REFUSED: .*WRONGPASS/)],
        });

        await admin.acl('SETUSER', 'firstack-gateway', 'resetpass', '>PASSWORD');
        // The longest pause between two attempts; then everything is as before.
        await everywhere(lab, ['gateway'], isConnected, 1250 + TWO_HEARTBEATS_MS);
        await expectConvergence(lab, admin);

        // The removal of a right is reported too.
        await admin.acl('SETUSER', 'firstack-replica', '-set');
        const denied = async () => /refuses us.*NOPERM/.test((await readiness(lab, 'r1')).body);
        expect(await waitUntil(denied, 3 * HEARTBEAT_MS)).toBe(true);
        await admin.acl('SETUSER', 'firstack-replica', '+set');
        await everywhere(lab, ['r1', 'r2', 'r3'], isConnected, TWO_HEARTBEATS_MS);
      });
      // No role needed more rights than the page lists, except for the right that was removed.
      const log = (await admin.acl('LOG')) as unknown as string[][];
      const denials = log.map((e) => `${e[e.indexOf('username') + 1]} ${e[e.indexOf('object') + 1]}`);
      expect(denials.filter((d) => d !== 'firstack-replica set' && d !== 'firstack-gateway auth')).toEqual(
        [],
      );

      const attempts: [string, string, boolean][] = [
        ['replica', 'service:web', false],
        ['replica', 'origin:o1', false],
        ['replica', 'gateway:1', false],
        ['replica', 'epoch', false],
        ['replica', 'sweeper', false],
        ['replica', 'replica:r9', true],
        ['gateway', 'service:web', false],
        ['gateway', 'replica:r1', false],
        ['gateway', 'origin:o1', false],
        ['gateway', 'gateway:9', true],
        ['origin', 'replica:r1', false],
        ['origin', 'gateway:1', false],
        ['origin', 'service:other', true],
      ];
      for (const [role, key, allowed] of attempts) {
        const user = await client({
          path: remote.socket,
          username: `firstack-${role}`,
          password: 'PASSWORD',
        });
        for (const command of ['set', 'del'] as const) {
          const args = command === 'set' ? ['x'] : [];
          const outcome = await user.call(command, `firstack:v1:${key}`, ...args).then(
            () => true,
            (e: Error) => !e.message.startsWith('NOPERM'),
          );
          expect(outcome, `${role} ${command} ${key}`).toBe(allowed);
        }
        await expect(user.call('FLUSHALL'), role).rejects.toThrow('NOPERM');
        await expect(user.call('GET', 'somebody:else'), role).rejects.toThrow('NOPERM');
        user.disconnect();
      }
      admin.disconnect();
    });
  });
});

/** A certificate authority, and certificates that it signed. */
async function authority(prefix: string): Promise<{ ca: string; cert: string; key: string }> {
  const file = (n: string) => join(HOME, `${prefix}-${n}`);
  const openssl = (...args: string[]) => mustRun(['openssl', ...args]);
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl(
    ...['req', '-x509', ...fresh, '-days', '2', '-subj', `/CN=${prefix} CA`],
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
  );
  await openssl(
    ...['req', ...fresh, '-subj', '/CN=redis', '-keyout', file('key.pem'), '-out', file('csr.pem')],
  );
  writeFileSync(file('ext'), `subjectAltName=IP:${WAN_ADDRESS}\n`);
  const signing = [
    '-CA',
    file('ca.pem'),
    '-CAkey',
    file('ca.key'),
    '-CAcreateserial',
    '-extfile',
    file('ext'),
  ];
  await openssl('x509', '-req', '-in', file('csr.pem'), '-days', '2', ...signing, '-out', file('cert.pem'));
  return { ca: file('ca.pem'), cert: file('cert.pem'), key: file('key.pem') };
}

describe('a registry in TLS', () => {
  it('with a private authority, and certificates at both ends', async () => {
    const [ours, other] = await Promise.all([authority('ours'), authority('other')]);
    await withLab({ name: name(), roles: false }, async (lab) => {
      const tls = [`tls-port ${PORT}`, 'port 0', `tls-ca-cert-file ${ours.ca}`, 'tls-auth-clients yes'];
      tls.push(`tls-cert-file ${ours.cert}`, `tls-key-file ${ours.key}`);
      const remote = await startRemoteRedis(lab, 'tls', [...tls, ...RULES]);
      const admin = await client({ path: remote.socket });
      const registryTls = { caFile: ours.ca, certFile: ours.cert, keyFile: ours.key };
      const changes = Object.fromEntries(lab.roles.hosts.map((h) => [h, { registryTls }]));
      const registryUrls = urls(lab, 'rediss');
      await lab.startRoles({ registryUrls, changes });
      await withClient(lab, () => expectConvergence(lab, admin));

      const withFiles = (n: string, files: object | undefined) => {
        const path = join(HOME, `${n}.yaml`);
        const text = readFileSync(lab.roles.configFile('gateway'), 'utf8').replace(
          /registryTls:\n( {2}.*\n)+/,
          '',
        );
        writeFileSync(path, files === undefined ? text : `${text}registryTls: ${JSON.stringify(files)}\n`);
        return refusedStart(lab, 'gateway', registryUrls.gateway, path);
      };
      const told = (message: RegExp) => ({ status: 78, lines: [expect.stringMatching(message)] });
      // Another authority; no authority; no client certificate; a missing file; TLS to a port without TLS.
      expect(await withFiles('wrong', { ...registryTls, caFile: other.ca })).toMatchObject(
        told(/^FSA_REGISTRY_TLS: .*(certificate|signature)/),
      );
      expect(await withFiles('none', undefined)).toMatchObject(told(/^FSA_REGISTRY_TLS: .*certificate/));
      expect(await withFiles('anonymous', { caFile: ours.ca })).toMatchObject(told(/^FSA_REGISTRY_TLS: /));
      expect(await withFiles('missing', { caFile: '/nonexistent/ca.pem' })).toMatchObject(
        told(/^FSA_REGISTRY_TLS: registryTls.caFile: ENOENT/),
      );
      expect(await withFiles('half', { certFile: ours.cert })).toMatchObject({
        status: 78,
        lines: [expect.stringMatching(/^FSA_CONFIG.*keyFile/)],
      });
      const plain = await refusedStart(lab, 'gateway', `redis://${WAN_ADDRESS}:${PORT}`);
      expect(plain).toMatchObject(told(/^FSA_REGISTRY_TLS: registryTls is for rediss/));
      admin.disconnect();
    });
  });
});
