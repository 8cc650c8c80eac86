/**
 * Topologies from a matrix of measured round trips: tab-separated, row i column j from host i to host j, in ms; plain
 * or gzipped. Gateway, origin and the machines of a farm are drawn from it by a seed.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { FirstackError } from '../errors.js';
import { generator } from '../load/generator.js';
import { machineNames } from './farm.js';
import type { Topology } from './topology.js';

export interface Matrix {
  file: string;
  size: number;
  /** Row after row. */
  roundTripsMs: Float64Array;
}

/** The least share of a round trip that one direction takes where paths are asymmetric; the other takes the rest. */
const LEAST_SHARE = 0.35;
const GZIP_MAGIC = [0x1f, 0x8b];
const MOST_MS = 10_000;

/** @throws FirstackError FSA_CONFIG_UNREADABLE, FSA_CONFIG_VALUE with the file, and the row and column where one is wrong */
export function readMatrix(file: string): Matrix {
  const rows = textOf(file)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
  const size = rows.length;
  const wrong = (message: string): never => {
    throw new FirstackError('FSA_CONFIG_VALUE', `${file}: ${message}`);
  };
  if (size < 2) wrong('a matrix of round trips has two rows at least, of numbers separated by tabs');
  const roundTripsMs = new Float64Array(size * size);
  for (const [i, row] of rows.entries()) {
    if (row.length !== size) wrong(`row ${i + 1} has ${row.length} numbers, the file has ${size} rows`);
    for (const [j, text] of row.entries()) {
      const ms = Number(text);
      if (text.trim() === '' || !(ms >= 0 && ms <= MOST_MS))
        wrong(`row ${i + 1}, column ${j + 1}: '${text}' is no round trip of 0 to ${MOST_MS} ms`);
      roundTripsMs[i * size + j] = ms;
    }
  }
  return { file, size, roundTripsMs };
}

function textOf(file: string): string {
  try {
    const bytes = readFileSync(file);
    const isZipped = GZIP_MAGIC.every((byte, n) => bytes[n] === byte);
    return (isZipped ? gunzipSync(bytes) : bytes).toString('utf8');
  } catch (error) {
    throw new FirstackError('FSA_CONFIG_UNREADABLE', `${file}: ${(error as Error).message}`);
  }
}

/** One-way delays in ms between gateway, origin and the machines of a farm: by machine, to and from each. */
export interface DrawnDelays {
  /** The rows of the matrix: gateway, origin, m1 … */
  rows: number[];
  /** "from>to" */
  delaysMs: Record<string, number>;
}

/**
 * Draws gateway, origin and `machines` machines, all different.
 * @throws FirstackError FSA_CONFIG_VALUE where the matrix is too small
 */
export function drawDelays(
  matrix: Matrix,
  machines: number,
  seed: number,
  isAsymmetric: boolean,
): DrawnDelays {
  if (machines + 2 > matrix.size)
    throw new FirstackError(
      'FSA_CONFIG_VALUE',
      `${matrix.file}: ${matrix.size} hosts, which is too few for a gateway, an origin and ${machines} replicas`,
    );
  const random = generator(seed);
  const rows = Array.from({ length: matrix.size }, (_, i) => i);
  // The first part of a shuffle (Fisher, Yates).
  for (let i = 0; i < machines + 2; i++) {
    const j = i + Math.floor(random() * (matrix.size - i));
    [rows[i], rows[j]] = [rows[j], rows[i]];
  }
  rows.length = machines + 2;
  const names = ['gateway', 'origin', ...machineNames(machines)];
  const delaysMs: Record<string, number> = {};
  const pair = (a: number, b: number): void => {
    const ms = matrix.roundTripsMs[rows[a] * matrix.size + rows[b]];
    const share = isAsymmetric ? LEAST_SHARE + random() * (1 - 2 * LEAST_SHARE) : 0.5;
    delaysMs[`${names[a]}>${names[b]}`] = rounded(ms * share);
    delaysMs[`${names[b]}>${names[a]}`] = rounded(ms * (1 - share));
  };
  pair(0, 1);
  for (let m = 2; m < names.length; m++) {
    pair(0, m);
    pair(1, m);
  }
  return { rows, delaysMs };
}

/** A fleet of many services, and machines to spare. */
export interface DrawnFleet extends DrawnDelays {
  /** By service: the machines that carry it. */
  services: string[][];
}

