// The load generator and the recipes, on one laboratory. Every answer is checked by its hash, and its server by the
// header that the web server wrote. The speed is printed, never asserted.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import { cliScript, packageRoot } from '../../src/lab/paths.js';
import { waitUntil } from '../../src/lab/process.js';
import { expectedWinner } from '../../src/lab/topology.js';
import type { Report } from '../../src/load/report.js';

const NAME = `load-t${process.pid}`;
let lab: Lab;
let nearest: string;

beforeAll(async () => {
  const topology = `${packageRoot}/test/load/iperf3.yaml`;
  lab = await Lab.create({ name: NAME, seed: 1, topology, configuration: 'A' });
  nearest = expectedWinner(lab.topology, 'synchronized');
});
afterAll(async () => {
  await lab?.down();
});

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

function run(command: string, args: string[], env = process.env): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    const out = { stdout: '', stderr: '' };
    child.stdout.on('data', (part) => (out.stdout += part));
    child.stderr.on('data', (part) => (out.stderr += part));
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, ...out }));
  });
}

const load = (...args: string[]) => run(process.execPath, [cliScript, 'load', ...args]);
const recipe = (name: string, options = '') =>
  run(`${packageRoot}/test/load/${name}`, options === '' ? [] : options.split(' '));

/** The number of requests for a path that each web server has logged, once all together have logged `count`. */
async function logged(path: string, count: number): Promise<Record<string, number>> {
  const lines = () =>
    [...lab.webServers.values()]
      .flatMap((w) => w.accessLog())
      .filter((line) => line.request === `GET ${path} HTTP/1.1`)
      .map((line) => line.host);
  // nginx writes its log line after it has sent the last byte, so the client may end before.
  await waitUntil(() => lines().length >= count, 3000);
  const counts: Record<string, number> = {};
  for (const host of lines()) counts[host] = (counts[host] ?? 0) + 1;
  return counts;
}

const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((a, b) => a + b, 0);

describe('firstack load --lab', () => {
  it('checks every body, names its server, and adds up; with JSON, plot and progress bar', async () => {
    const svg = `${lab.directory}/load.svg`;
    const profile = ['--rate', '50', '--duration', '5s', '--arrivals', 'poisson', '--seed', '7'];
    const more = ['--json', '--svg', svg, '--progress'];
    const { status, stdout, stderr } = await load('--lab', NAME, ...profile, ...more);
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/^load: \[#+\] 5\.0\/5\.0 s/m),
    });

    const report = JSON.parse(stdout) as Report;
    const { scheduled, started, ok, failed, missed, unsent } = report;
    expect({ failed, missed, unsent, errors: report.errors }).toEqual({
      failed: 0,
      missed: 0,
      unsent: 0,
      errors: {},
    });
    expect(ok).toBe(started);
    expect(started).toBe(scheduled);
    expect(report).toMatchObject({ seed: 7, arrivals: 'poisson', mode: 'http', verified: true });
    expect(report.bodyBytes).toBe(ok * 64 * 1024);
    expect(report.timeline.map((s) => s.atS)).toEqual([0, 1, 2, 3, 4]);
    expect(report.timeline.reduce((n, s) => n + s.ok, 0)).toBe(ok);
    // The header agrees with each web server's own log, request by request. On a machine that is busy with other work
    // the second nearest may win a race: the nearest has most requests, not necessarily all.
    const { pathname } = new URL(report.url);
    const byHeader = Object.fromEntries(Object.entries(report.replicas).map(([name, of]) => [name, of.ok]));
    expect(await logged(pathname, ok)).toEqual(byHeader);
    expect(byHeader[nearest]).toBeGreaterThan(ok / 2);
    // A bound of the emulated paths: no acknowledgement can arrive before a round trip by way of the origin.
    const d = lab.topology.delaysMs;
    expect(report.latencyMs.connect!.p50).toBeGreaterThan(
      d.gateway.origin + d.origin[nearest] + d[nearest].gateway - 2,
    );

    const drawing = readFileSync(svg, 'utf8');
    expect(drawing).toMatch(/<title>[^<]*203\.0\.113\.10/);
    for (const name of ['ok', 'p50', 'p99', 'failed', 'missed']) expect(drawing).toContain(`>${name}</text>`);
  });

  it('only opens connections in connect mode', async () => {
    const { status, stdout } = await load('--lab', NAME, '--mode', 'connect', '--ramp', '5:20:1s', '--json');
    const report = JSON.parse(stdout) as Report;
    expect({ status, mode: report.mode, failed: report.failed }).toEqual({
      status: 0,
      mode: 'connect',
      failed: 0,
    });
    expect(report.ok).toBe(report.scheduled);
  });

  it('tells right bodies from wrong ones', async () => {
    const profile = ['--rate', '10', '--duration', '1s', '--json'];
    const outcomeOf = async (...args: string[]) => {
      const { status, stdout, stderr } = await load('--lab', NAME, ...profile, ...args);
      const { ok, errors } = JSON.parse(stdout || stderr) as Report;
      return { status, ok, errors };
    };
    const all = { status: 0, ok: 10, errors: {} };
    const none = { status: 1, ok: 0, errors: { 'hash-mismatch': 10 } };
    expect(await outcomeOf('--path', '/', '--sha256', '0'.repeat(64))).toEqual(none);
    // On / each web server names itself, so every page has another hash.
    const pages = [...lab.webServers.values()].map((w) => `served by ${w.servedBy}\n`);
    const hashes = pages.map((page) => createHash('sha256').update(page).digest('hex'));
    expect(await outcomeOf('--path', '/', ...hashes.flatMap((h) => ['--sha256', h]))).toEqual(all);
    // The file of the first test is the same on every machine.
    expect(await outcomeOf('--path', '/blob/load-65536', '--verify')).toEqual(all);
  });

  it('refuses an unknown laboratory, and bad options, with a code', async () => {
    const unknown = await load('--lab', 'load-nowhere');
    expect(unknown).toMatchObject({ status: 78, stdout: '' });
    expect(unknown.stderr).toMatch(/^FSA_LAB_UNKNOWN: no laboratory 'load-nowhere'/);
    const usage = await load('--lab', NAME, '--rate', 'fast');
    expect(usage).toMatchObject({
      status: 2,
      stdout: '',
      stderr: 'FSA_USAGE: --rate fast: arrivals a second\n',
    });
    expect((await load()).status).toBe(2);
  });
});

