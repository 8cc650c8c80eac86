// Topologies from a matrix of round trips: the file, the draw, and what follows from the paths.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { FirstackError } from '../../../src/errors.js';
import { leaves } from '../../../src/lab/bench/matrix-changes.js';
import { leaked } from '../../../src/lab/bench/matrix-churn.js';
import { isWanted } from '../../../src/lab/bench/matrix-race.js';
import {
  byRoundTrip,
  drawDelays,
  drawFleet,
  farmTopology,
  publishedRace,
  readMatrix,
} from '../../../src/lab/matrix.js';

const directory = mkdtempSync(`${tmpdir()}/firstack-matrix-`);
afterAll(() => rmSync(directory, { recursive: true }));

function written(text: string | Buffer): string {
  const file = `${directory}/rtt.txt`;
  writeFileSync(file, text);
  return file;
}

function refusal(what: () => unknown): string {
  try {
    what();
  } catch (error) {
    if (error instanceof FirstackError) return `${error.code} ${error.message.replace(`${directory}/`, '')}`;
    throw error;
  }
  throw new Error('it was accepted');
}

/** A matrix of so many hosts; from row i to row j it is 100 i + j, or 0. */
const square = (size: number): string =>
  Array.from({ length: size }, (_, i) =>
    Array.from({ length: size }, (__, j) => (i === j ? 0 : 100 * Math.min(i, j) + Math.max(i, j))).join('\t'),
  ).join('\n');

describe('the matrix file', () => {
  it('is read plain and gzipped, with a tab or a line end at the end or without', () => {
    const plain = readMatrix(written('0\t1.5\n2.5\t0\n'));
    expect([plain.size, [...plain.roundTripsMs]]).toEqual([2, [0, 1.5, 2.5, 0]]);
    const zipped = readMatrix(written(gzipSync('0\t1.5\t\r\n2.5\t0\t')));
    expect([...zipped.roundTripsMs]).toEqual([0, 1.5, 2.5, 0]);
  });

  it('is refused where it is missing, torn, or no matrix of round trips', () => {
    expect(refusal(() => readMatrix(`${directory}/none.txt`))).toMatch(
      /^FSA_CONFIG_UNREADABLE none.txt: ENOENT/,
    );
    const torn = gzipSync(square(20)).subarray(0, 40);
    expect(refusal(() => readMatrix(written(torn)))).toMatch(/^FSA_CONFIG_UNREADABLE rtt.txt: /);
    const wrong = (text: string): string => refusal(() => readMatrix(written(text)));
    expect(wrong('')).toMatch(/^FSA_CONFIG_VALUE rtt.txt: a matrix of round trips has two rows at least/);
    expect(wrong('0\t1\n1\n')).toBe('FSA_CONFIG_VALUE rtt.txt: row 2 has 1 numbers, the file has 2 rows');
    for (const text of ['x', '-1', '', 'NaN', '10001'])
      expect(wrong(`0\t${text}\t1\n1\t0\t1\n1\t1\t0`)).toContain(
        `row 1, column 2: '${text}' is no round trip`,
      );
  });
});