/**
 * Draws gateway, origin and, for each service, `each` machines at different hosts of the matrix. Machines of two services
 * may be at one host, as those of a data centre are: a fleet may be larger than the matrix. `spare` more machines belong
 * to no service, and are far away.
 * @throws FirstackError FSA_CONFIG_VALUE where the matrix is too small
 */
export function drawFleet(
  matrix: Matrix,
  { services, each, spare }: { services: number; each: number; spare: number },
  seed: number,
  isAsymmetric: boolean,
): DrawnFleet {
  const fleet: DrawnFleet = { rows: [], delaysMs: {}, services: [] };
  const { delaysMs } = fleet;
  const names = machineNames(services * each + spare);
  const [gateway, origin] = drawDelays(matrix, each, seed, isAsymmetric).rows;
  const random = generator(seed);
  const pair = (a: string, b: string, ms: number): void => {
    const share = isAsymmetric ? LEAST_SHARE + random() * (1 - 2 * LEAST_SHARE) : 0.5;
    delaysMs[`${a}>${b}`] = rounded(ms * share);
    delaysMs[`${b}>${a}`] = rounded(ms * (1 - share));
  };
  const between = (a: number, b: number): number => matrix.roundTripsMs[a * matrix.size + b];
  pair('gateway', 'origin', between(gateway, origin));
  fleet.rows.push(gateway, origin);
  for (let s = 0; s < services; s++) {
    const others = Array.from({ length: matrix.size }, (_, i) => i).filter(
      (i) => i !== gateway && i !== origin,
    );
    const machines = names.slice(s * each, (s + 1) * each);
    for (const m of machines) {
      const [row] = others.splice(Math.floor(random() * others.length), 1);
      fleet.rows.push(row);
      pair('gateway', m, between(gateway, row));
      pair('origin', m, between(origin, row));
    }
    fleet.services.push(machines);
  }
  for (const m of names.slice(services * each)) {
    fleet.rows.push(origin);
    pair('gateway', m, FAR_MS);
    pair('origin', m, FAR_MS);
  }
  return fleet;
}
const FAR_MS = 400;

const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;

/** A laboratory with a farm whose delays are these; {@link Topology.delaysMs} of the farm's host itself are 0. */
export function farmTopology(drawn: DrawnDelays, answersProbes: boolean): Topology {
  const machines = drawn.rows.length - 2;
  const delaysMs: Topology['delaysMs'] = {
    gateway: { farm: 0 },
    origin: { farm: 0 },
    farm: { gateway: 0, origin: 0 },
  };
  for (const [path, ms] of Object.entries(drawn.delaysMs)) {
    const [from, to] = path.split('>');
    delaysMs[from] ??= {};
    delaysMs[from][to] = ms;
  }
  return {
    name: 'matrix',
    replicas: [],
    farm: { machines, answersProbes },
    wanHosts: ['gateway', 'origin', 'farm'],
    servers: ['server'],
    limits: {},
    services: [{ name: 'web', address: '203.0.113.10', ports: [80], raceWindowMs: 500 }],
    delaysMs,
    paths: {},
    ipv6: false,
  };
}

/** Round trips from the gateway, nearest first, of the origin and of `machines`. */
export function byRoundTrip(
  delaysMs: Record<string, number>,
  machines: readonly string[],
): { name: string; ms: number }[] {
  return ['origin', ...machines]
    .map((name) => ({ name, ms: delaysMs[`gateway>${name}`] + delaysMs[`${name}>gateway`] }))
    .sort((a, b) => a.ms - b.ms);
}

/**
 * The published race as a model, because no role runs on the farm's machines: the gateway sends the SYN to the origin,
 * which copies it to every machine at once (immediate release), and the first acknowledgement wins.
 * @returns the winner, and the time until the client's connection is open
 */
export function publishedRace(
  delaysMs: Record<string, number>,
  machines: readonly string[],
): { winner: string; ms: number } {
  const toOrigin = delaysMs['gateway>origin'];
  let best = { winner: 'origin', ms: toOrigin + delaysMs['origin>gateway'] };
  for (const m of machines) {
    const ms = toOrigin + delaysMs[`origin>${m}`] + delaysMs[`${m}>gateway`];
    if (ms < best.ms) best = { winner: m, ms };
  }
  return best;
}
