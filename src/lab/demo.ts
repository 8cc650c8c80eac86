/**
 * `lab demo`: shows every configuration step by step on the terminal. Every number that it prints was measured in
 * this run. All of it goes to stdout, in order, because it is the command's result.
 */
import { existsSync } from 'node:fs';
import { describeError, EXIT } from '../errors.js';
import type { RaceRecord } from '../race/record-read.js';
import type { Configuration } from '../race/records.js';
import { RACES, type Race, type Release } from '../race/release.js';
import { type Calibration, calibrate, calibrationLine, calibrationTable } from './calibrate.js';
import { drawRace, ms } from './drawing.js';
import { Lab } from './lab.js';
import { namespaceRoot } from './paths.js';
import { waitUntil } from './process.js';
import { halfOpen, measure, request } from './requests.js';
import { showRouting } from './routed/demo.js';
import { expectedWinner, type Topology } from './topology.js';

export interface DemoOptions {
  topology?: string;
  requests: number;
}

const MEANING: Record<Configuration, string> = {
  A: 'address translation at the gateway',
  B: "the replica answers with the origin server's address",
  C: 'tunnels between gateway and replica',
};

const colours = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint = (code: number, text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
const [bold, green, red, dim] = [1, 32, 31, 2].map((code) => (text: string) => paint(code, text));

function say(...lines: string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`);
}
const step = (line: string) => say(dim(`- ${line}`));
const title = (line: string) => say('', bold(line), bold('-'.repeat(line.length)));

/** @returns 0 only if every configuration behaved as expected and nothing is left behind */
export async function labDemo(o: DemoOptions): Promise<number> {
  const wrong: string[] = [];
  title('firstack: the first acknowledgement to come back carries the connection');
  const lab = await Lab.create({
    name: `demo-${process.pid}`,
    topology: o.topology,
    roles: false,
    progress: step,
  });
  try {
    const calibration = await calibrate(lab.name, lab.topology);
    showCalibration(calibration);
    if (!calibration.calibrated) wrong.push('the WAN is not calibrated');
    for (const configuration of ['A', 'B', 'C'] as const) {
      wrong.push(...(await showConfiguration(lab, configuration, o.requests)));
    }
    wrong.push(...(await showImmediate(lab, calibration)));
    wrong.push(...(await showRaces(lab, o.requests)));
  } catch (error) {
    for (const line of describeError(error)) say(red(line));
    wrong.push('the demo could not be finished');
  }
  wrong.push(...(await takeDown(lab)));
  wrong.push(...(await demonstrateRouting()));
  say('');
  for (const line of wrong) say(red(`WRONG: ${line}`));
  say(
    wrong.length === 0
      ? green(bold('VERDICT: A, B, C and routing behaved as expected.'))
      : red(bold('VERDICT: not everything behaved as expected.')),
  );
  return wrong.length === 0 ? EXIT.ok : EXIT.expectation;
}

async function demonstrateRouting(): Promise<string[]> {
  title('Another program on the same roles: service-level routing');
  try {
    return await showRouting(say, step);
  } catch (error) {
    for (const line of describeError(error)) say(red(line));
    return ['service-level routing could not be shown'];
  }
}

function showCalibration(calibration: Calibration): void {
  title('The wide-area network: one-way delays, requested/measured in ms');
  say(...calibrationTable(calibration), calibrationLine(calibration));
}

async function showConfiguration(
  lab: Lab,
  configuration: Configuration,
  requests: number,
): Promise<string[]> {
  title(`Configuration ${configuration}: ${MEANING[configuration]}`);
  await restart(lab, configuration, 'synchronized');
  const wrong: string[] = [];
  const expected = expectedWinner(lab.topology, 'synchronized');
  const record = await showRace(lab, expected, wrong);
  if (record !== undefined) {
    const mine = lab.topology.delaysMs[expected].gateway;
    say(`${expected} has the shortest way back to the client's gateway (${mine} ms), so it should win.`);
  }
  const m = await measure(lab, { release: 'synchronized', requests, concurrency: 4 });
  const served = Object.entries(m.servedBy).map(([name, count]) => `${name} ${count}`);
  say(
    `${m.ok}/${m.requests} requests answered; served by ${served.join(', ') || 'no machine'} (expected ${m.expected}); ` +
      `connect p50 ${m.connectMs.p50} ms; ${m.losersReset} losers reset.`,
  );
  wrong.push(...m.complaints);
  return wrong.map((line) => `${configuration}: ${line}`);
}

