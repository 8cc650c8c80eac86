// A role whose file says nothing of its admin API: all of it on a Unix socket that root and the role's user reach, where the
// commands find it; health and metrics alone on loopback. And a file that names `admin.listen`, as files did before.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { Lab } from '../../src/lab/lab.js';
import { cliScript } from '../../src/lab/paths.js';
import type { Output } from '../../src/lab/process.js';
import { waitUntil } from '../../src/lab/process.js';
import { freshName, TWO_REPLICAS } from './lab-support.js';

const PORT = 'http://127.0.0.1:7413';
let lab: Lab;
/** The role's own run directory: the host's may have roles. */
const run = mkdtempSync('/run/fs-admin-');
const SOCKET = `${run}/admin.d/replica-mine.sock`;
const env = (): string[] => [
  ...['env', `FIRSTACK_RUN_DIR=${run}`, `FIRSTACK_STATE_DIR=${run}/events`],
  `FIRSTACK_BPF_DIR=${lab.state.bpfDirectory}`,
];

beforeAll(async () => {
  lab = await Lab.create({ name: freshName(), seed: 1, ...TWO_REPLICAS });
  await lab.stopRole('r2');
});
afterAll(async () => {
  await lab?.down();
  rmSync(run, { recursive: true, force: true });
});

const cli = (...argv: string[]): Promise<Output> =>
  lab.exec('r2', [...env(), process.execPath, cliScript, ...argv]);
const http = async (path: string, ...more: string[]): Promise<string> =>
  (await lab.exec('r2', ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', ...more, `${PORT}${path}`]))
    .stdout;

/** Runs r2 with this in the place of its file's `admin`. */
async function withAdmin(admin: object | undefined, body: () => Promise<void>): Promise<void> {
  const { admin: _admin, ...file } = parse(readFileSync(lab.roles.configFile('r2'), 'utf8'));
  const path = `${lab.directory}/mine.yaml`;
  writeFileSync(path, stringify({ ...file, instance: 'mine', ...(admin === undefined ? {} : { admin }) }));
  const argv = lab.roles.argv('r2').map((a) => (a === lab.roles.configFile('r2') ? path : a));
  const role = lab.spawnIn('r2', [...env(), ...argv], { stdio: 'ignore' });
  const ended = new Promise((resolve) => role.once('exit', resolve));
  try {
    expect(await waitUntil(async () => (await http('/readyz')) === '200', 15_000, 100)).toBe(true);
    await body();
  } finally {
    role.kill('SIGTERM');
    await ended;
  }
}

describe('a role', () => {
  it('without admin in its file is asked on a socket, and only health and metrics over loopback', async () => {
    await withAdmin(undefined, async () => {
      expect([statSync(`${run}/admin.d`).mode & 0o777, statSync(SOCKET).mode & 0o777]).toEqual([
        0o700, 0o600,
      ]);
      for (const path of ['/livez', '/metrics']) expect([path, await http(path)]).toEqual([path, '200']);
      for (const path of ['/v1/status', '/v1/events'])
        expect([path, await http(path)]).toEqual([path, '404']);
      const json = ['-H', 'content-type: application/json', '-d', '{}'];
      expect(await http('/v1/drain', '-X', 'POST', ...json)).toBe('404');
      // Without options.
      expect(JSON.parse((await cli('replica', 'status', '--json')).stdout)).toMatchObject({ id: 'r2' });
      expect((await cli('status')).stdout).toContain('mine');
      expect(JSON.parse((await cli('replica', 'drain', '--json')).stdout)).toMatchObject({
        state: expect.stringMatching(/drain/),
      });
      expect((await cli('events', '--since', '1m')).stdout).toMatch(/drain was asked for by the Unix socket/);
      await cli('replica', 'resume');
      const otherUser = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
      const asked = await lab.exec('r2', [
        ...otherUser,
        'curl',
        '-sS',
        '--unix-socket',
        SOCKET,
        'http://x/livez',
      ]);
      expect([asked.status, asked.stderr]).toEqual([7, expect.stringMatching(/curl: \(7\)/)]);
    });
  });

  it('that names admin.listen is asked there, as before, and nowhere else', async () => {
    await withAdmin({ listen: '127.0.0.1:7413' }, async () => {
      for (const path of ['/livez', '/metrics', '/v1/status'])
        expect([path, await http(path)]).toEqual([path, '200']);
      expect(JSON.parse((await cli('replica', 'status', '--json')).stdout)).toMatchObject({ id: 'r2' });
      expect(JSON.parse((await cli('replica', 'drain', '--json')).stdout)).toMatchObject({ id: 'r2' });
      // A form cannot send JSON without the browser asking first.
      expect(await http('/v1/resume', '-d', 'a=b')).toBe('403');
      await cli('replica', 'resume');
      expect((await lab.exec('r2', ['test', '-e', SOCKET])).status).toBe(1);
    });
  });
});