describe('recipes', () => {
  it('wrk: as many requests as a few connections carry', async () => {
    const options = `--lab ${NAME} --seconds 2 --connections 4 --path /?wrk`;
    const { status, stdout, stderr } = await recipe('wrk.sh', options);
    expect(status, stderr + stdout).toBe(0);
    expect(stdout).toMatch(/\d+ requests in \d/);
    expect(sum(await logged('/?wrk', 1))).toBeGreaterThan(0);
  });

  it('h2load: a race per request', async () => {
    const options = `--lab ${NAME} --seconds 2 --rate 10 --path /?h2load`;
    const { status, stdout, stderr } = await recipe('h2load.sh', options);
    expect(status, stderr + stdout).toBe(0);
    expect(stdout).toMatch(/requests: 20 total, 20 started, 20 done, 20 succeeded, 0 failed/);
    expect(sum(await logged('/?h2load', 20))).toBe(20);
  });

  it.each(['wrk.sh --connections 2', 'h2load.sh --rate 2'])(
    '%s: failed requests are a failure',
    async (text) => {
      const [name, ...options] = text.split(' ');
      const { status, stderr } = await recipe(
        name,
        `${options.join(' ')} --lab ${NAME} --seconds 1 --path /none`,
      );
      expect(status).toBe(1);
      expect(stderr).toMatch(/requests failed, see above$/m);
    },
  );

  it('iperf3: a flow through the race, to iperf3 servers on every machine', async () => {
    const { status, stdout, stderr } = await recipe('iperf3.sh', `--lab ${NAME} --seconds 2 --json`);
    expect(status, stderr + stdout).toBe(0);
    expect(stderr).toMatch(/through firstack/);
    const { start, end } = JSON.parse(stdout);
    expect(start.connected[0].remote_host).toBe('203.0.113.11');
    expect(end.sum_received.bytes).toBeGreaterThan(0);
  });

  it.each(['wrk.sh', 'h2load.sh', 'iperf3.sh'])(
    '%s prints its usage, and names a missing tool',
    async (name) => {
      expect((await recipe(name)).status).toBe(2);
      const help = await recipe(name, '--help');
      expect(help.status).toBe(0);
      expect(help.stdout).toMatch(/^usage: .* --lab NAME$/m);
      // A PATH with a shell's own tools only.
      const bare = `${lab.directory}/bare`;
      await run('sh', [
        '-c',
        `mkdir -p ${bare}; for c in sh dirname sed id; do ln -sf $(command -v $c) ${bare}/; done`,
      ]);
      const env = { ...process.env, PATH: bare };
      const missing = await run(`${packageRoot}/test/load/${name}`, ['http://192.0.2.1/'], env);
      expect(missing.status).toBe(69);
      expect(missing.stderr).toMatch(
        /is not installed; on Debian: apt-get install --no-install-recommends \S+$/m,
      );
    },
  );
});
