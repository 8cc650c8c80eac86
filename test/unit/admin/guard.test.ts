// Who may ask the admin API: over TCP from this host, with TLS and a token from elsewhere; and changes are noted.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { askAdmin } from '../../../src/admin/client.js';
import { guardOf, guardProblems, isLoopback, whyRefused } from '../../../src/admin/guard.js';
import { type AdminSource, createAdmin } from '../../../src/admin/server.js';

const directory = mkdtempSync(join(tmpdir(), 'fs-guard-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = (name: string): string => join(directory, name);
const TOKEN = 'd3adbeef'.repeat(8);

const asked: string[] = [];
const source: AdminSource = {
  programs: [
    {
      ...{
        name: 'test',
        counters: () => ({}),
        carried: () => undefined,
        status: () => ({}),
        metrics: () => [],
      },
      ...{ reads: {}, actions: { act: () => {} } },
    },
  ],
  ...{ live: () => true, ready: () => ({ ready: true, reasons: [] }), clockOffsetMs: () => undefined },
  ...{
    events: () => [],
    who: () => ({ role: 'gateway', instance: 'one' }),
    metrics: () => [],
    head: () => ({}),
  },
  asked: (action, by) => void asked.push(`${action} by ${by}`),
};

describe('a request from another host', () => {
  const from = (path: string, more: object = {}): string =>
    whyRefused(
      { method: 'GET', path, headers: { host: '192.0.2.1:7411' }, isLocal: false, ...more },
      '192.0.2.1',
    );

  it('reads health and metrics alone where there is no token', () => {
    expect(['/livez', '/readyz', '/metrics'].map((path) => from(path))).toEqual(['', '', '']);
    for (const path of ['/v1/status', '/v1/flows', '/v1/events'])
      expect(from(path)).toBe(
        'from another host this needs admin.tokenFile and admin.tls: health and metrics alone are open',
      );
    const headers = { host: '192.0.2.1:7411', 'content-type': 'application/json' };
    expect(from('/v1/drain', { method: 'POST', headers })).toContain('admin.tokenFile');
    expect(from('/metrics', { method: 'HEAD' })).toBe('');
    expect(from('/v1/status', { isLocal: true })).toBe('');
  });

  it.each([
    ['127.0.0.1', true],
    ['127.8.9.1', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['localhost', true],
    ['192.0.2.1', false],
    ['::ffff:192.0.2.1', false],
    ['2001:db8::1', false],
    ['', false],
  ])('%s is told by its address', (address, isLocal) => {
    expect(isLoopback(address)).toBe(isLocal);
  });
});

describe('a role file', () => {
  it('may not have a token cross a network in clear', () => {
    const tls = { certFile: 'c', keyFile: 'k' };
    const of = (admin: object): number =>
      guardProblems({ listen: '192.0.2.1:7411', ...admin }, 'f.yaml').length;
    expect([of({}), of({ tokenFile: 't' }), of({ tokenFile: 't', tls })]).toEqual([0, 1, 0]);
    expect(of({ tokenFile: 't', listen: '127.0.0.1:7411' })).toBe(0);
    expect(of({ tokenFile: 't', listen: '[::1]:7411' })).toBe(0);
    expect(of({ tokenFile: 't', listen: 'unix:/run/x' })).toBe(0);
    expect(of({ tokenFile: 't', listen: 'auto' })).toBe(0);
  });

  it('names a token that is long, and private', () => {
    const tokenFile = file('bad');
    expect(() => guardOf({ tokenFile })).toThrow(/^admin\.tokenFile: ENOENT/);
    writeFileSync(tokenFile, 'short\n', { mode: 0o600 });
    expect(() => guardOf({ tokenFile })).toThrow(/16 characters at least/);
    writeFileSync(tokenFile, `${TOKEN}\n`);
    expect(guardOf({ tokenFile })).toEqual({ token: TOKEN });
    chmodSync(tokenFile, 0o644);
    expect(() => guardOf({ tokenFile })).toThrow(/other users may read/);
  });
});

describe('with a token and TLS', () => {
  const port = 22_000 + (process.pid % 18_000);
  const address = `https://127.0.0.1:${port}`;
  let admin: ReturnType<typeof createAdmin>;
  beforeAll(async () => {
    const subject = ['-subj', '/CN=gw1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const made = ['-keyout', file('key.pem'), '-out', file('cert.pem')];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', ...subject, ...made],
      { stdio: 'ignore' },
    );
    writeFileSync(file('token'), TOKEN, { mode: 0o600 });
    writeFileSync(file('wrong'), TOKEN.replace('d', 'e'), { mode: 0o600 });
    const tls = { certFile: file('cert.pem'), keyFile: file('key.pem') };
    admin = createAdmin(source, guardOf({ tokenFile: file('token'), tls }));
    await admin.listen(`127.0.0.1:${port}`);
    vi.stubEnv('FIRSTACK_ADMIN_CA', file('cert.pem'));
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await admin.close();
  });

  it('a request shows the token; health needs none', async () => {
    await expect(askAdmin(address, '/v1/status')).rejects.toThrow(/HTTP 403: the token is missing or wrong/);
    expect(await askAdmin(address, '/livez')).toEqual({ live: true });
    vi.stubEnv('FIRSTACK_ADMIN_TOKEN_FILE', file('wrong'));
    await expect(askAdmin(address, '/v1/act', 'POST')).rejects.toThrow(/HTTP 403/);
    expect(asked).toEqual([]);
    vi.stubEnv('FIRSTACK_ADMIN_TOKEN_FILE', file('token'));
    expect(await askAdmin(address, '/v1/status')).toMatchObject({ ready: { ready: true } });
  });

  it('who shows the token may read under any name', () => {
    const of = (authorization: string, method = 'GET'): string =>
      whyRefused(
        { method, path: '/v1/status', headers: { host: 'gw1.example', authorization }, isLocal: false },
        '192.0.2.1',
        TOKEN,
      );
    expect([of(`Bearer ${TOKEN}`), of('')]).toEqual(['', expect.stringMatching(/asked of an address/)]);
    expect(of(`Bearer ${TOKEN}`, 'POST')).toMatch(/asked of an address/);
  });

  it('a change is noted with who asked for it', async () => {
    await askAdmin(address, '/v1/act', 'POST');
    expect(asked).toEqual(['act by 127.0.0.1']);
  });

  it('a certificate that is not known is not believed', async () => {
    vi.stubEnv('FIRSTACK_ADMIN_CA', undefined);
    await expect(askAdmin(address, '/livez')).rejects.toThrow(/self-signed certificate/);
  });
});
