import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askAdmin } from '../../../src/admin/client.js';
import { type AdminSource, createAdmin } from '../../../src/admin/server.js';

const directory = mkdtempSync(join(tmpdir(), 'fs-admin-'));
const address = `unix:${directory}/admin.sock`;

let acted = 0;
const asked: string[] = [];

/** A role with one program, whose read `echo` answers with its query. */
const source: AdminSource = {
  programs: [
    {
      name: 'test',
      counters: () => ({ 'pass.all': 1 }),
      carried: () => undefined,
      status: () => ({}),
      metrics: () => [],
      reads: {
        echo: {
          query: {
            limit: { type: 'integer', minimum: 1, maximum: 10, default: 3 },
            client: { type: 'string', format: 'ip' },
          },
          answer: (query) => ({ query }),
        },
      },
      actions: { act: () => void acted++ },
    },
  ],
  live: () => true,
  ready: () => ({ ready: true, reasons: [] }),
  clockOffsetMs: () => undefined,
  events: (sinceMs) => [{ sinceMs }],
  who: () => ({ role: 'gateway', instance: 'one' }),
  metrics: () => [],
  head: () => ({}),
  asked: (action, by) => void asked.push(`${action} ${by}`),
};
const admin = createAdmin(source);
beforeAll(() => admin.listen(address));
afterAll(async () => {
  await admin.close();
  rmSync(directory, { recursive: true });
});

const query = async (path: string): Promise<unknown> =>
  (await askAdmin<{ query: unknown }>(address, `/v1/echo${path}`)).query;

it('fills in defaults, and makes numbers of a query that has them as text', async () => {
  expect(await query('')).toEqual({ limit: 3 });
  expect(await query('?limit=7&client=192.0.2.1')).toEqual({ limit: 7, client: '192.0.2.1' });
  expect(await query('?client=2001:db8::1&more=x')).toEqual({ limit: 3, client: '2001:db8::1' });
});

it('refuses values that do not fit', async () => {
  for (const path of ['?limit=0', '?limit=eleven', '?client=unknown', '?client=2001:DB8::1'])
    await expect(query(path), path).rejects.toThrow(/HTTP 400: querystring\/(limit|client) must/);
});

it('answers events since a time, liveness and metrics', async () => {
  expect(await askAdmin(address, '/v1/events?since=5')).toMatchObject({ events: [{ sinceMs: 5 }] });
  expect(await askAdmin(address, '/livez')).toEqual({ live: true });
});

describe('over TCP', () => {
  const tcp = createAdmin(source);
  const port = 20_000 + (process.pid % 20_000);
  beforeAll(() => tcp.listen(`127.0.0.1:${port}`));
  afterAll(() => tcp.close());

  const ask = (method: string, path: string, own: Record<string, string>): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = { ...(method === 'GET' ? {} : { 'content-type': 'application/json' }), ...own };
      const outgoing = request({ host: '127.0.0.1', port, path, method, headers }, (response) => {
        response.resume();
        resolve(response.statusCode!);
      });
      outgoing.on('error', reject);
      outgoing.end(method === 'GET' ? undefined : '{}');
    });

  it.each([
    ['a page of another site', { origin: 'http://evil.example' }],
    ['a page of another site, as a browser says', { 'sec-fetch-site': 'cross-site' }],
    ['a page in a sandbox', { origin: 'null' }],
    ['a page whose name leads here', { host: 'evil.example', origin: 'http://evil.example' }],
    ['another name', { host: 'evil.example' }],
    ['a form', { 'content-type': 'text/plain' }],
    ['a form with fields', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['what only begins as JSON', { 'content-type': 'application/jsonp' }],
  ])('%s changes nothing', async (_, headers) => {
    const before = acted;
    expect(await ask('POST', '/v1/act', headers)).toBe(403);
    expect(acted).toBe(before);
  });

  it('an operator does, by address or by name', async () => {
    for (const host of ['127.0.0.1', `localhost:${port}`, '[::1]:9']) {
      const before = acted;
      expect(await ask('POST', '/v1/act', { host })).toBe(200);
      expect(acted).toBe(before + 1);
      expect(asked.at(-1)).toBe('act 127.0.0.1');
    }
  });

  it('metrics are read by any name, and by no page of another site', async () => {
    expect(await ask('GET', '/livez', { host: 'gw1.example:9100' })).toBe(200);
    expect(await ask('GET', '/v1/status', { origin: 'http://evil.example' })).toBe(403);
    // A page whose own name leads here is of the same origin as what it asks.
    expect(await ask('GET', '/v1/status', { host: 'evil.example' })).toBe(403);
    expect(await ask('GET', '/v1/status', { host: `localhost:${port}` })).toBe(200);
  });
});
