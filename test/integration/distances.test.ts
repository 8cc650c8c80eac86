// Distances of members from a table of this host's kernel, which a real BIRD fills.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { distancesOf, routesIn } from '../../origin/routing/distances.js';
import { waitUntil } from '../../src/lab/process.js';
import { bed } from './kernel-bed.js';

bed('distances');

/** As in `deploy/routing.md`, with static routes in the place of a protocol's. */
const BIRD = `router id 1.1.1.1;
protocol device { }
ipv4 table distances;
protocol static {
  ipv4 { table distances; };
  route 198.51.100.7/32 via 172.31.0.2 { krt_metric = 30; };
  route 198.51.101.0/24 via 172.31.0.2 { krt_metric = 5; };
}
protocol kernel { kernel table 7481; metric 0; ipv4 { table distances; export all; import none; }; }
`;
const home = mkdtempSync('/tmp/firstack-bird-');
let bird: ChildProcess;

beforeAll(() => {
  writeFileSync(`${home}/bird.conf`, BIRD);
  const argv = ['-f', '-c', `${home}/bird.conf`, '-s', `${home}/bird.sock`, '-P', `${home}/bird.pid`];
  bird = spawn('bird', argv, { stdio: 'ignore' });
});
afterAll(async () => {
  const ended = new Promise((resolve) => bird.once('exit', resolve));
  bird.kill();
  await ended;
  rmSync(home, { recursive: true });
});

it('are the metrics of the routes that BIRD writes; a table without routes tells none', async () => {
  expect(await routesIn(7482)).toEqual([]);
  expect(await waitUntil(async () => (await routesIn(7481)).length === 2, 10_000)).toBe(true);
  const members = [
    { id: 't1', address: '198.51.100.7' },
    { id: 't2', address: '198.51.101.9' },
    { id: 't3', address: '203.0.113.9' },
  ];
  expect(distancesOf(await routesIn(7481), members)).toEqual({ t1: 30, t2: 5 });
});
