// Where the admin API is: a Unix socket for one user, and health and metrics alone on loopback, unless the role file names an
// address.
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { AdminSource } from '../../../src/admin/server.js';

const directory = mkdtempSync(join(tmpdir(), 'fs-place-'));
vi.stubEnv('FIRSTACK_RUN_DIR', directory);
const { makePrivate, openAdmin, placeOf, SOCKETS, socketsOf } = await import('../../../src/admin/place.js');
const { askAdmin } = await import('../../../src/admin/client.js');
const { addressOf, askAll } = await import('../../../src/operate/asked.js');
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

let drained = 0;
const source = (instance: string): AdminSource => ({
  programs: [
    {
      ...{
        name: 'test',
        counters: () => ({}),
        carried: () => undefined,
        status: () => ({}),
        metrics: () => [],
      },
      ...{ reads: {}, actions: { drain: () => void drained++ } },
    },
  ],
  ...{ live: () => true, ready: () => ({ ready: true, reasons: [] }), clockOffsetMs: () => undefined },
  ...{ events: () => [], who: () => ({ role: 'gateway', instance }), metrics: () => [] },
  ...{ head: () => ({ instance }), asked: () => {} },
});

describe('the addresses of a role', () => {
  const of = (admin: object) => placeOf({ listen: 'auto', metrics: 'auto', ...admin }, 'gateway', 'gw1');
  const socket = `unix:${SOCKETS}/gateway-gw1.sock`;

  it('are a socket and, for health and metrics, a port on loopback', () => {
    expect(of({})).toEqual({ all: socket, health: '127.0.0.1:7411' });
    expect(of({ metrics: 'off' })).toEqual({ all: socket });
    expect(of({ metrics: '198.18.1.2:9100' })).toEqual({ all: socket, health: '198.18.1.2:9100' });
  });

  it('are the loopback port where the file has a token or a certificate, as in earlier versions', () => {
    expect(of({ tokenFile: 't' })).toEqual({ all: '127.0.0.1:7411' });
    expect(of({ tls: { certFile: 'c', keyFile: 'k' } })).toEqual({ all: '127.0.0.1:7411' });
  });

  it('are those of the file alone where it names admin.listen', () => {
    expect(of({ listen: '127.0.0.1:7411' })).toEqual({ all: '127.0.0.1:7411' });
    expect(of({ listen: 'unix:/run/x.sock' })).toEqual({ all: 'unix:/run/x.sock' });
    expect(of({ listen: 'unix:/run/x.sock', metrics: '[::1]:9100' })).toEqual({
      ...{ all: 'unix:/run/x.sock', health: '[::1]:9100' },
    });
  });
});

describe('a role without admin in its file', () => {
  const port = 24_000 + (process.pid % 16_000);
  const health = `127.0.0.1:${port}`;
  const start = async (instance: string, metrics = 'off') => {
    const admin = openAdmin(source(instance), { listen: 'auto', metrics }, 'gateway', instance);
    await admin.listen();
    return admin;
  };

  it('answers in full on a socket that one user reaches, and is found without options', async () => {
    const admin = await start('gw1', health);
    const path = `${SOCKETS}/gateway-gw1.sock`;
    expect([statSync(SOCKETS).mode & 0o777, statSync(path).mode & 0o777]).toEqual([0o700, 0o600]);
    expect(addressOf({}, 'gateway')).toBe(`unix:${path}`);
    expect(await askAdmin(addressOf({}, 'gateway'), '/v1/status')).toMatchObject({ instance: 'gw1' });
    await askAdmin(addressOf({}, 'gateway'), '/v1/drain', 'POST');
    expect(drained).toBe(1);
    const found = await askAll<{ instance: string }>({}, '/v1/status');
    const own = found.filter((a) => a.admin.startsWith(`unix:${directory}`));
    expect(own.map((a) => a.answer?.instance)).toEqual(['gw1']);
    await admin.close();
    expect(existsSync(path)).toBe(false);
  });

  it('answers health and metrics alone on loopback', async () => {
    const admin = await start('gw1', health);
    expect(await askAdmin(health, '/livez')).toEqual({ live: true });
    expect(await askAdmin(health, '/readyz')).toMatchObject({ ready: true });
    for (const path of ['/v1/status', '/v1/events'])
      await expect(askAdmin(health, path), path).rejects.toThrow(/HTTP 404/);
    await expect(askAdmin(health, '/v1/drain', 'POST')).rejects.toThrow(/HTTP 404/);
    expect(drained).toBe(1);
    await admin.close();
  });

  it('is one of several: the command asks which', async () => {
    const both = [await start('gw1'), await start('gw2')];
    expect(() => addressOf({}, 'gateway')).toThrow(/several: .*gateway-gw1\.sock, .*gateway-gw2\.sock/);
    expect(addressOf({ admin: 'unix:/x' }, 'gateway')).toBe('unix:/x');
    expect(addressOf({}, 'replica')).toBe('127.0.0.1:7413');
    expect(socketsOf('gateway')).toHaveLength(2);
    await Promise.all(both.map((a) => a.close()));
  });

  it('does not start in a directory that others may enter, nor behind a link', () => {
    chmodSync(SOCKETS, 0o755);
    expect(() => makePrivate(SOCKETS)).toThrow(/mode 0700/);
    chmodSync(SOCKETS, 0o700);
    expect(makePrivate(SOCKETS)).toBe(true);
    symlinkSync(SOCKETS, `${directory}/link`);
    expect(() => makePrivate(`${directory}/link`)).toThrow(/mode 0700/);
  });
});
