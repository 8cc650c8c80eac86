/**
 * Real requests, each sent by an unmodified curl, and the machines that served them: by the header that the web
 * server wrote, and by the web servers' own access logs. Nothing relies on what firstack itself reports.
 */
import { readFileSync } from 'node:fs';
import type { Race, Release } from '../race/release.js';
import type { Lab } from './lab.js';
import { namespaceOf, SERVICE6, within } from './network.js';
import { pause, waitUntil } from './process.js';
import { expectedWinner } from './topology.js';
import type { WebServer } from './web-server.js';

export interface RequestResult {
  ok: boolean;
  /** X-Served-By; '' when there was no response. */
  servedBy: string;
  connectMs: number;
  clientPort: number;
  /** The reason why the request failed. */
  error: string;
}

export interface Measurement {
  requests: number;
  ok: number;
  servedBy: Record<string, number>;
  expected: string;
  connectMs: { p50: number; p95: number };
  losersReset: number;
  /** Problems in words; empty when everything was as expected. */
  complaints: string[];
}

export interface MeasureOptions {
  requests: number;
  concurrency: number;
  release: Release;
  race?: Race;
}

const RESET_COUNTER = 'emit.loser-reset';

/** One curl in the client's namespace. @param family 6: to the service's IPv6 twin */
export async function request(lab: Lab, path = '/', family: 4 | 6 = 4): Promise<RequestResult> {
  const { ports } = lab.topology.services[0];
  const address = family === 6 ? `[${SERVICE6.address}]` : lab.topology.services[0].address;
  const port = ports[0] === 80 ? '' : `:${ports[0]}`;
  const format = '\n%{http_code} %{time_connect} %{local_port}';
  const argv = ['curl', '-sS', '--max-time', '20', '--noproxy', '*', '-D', '-', '-w', format];
  const { status, stdout, stderr } = await lab.exec('client', [...argv, `http://${address}${port}${path}`]);
  const lines = stdout.split('\n');
  const [code, connect, local] = (lines.pop() ?? '').split(' ');
  const servedBy = /^X-Served-By: (\S+)\r?$/im.exec(stdout)?.[1] ?? '';
  let error = '';
  if (status !== 0) error = `curl ended with ${status}: ${stderr.trim()}`;
  else if (code !== '200') error = `HTTP status ${code}`;
  else if (!stdout.includes(`\nserved by ${servedBy}\n`)) error = `the page is not the one of '${servedBy}'`;
  return { ok: error === '', servedBy, connectMs: Number(connect) * 1000, clientPort: Number(local), error };
}

/** @param step called after each request with the number of finished ones */
export async function requestMany(
  lab: Lab,
  requests: number,
  concurrency: number,
  step: (done: number) => void = () => {},
  family: 4 | 6 = 4,
): Promise<RequestResult[]> {
  const results: RequestResult[] = [];
  let begun = 0;
  const worker = async () => {
    while (begun < requests) {
      begun++;
      results.push(await request(lab, '/', family));
      step(results.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, requests) }, worker));
  return results;
}

/** Sends requests, and collects everything that shows how they were served. The roles must be ready. */
export async function measure(
  lab: Lab,
  options: MeasureOptions,
  step?: (done: number) => void,
): Promise<Measurement> {
  const servers = [...lab.webServers.values()];
  const seen = new Map(servers.map((w) => [w.servedBy, w.accessLog().length]));
  const resetsBefore = await lab.roles.counter('gateway', RESET_COUNTER);
  const results = await requestMany(lab, options.requests, options.concurrency, step);
  const losersReset = (await settledCounter(lab)) - resetsBefore;

  const servedBy = tally(results.filter((r) => r.ok).map((r) => r.servedBy));
  const expected = expectedWinner(lab.topology, options.release, options.race);
  const complaints: string[] = [];
  const failures = results.filter((r) => !r.ok);
  for (const [error, count] of Object.entries(tally(failures.map((f) => f.error)))) {
    complaints.push(`${count} of ${options.requests} requests failed: ${error}`);
  }
  for (const [name, count] of Object.entries(servedBy)) {
    if (name !== expected) complaints.push(`${count} requests were served by ${name}, not ${expected}`);
  }

  // nginx writes its log line after it has sent the last byte, so curl may end before.
  const logged = () => tallyOfLogs(servers, seen);
  const agrees = () => sameTally(logged(), servedBy);
  if (failures.length === 0 && !(await waitUntil(agrees, 2000))) {
    complaints.push(
      `the web servers logged ${JSON.stringify(logged())}, the clients saw ${JSON.stringify(servedBy)}`,
    );
  }
  return {
    requests: options.requests,
    ok: options.requests - failures.length,
    servedBy,
    expected,
    connectMs: quantiles(results.filter((r) => r.ok).map((r) => r.connectMs)),
    losersReset,
    complaints,
  };
}

/** The losers' acknowledgements arrive after the winner's: waits until no more resets are sent. */
async function settledCounter(lab: Lab): Promise<number> {
  let count = await lab.roles.counter('gateway', RESET_COUNTER);
  let quietSince = performance.now();
  const end = quietSince + 3000;
  while (performance.now() - quietSince < 300 && performance.now() < end) {
    await pause(50);
    const next = await lab.roles.counter('gateway', RESET_COUNTER);
    if (next !== count) quietSince = performance.now();
    count = next;
  }
  return count;
}

function tallyOfLogs(servers: WebServer[], seen: Map<string, number>) {
  const names: string[] = [];
  for (const w of servers) {
    const lines = w.accessLog().slice(seen.get(w.servedBy));
    names.push(...lines.filter((l) => l.status === 200).map((l) => l.host));
  }
  return tally(names);
}

/** Connections in SYN-RECEIVED on each server's kernel: a loser that was not reset would leave one. */
export function halfOpen(lab: Lab): Record<string, number> {
  const SYN_RECV = '03';
  return Object.fromEntries(
    [...lab.webServers.keys()].map((host) => {
      const table = within(namespaceOf(lab.name, host), () =>
        readFileSync('/proc/thread-self/net/tcp', 'utf8'),
      );
      const states = table.split('\n').map((line) => line.trim().split(/\s+/)[3]);
      return [host, states.filter((s) => s === SYN_RECV).length];
    }),
  );
}

function tally(names: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of [...names].sort()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function sameTally(a: Record<string, number>, b: Record<string, number>): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function quantiles(values: number[]): { p50: number; p95: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number) =>
    sorted.length === 0
      ? 0
      : Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] * 10) / 10;
  return { p50: at(0.5), p95: at(0.95) };
}
