import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  dueTimes,
  durationS,
  expectedArrivals,
  parseDuration,
  parseRamp,
  parseRate,
  type Stage,
} from '../../../src/load/profile.js';

const constant = (rate: number, lastsS: number): Stage[] => [{ fromPerS: rate, toPerS: rate, lastsS }];
const between = (due: Float64Array, fromMs: number, toMs: number): number =>
  due.filter((t) => t >= fromMs && t < toMs).length;

const stage = fc.record({
  fromPerS: fc.integer({ min: 0, max: 200 }),
  toPerS: fc.integer({ min: 0, max: 200 }),
  lastsS: fc.integer({ min: 1, max: 5 }),
});

describe('a profile', () => {
  it('is parsed from text, or refused', () => {
    expect(['500ms', '30s', '2m', '1h', '4', '1.5s'].map(parseDuration)).toEqual([
      0.5, 30, 120, 3600, 4, 1.5,
    ]);
    expect(['', 's', '-1s', '1d', '1 s', '1e3'].map(parseDuration)).toEqual(Array(6).fill(undefined));
    expect(['200', '0.5', '-1', '', '1e3'].map(parseRate)).toEqual([
      200,
      0.5,
      undefined,
      undefined,
      undefined,
    ]);
    expect(parseRamp('50:500:30s,500:500:1m')).toEqual([
      { fromPerS: 50, toPerS: 500, lastsS: 30 },
      { fromPerS: 500, toPerS: 500, lastsS: 60 },
    ]);
    for (const bad of ['', '50', '50:500', '50:500:0s', 'a:1:1s', '1:2:3s:4', '1:2:3s,']) {
      expect(parseRamp(bad), bad).toBeUndefined();
    }
  });
});

describe('uniform arrivals', () => {
  it('at a constant rate are evenly spaced, half a gap from either end', () => {
    expect([...dueTimes(constant(4, 1), 'uniform', 1)]).toEqual([125, 375, 625, 875]);
    expect(dueTimes(constant(200, 10), 'uniform', 1)).toHaveLength(2000);
  });

  it('follow a ramp: a quarter of them in the first half of a ramp from 0', () => {
    const due = dueTimes([{ fromPerS: 0, toPerS: 100, lastsS: 10 }], 'uniform', 1);
    expect(due).toHaveLength(500);
    expect(between(due, 0, 5000)).toBe(125);
    expect(between(due, 5000, 10_000)).toBe(375);
  });

  it('are as many as the area under the rate, ascending, for any stages', () => {
    fc.assert(
      fc.property(fc.array(stage, { minLength: 1, maxLength: 4 }), (stages) => {
        const due = dueTimes(stages, 'uniform', 1);
        expect(Math.abs(due.length - expectedArrivals(stages))).toBeLessThanOrEqual(0.5 + 1e-6);
        expect([...due]).toEqual([...due].sort((a, b) => a - b));
        let beganS = 0;
        for (const s of stages) {
          const area = ((s.fromPerS + s.toPerS) / 2) * s.lastsS;
          const count = between(due, beganS * 1000, (beganS + s.lastsS) * 1000);
          expect(Math.abs(count - area)).toBeLessThanOrEqual(1 + 1e-6);
          beganS += s.lastsS;
        }
        expect(durationS(stages)).toBe(beganS);
      }),
    );
  });
});

describe('Poisson arrivals', () => {
  it('depend on the seed only', () => {
    const of = (seed: number) => [...dueTimes(constant(100, 5), 'poisson', seed)];
    expect(of(7)).toEqual(of(7));
    expect(of(7)).not.toEqual(of(8));
  });

  it('have the requested rate and the expected irregularity', () => {
    // Sums over independent seeds: 40,000 expected, with a standard deviation of 200.
    const runs = Array.from({ length: 20 }, (_, seed) => dueTimes(constant(200, 10), 'poisson', seed));
    const total = runs.reduce((sum, due) => sum + due.length, 0);
    expect(Math.abs(total - 40_000)).toBeLessThan(1000);
    const gaps = runs.flatMap((due) => [...due.slice(1)].map((t, i) => t - due[i]));
    const mean = gaps.reduce((a, b) => a + b) / gaps.length;
    const variance = gaps.reduce((sum, g) => sum + (g - mean) ** 2, 0) / gaps.length;
    // Exponential gaps: the standard deviation is the mean.
    expect(Math.sqrt(variance) / mean).toBeGreaterThan(0.95);
    expect(Math.sqrt(variance) / mean).toBeLessThan(1.05);
  });

  it('stay within the profile and follow its ramp', () => {
    const stages = [
      { fromPerS: 0, toPerS: 400, lastsS: 10 },
      { fromPerS: 0, toPerS: 0, lastsS: 5 },
      { fromPerS: 400, toPerS: 400, lastsS: 1 },
    ];
    const due = dueTimes(stages, 'poisson', 3);
    expect(between(due, 10_000, 15_000)).toBe(0);
    expect(Math.max(...due)).toBeLessThan(16_000);
    // 500 and 1500 expected, plus or minus five standard deviations.
    expect(Math.abs(between(due, 0, 5000) - 500)).toBeLessThan(112);
    expect(Math.abs(between(due, 5000, 10_000) - 1500)).toBeLessThan(194);
  });
});
