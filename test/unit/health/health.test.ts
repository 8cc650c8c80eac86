import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { checkLine, Health, type HealthConfig, healthProblem } from '../../../src/health/health.js';

const OFTEN = { intervalMs: 50, timeoutMs: 300, rise: 1, fall: 1 };
const servers: Server[] = [];
const checks: Health[] = [];

afterEach(async () => {
  for (const h of checks.splice(0)) h.stop();
  for (const s of servers.splice(0)) await new Promise((resolve) => s.close(resolve));
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** The result of the first check. */
async function first(config: Partial<HealthConfig>): Promise<Health> {
  const health = new Health({ ...OFTEN, ...config }, () => {});
  checks.push(health);
  await health.start();
  return health;
}

describe('a health check as a line of shell', () => {
  const run = (config: Partial<HealthConfig>): number | null =>
    spawnSync('sh', ['-c', checkLine({ ...OFTEN, ...config })]).status;

  it('is what an operator can run', () => {
    expect(checkLine({ ...OFTEN, http: 'http://h:80/x' })).toBe(
      'curl -sS -o /dev/null -D - -m 1 http://h:80/x',
    );
    expect(checkLine({ ...OFTEN, timeoutMs: 2500, tcp: '10.0.0.1:80' })).toBe(
      "timeout 3 bash -c '</dev/tcp/10.0.0.1/80'",
    );
    expect(checkLine({ ...OFTEN, command: ['/bin/test', '-e', "a file's"] })).toBe(
      "/bin/test -e 'a file'\\''s'",
    );
    expect(checkLine(OFTEN)).toBe('');
  });

  it('ends with 0 or another status as the check does', async () => {
    expect(run({ command: ['sh', '-c', 'exit 3'] })).toBe(3);
    expect(run({ command: ['test', "it's", '=', "it's"] })).toBe(0);
    expect(run({ tcp: '127.0.0.1:1' })).not.toBe(0);
    const port = await listen(createTcp());
    // The kernel accepts while this process waits.
    expect(run({ tcp: `127.0.0.1:${port}` })).toBe(0);
  });
});

describe('a health check', () => {
  it('by HTTP: 2xx and 3xx are healthy', async () => {
    for (const [code, reason] of [
      [204, ''],
      [302, ''],
      [404, 'health check: HTTP 404'],
      [503, 'health check: HTTP 503'],
    ] as const) {
      const port = await listen(createServer((_, response) => response.writeHead(code).end()));
      expect((await first({ http: `http://127.0.0.1:${port}/healthz` })).reason).toBe(reason);
    }
  });

  it('by HTTP: no answer is unhealthy', async () => {
    const port = await listen(createServer(() => {}));
    const { reason } = await first({ http: `http://127.0.0.1:${port}/`, timeoutMs: 60 });
    expect(reason).toBe('health check: no answer in 60 ms');
  });

  it('by TCP: an accepted connection is healthy', async () => {
    const port = await listen(createTcp());
    expect((await first({ tcp: `127.0.0.1:${port}` })).healthy).toBe(true);
    await new Promise((resolve) => servers.splice(0)[0].close(resolve));
    expect((await first({ tcp: `127.0.0.1:${port}` })).reason).toMatch(/ECONNREFUSED/);
  });

  it('by command: exit code 0 is healthy; its output is the reason', async () => {
    expect((await first({ command: ['true'] })).reason).toBe('');
    expect((await first({ command: ['sh', '-c', 'echo disk full >&2; exit 3'] })).reason).toBe(
      'health check: sh ended with 3: disk full',
    );
    expect((await first({ command: ['sleep', '5'], timeoutMs: 50 })).reason).toBe(
      'health check: sleep did not end in 50 ms',
    );
    expect((await first({ command: ['/nowhere/check'] })).reason).toBe(
      'health check: /nowhere/check: ENOENT',
    );
  });

  it('becomes healthy after `rise` consecutive successes, and unhealthy after `fall` failures', async () => {
    const answers = [500, 200, 200, 200, 500, 200, 500, 500, 500];
    let asked = 0;
    let changes: string[] = [];
    const port = await listen(
      createServer((_, response) => {
        changes.push(health.healthy ? 'up' : 'down');
        response.writeHead(answers[Math.min(asked++, answers.length - 1)]).end();
      }),
    );
    const config = { ...OFTEN, http: `http://127.0.0.1:${port}/`, rise: 3, fall: 2 };
    const told: boolean[] = [];
    const health = new Health(config, () => told.push(health.healthy));
    checks.push(health);
    await health.start();
    while (asked < answers.length + 1) await new Promise((resolve) => setTimeout(resolve, 20));
    // The state when each request came: up after the third 200, down after the second 500 in a row.
    changes = changes.slice(0, answers.length);
    expect(changes).toEqual(['down', 'down', 'down', 'down', 'up', 'up', 'up', 'up', 'down']);
    expect(told).toEqual([true, false]);
  });

  it('has exactly one of three kinds', () => {
    expect(healthProblem({ ...OFTEN })).not.toBe('');
    expect(healthProblem({ ...OFTEN, tcp: 'a:1', command: ['x'] })).not.toBe('');
    expect(healthProblem({ ...OFTEN, command: ['x'] })).toBe('');
  });
});