/** Sends one request and draws its race. Problems are added to `wrong`. */
async function showRace(lab: Lab, expected: string, wrong: string[]): Promise<RaceRecord | undefined> {
  step('client: curl http://203.0.113.10/');
  const result = await request(lab);
  if (!result.ok) {
    wrong.push(`the request failed: ${result.error}`);
    return undefined;
  }
  const record = await raceOf(lab, result.clientPort);
  if (record === undefined) {
    wrong.push('the gateway has no record of the race');
    return undefined;
  }
  say(...drawRace(record).map((line) => (/ won$/.test(line) ? green(line) : line)));
  const losers = record.candidates.filter((c) => c.verdict !== 'won');
  const second = losers.filter((c) => c.replyUs !== null).sort((a, b) => a.replyUs! - b.replyUs!)[0];
  const margin = second === undefined ? '' : `, ${ms(record.marginUs ?? 0)} ms before ${second.id}`;
  say(
    `${record.winner} won: its acknowledgement came first${margin}. The page says: served by ${result.servedBy}.`,
  );
  const left = Object.entries(await settledHalfOpen(lab)).filter(([, count]) => count > 0);
  const ends = losers.map((c) => `${c.id} ${c.verdict}`).join(', ');
  say(
    `The losers: ${ends}. Half-open connections left on the servers' kernels: ` +
      `${left.length === 0 ? 'none' : left.map(([host, n]) => `${host} ${n}`).join(', ')}.`,
  );
  if (record.winner !== expected) wrong.push(`${record.winner} won the race, not ${expected}`);
  if (record.winner !== result.servedBy) wrong.push(`${record.winner} won, but ${result.servedBy} served`);
  const open = losers.filter((c) => c.replyUs !== null && c.verdict !== 'reset');
  for (const c of open) wrong.push(`${c.id} lost and was not reset (${c.verdict})`);
  if (left.length > 0) wrong.push('a loser kept its half-open connection');
  return record;
}

/** The record of one connection's race, once every candidate has answered or has had the time to. */
async function raceOf(lab: Lab, clientPort: number): Promise<RaceRecord | undefined> {
  let record: RaceRecord | undefined;
  await waitUntil(async () => {
    const races = await lab.roles.races(20);
    record = races.find((r) => new RegExp(`[^0-9]${clientPort}$`).test(r.client)) ?? record;
    return record?.candidates.every((c) => c.replyUs !== null) ?? false;
  }, 2000);
  return record;
}

async function settledHalfOpen(lab: Lab): Promise<Record<string, number>> {
  await waitUntil(() => Object.values(halfOpen(lab)).every((n) => n === 0), 1000);
  return halfOpen(lab);
}

async function showImmediate(lab: Lab, calibration: Calibration): Promise<string[]> {
  title('The same race as published: configuration A, every copy released at once');
  await restart(lab, 'A', 'immediate');
  const wrong: string[] = [];
  const nearest = expectedWinner(lab.topology, 'synchronized');
  const expected = expectedWinner(lab.topology, 'immediate');
  const record = await showRace(lab, expected, wrong);
  if (record?.winner) say(...why(lab.topology, calibration, record, record.winner, nearest));
  return wrong.map((line) => `immediate: ${line}`);
}