describe('a draw', () => {
  const matrix = readMatrix(written(square(30)));

  it('takes different hosts, the same for the same seed, and halves each round trip', () => {
    const draw = drawDelays(matrix, 20, 5, false);
    expect(new Set(draw.rows).size).toBe(22);
    expect(drawDelays(matrix, 20, 5, false)).toEqual(draw);
    expect(drawDelays(matrix, 20, 6, false).rows).not.toEqual(draw.rows);
    const [gateway, , first] = draw.rows;
    const ms = matrix.roundTripsMs[gateway * matrix.size + first];
    expect(draw.delaysMs['gateway>m1']).toBe(ms / 2);
    expect(draw.delaysMs['m1>gateway']).toBe(ms / 2);
    expect(Object.keys(draw.delaysMs)).toHaveLength(2 + 20 * 4);
  });

  it('of a fleet is larger than the matrix, with different hosts for each service', () => {
    const shape = { services: 7, each: 10, spare: 2 };
    const fleet = drawFleet(matrix, shape, 5, false);
    expect(drawFleet(matrix, shape, 5, false)).toEqual(fleet);
    const [gateway, origin, ...rows] = fleet.rows;
    expect(rows).toHaveLength(72);
    for (let s = 0; s < 7; s++) {
      const own = rows.slice(10 * s, 10 * (s + 1));
      expect(new Set([...own, gateway, origin]).size).toBe(12);
      expect(fleet.services[s]).toEqual(own.map((_, k) => `m${10 * s + k + 1}`));
    }
    const ms = matrix.roundTripsMs[gateway * matrix.size + rows[69]];
    expect(fleet.delaysMs['gateway>m70']).toBe(ms / 2);
    expect(fleet.delaysMs['m70>gateway']).toBe(ms / 2);
    expect(Object.keys(fleet.delaysMs)).toHaveLength(2 + 72 * 4);
    expect(refusal(() => drawFleet(matrix, { ...shape, each: 29 }, 5, false))).toMatch(/^FSA_CONFIG_VALUE/);
  });

  it('can share a round trip unevenly: each direction has 35 to 65 per cent', () => {
    const draw = drawDelays(matrix, 20, 5, true);
    const shares = byRoundTrip(draw.delaysMs, ['m1', 'm2', 'm3', 'm4', 'm5']).map(
      ({ name, ms }) => draw.delaysMs[`gateway>${name}`] / ms,
    );
    for (const share of shares) {
      expect(share).toBeGreaterThan(0.349);
      expect(share).toBeLessThan(0.651);
    }
    expect(new Set(shares.map((s) => s.toFixed(2))).size).toBeGreaterThan(1);
  });

  it('is refused where the matrix has too few hosts', () => {
    expect(drawDelays(matrix, 28, 1, false).rows).toHaveLength(30);
    expect(refusal(() => drawDelays(matrix, 29, 1, false))).toBe(
      'FSA_CONFIG_VALUE rtt.txt: 30 hosts, which is too few for a gateway, an origin and 29 replicas',
    );
  });

  it('becomes a topology with a farm', () => {
    const t = farmTopology(drawDelays(matrix, 4, 2, false), true);
    expect(t.farm).toEqual({ machines: 4, answersProbes: true });
    expect(Object.keys(t.delaysMs).sort()).toEqual(['farm', 'gateway', 'm1', 'm2', 'm3', 'm4', 'origin']);
    expect(Object.keys(t.delaysMs.gateway).sort()).toEqual(['farm', 'm1', 'm2', 'm3', 'm4', 'origin']);
  });
});

describe('what follows from the paths', () => {
  const delaysMs = {
    ...{ 'gateway>origin': 30, 'origin>gateway': 40 },
    ...{ 'gateway>m1': 5, 'm1>gateway': 6, 'origin>m1': 50, 'm1>origin': 50 },
    ...{ 'gateway>m2': 20, 'm2>gateway': 25, 'origin>m2': 10, 'm2>origin': 10 },
  };

  it('orders machines by round trip', () => {
    expect(byRoundTrip(delaysMs, ['m2', 'm1'])).toEqual([
      { name: 'm1', ms: 11 },
      { name: 'm2', ms: 45 },
      { name: 'origin', ms: 70 },
    ]);
  });

  it('models the published race: through the origin, the first acknowledgement wins', () => {
    expect(publishedRace(delaysMs, ['m1', 'm2'])).toEqual({ winner: 'm2', ms: 65 });
    expect(publishedRace(delaysMs, ['m1'])).toEqual({ winner: 'origin', ms: 70 });
  });

  it('finds the time from which a machine is avoided', () => {
    // One connection every 10 ms; from 300 ms on one in fifty goes to m1.
    const all = Array.from({ length: 100 }, (_, n) => ({
      servedBy: n < 30 || n % 50 === 0 ? 'm1' : 'm2',
      connectMs: 10,
      begunAtMs: n * 10,
    }));
    expect(leaves(all, 'm1')).toBe(290);
    expect(leaves(all.slice(0, 40), 'm1')).toBeUndefined();
    expect(leaves([], 'm1')).toBeUndefined();
  });
});

describe('--only', () => {
  it('asks for a figure, or for all that begin so', () => {
    expect(isWanted('near:400', undefined)).toBe(true);
    expect(isWanted('near:400', ['near:400'])).toBe(true);
    expect(isWanted('near:400:cold', ['near:400'])).toBe(false);
    expect(isWanted('near:400:cold', ['near'])).toBe(true);
    expect(isWanted('spike:late', ['shift', 'spike'])).toBe(true);
    expect(isWanted('shift', ['spike'])).toBe(false);
  });
});

describe('what a gateway holds', () => {
  const before = { endpoints: 6, elements: 15, kernel: 6, leftOut: 0 };

  it('is leaked where it is more than before, by kind', () => {
    expect(leaked(before, { ...before, kernel: 5 })).toEqual({});
    expect(leaked(before, { endpoints: 9, elements: 14, kernel: 6, leftOut: 1 })).toEqual({
      endpoints: 3,
      leftOut: 1,
    });
  });
});
