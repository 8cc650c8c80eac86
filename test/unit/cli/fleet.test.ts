// `firstack fleet`, by the command line itself.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cliScript } from '../../../src/lab/paths.js';

const directory = mkdtempSync(join(tmpdir(), 'fs-fleet-'));
const at = (name: string): string => `${directory}/${name}`;
afterAll(() => rmSync(directory, { recursive: true }));

function fleet(...argv: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cliScript, 'fleet', ...argv], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr: stderr.trim() };
}
const issue = (out: string, ...argv: string[]) =>
  fleet('issue', ...argv, '--key', at('fleet.key'), '--out', at(out));

beforeAll(() => {
  const { status, stdout } = fleet('init', '--out', at('fleet.key'));
  expect(status).toBe(0);
  expect(stdout).toMatch(/^[A-Za-z0-9_-]{43}\n$/);
});

describe('firstack fleet', () => {
  it('makes keys that only their user may read, and never writes over one', () => {
    expect(statSync(at('fleet.key')).mode & 0o777).toBe(0o600);
    const again = fleet('init', '--out', at('fleet.key'));
    expect(again).toMatchObject({
      status: 78,
      stderr: expect.stringMatching(/^FSA_KEY_INVALID: .*never overwritten$/),
    });
  });

  it('issues, shows and rotates an identity, and prints the user line for Redis', () => {
    const made = issue(
      'r1',
      'replica',
      '--id',
      'r1',
      '--may',
      'services=web,api',
      '--may',
      'addresses=198.18.11.2/32',
    );
    expect(made.status).toBe(0);
    expect(statSync(at('r1')).mode & 0o777).toBe(0o600);
    expect(made.stdout).toMatch(
      /^replica:r1, number [0-9a-f]{16}, valid \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d, may state$/m,
    );
    expect(made.stdout).toMatch(/^ {2}services: web, api$/m);
    expect(made.stdout).toMatch(/^user replica-r1 on #[0-9a-f]{64} resetchannels resetkeys -@all /m);
    expect(made.stdout).toMatch(/^registry: redis:\/\/replica-r1:[\w-]{32}@HOST:6379$/m);
    const shown = fleet('show', at('r1'));
    expect(made.stdout.startsWith(shown.stdout.trimEnd())).toBe(true);
    const before = JSON.parse(fleet('show', at('r1'), '--json').stdout) as {
      jti: string;
      may: object;
      sign: string;
    };
    expect(fleet('rotate', at('r1'), '--key', at('fleet.key'), '--out', at('r1b')).status).toBe(0);
    const after = JSON.parse(fleet('show', at('r1b'), '--json').stdout) as typeof before;
    expect(after.may).toEqual(before.may);
    expect([after.jti === before.jti, after.sign === before.sign]).toEqual([false, false]);
  });

  it.each([
    [['client', '--id', 'x'], 2, /^FSA_USAGE: 'client' is no role: gateway, origin, replica$/],
    [['replica', '--id', 'R 1'], 2, /^FSA_USAGE: --id 'R 1' is no id$/],
    [['replica', '--id', 'r1', '--may', 'everything=*'], 2, /unknown key 'everything'/],
    [['replica', '--id', 'r1', '--may', 'addresses=198.18.11.2'], 2, /must be ADDRESS\/BITS/],
    [['replica', '--id', 'r1', '--may', 'services'], 2, /LIST=VALUE,… is needed/],
    [['replica', '--id', 'r1', '--days', '0'], 2, /a whole number from 1 to 3650/],
  ])('refuses %j, and writes nothing', (argv, status, text) => {
    const made = issue('none', ...argv);
    expect(made.status).toBe(status);
    expect(made.stderr).toMatch(text);
    expect(existsSync(at('none'))).toBe(false);
  });

  it('names a file that is not what it should be, and shows nothing of a key', () => {
    writeFileSync(at('bad.key'), '-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----\n', {
      mode: 0o600,
    });
    const made = fleet('rotate', at('r1'), '--key', at('bad.key'), '--out', at('none'));
    expect(made.status).toBe(78);
    expect(made.stderr).toMatch(
      /^FSA_KEY_INVALID: .*bad\.key: a fleet's key is needed \(firstack fleet init\)$/,
    );
    expect(fleet('show', at('fleet.key')).status).toBe(78);
    expect(fleet('show', at('nothing')).stderr).toMatch(/^FSA_CONFIG_UNREADABLE: .*no such file$/);
    expect(`${made.stderr}${made.stdout}`).not.toContain('SECRETSECRET');
  });
});