const RACE_MEANING: Record<Race, string> = {
  origin: 'the origin copies the SYN, in time',
  gateway: 'the gateway asks every candidate',
  learned: 'the gateway asks the learned winner',
};

/** The three races side by side, in configuration A. */
async function showRaces(lab: Lab, requests: number): Promise<string[]> {
  title('Who sends the copies: three races side by side, configuration A');
  const wrong: string[] = [];
  const rows: string[] = [];
  for (const race of RACES) {
    await restart(lab, 'A', 'synchronized', race);
    const m = await measure(lab, { race, release: 'synchronized', requests, concurrency: 4 });
    wrong.push(...m.complaints.map((c) => `race ${race}: ${c}`));
    const [host, counters] =
      race === 'origin' ? ['origin', ['emit.copy', 'queued.copy']] : ['gateway', ['emit.syn-copy']];
    let copies = 0;
    for (const counter of counters) copies += await lab.roles.counter(host as string, counter);
    const served = Object.entries(m.servedBy).map(([name, count]) => `${name} ${count}`);
    rows.push(
      `${race.padEnd(9)} ${RACE_MEANING[race].padEnd(38)} ${served.join(', ').padEnd(12)} ` +
        `${m.connectMs.p50.toFixed(1).padStart(8)} ${(1 + copies / m.requests).toFixed(2).padStart(11)}`,
    );
  }
  const heads = `${'race'.padEnd(9)} ${''.padEnd(38)} ${'served by'.padEnd(12)} ${'p50 ms'.padStart(8)} ${'SYNs/conn.'.padStart(11)}`;
  const [nearest, d] = [expectedWinner(lab.topology, 'synchronized', 'gateway'), lab.topology.delaysMs];
  say(
    heads,
    ...rows,
    `The round trip to ${nearest}, the nearest, is ${d.gateway[nearest] + d[nearest].gateway} ms.`,
  );
  return wrong;
}

function why(t: Topology, c: Calibration, record: RaceRecord, winner: string, nearest: string): string[] {
  const delay = (path: string) => c.paths.find((p) => p.path === path)?.measuredMs ?? Number.NaN;
  const back = (id: string) => delay(`${id}>gateway`).toFixed(1);
  const way = (id: string) =>
    id === 'origin'
      ? `${back(id)} ms straight back from the origin`
      : `${delay(`origin>${id}`).toFixed(1)} ms to ${id} and ${back(id)} ms back, ` +
        `${(delay(`origin>${id}`) + delay(`${id}>gateway`)).toFixed(1)} ms`;
  if (winner === nearest) {
    return [`${winner} is nearest here and so close to the origin that either release finds it.`];
  }
  const reply = (id: string) => record.candidates.find((x) => x.id === id)?.replyUs;
  const behind = (reply(nearest) ?? Number.NaN) - (reply(winner) ?? Number.NaN);
  return [
    `Released at once, the copies had to travel first: ${way(nearest)},`,
    `against ${way(winner)}. So ${winner} answered ${ms(behind)} ms earlier, although ${nearest}`,
    `is ${(t.delaysMs[winner].gateway - t.delaysMs[nearest].gateway).toFixed(0)} ms nearer to the client. ` +
      'The synchronized release takes that head start away.',
  ];
}

async function restart(
  lab: Lab,
  configuration: Configuration,
  release: Release,
  race: Race = 'origin',
): Promise<void> {
  await lab.stopRoles();
  await lab.restartWebServers();
  await lab.startRoles({ configuration, race, release });
}

async function takeDown(lab: Lab): Promise<string[]> {
  say('');
  step('removing everything');
  const { namespaces } = lab.state.record;
  await lab.down();
  const left = namespaces.filter((n) => existsSync(`${namespaceRoot}/${n.name}`)).map((n) => n.name);
  if (existsSync(lab.directory)) left.push(lab.directory);
  return left.map((what) => `${what} is left`);
}
