import { describe, expect, it } from 'vitest';
import { DistanceWindow, median } from '../../../src/probe/distance.js';
import { Numbers, ORIGIN, ORIGIN_ID } from '../../../src/proximity/candidates.js';
import { schedule } from '../../../src/race/release.js';

describe('candidates', () => {
  it('number machines: the origin first, none twice', () => {
    const c = new Numbers();
    expect([c.idOf(ORIGIN), ORIGIN]).toEqual([ORIGIN_ID, 0]);
    expect([c.numberOf('r2'), c.numberOf('r1'), c.numberOf('r2')]).toEqual([1, 2, 1]);
    expect([c.idOf(1), c.idOf(2), c.idOf(9)]).toEqual(['r2', 'r1', '#9']);
  });
});

describe('the distance to a replica', () => {
  it('is half the median of the round trips, once there are enough', () => {
    const w = new DistanceWindow();
    expect(w.distanceUs).toBeUndefined();
    w.add(100, 1000);
    w.add(900, 2000);
    expect(w.distanceUs).toBeUndefined();
    w.add(200, 3000);
    expect(w.distanceUs).toBe(100);
    expect(w.silenceUs(3500)).toBe(500);
  });

  it('forgets answers that are older than its window', () => {
    const w = new DistanceWindow();
    for (let i = 0; i < 15; i++) w.add(10_000, i);
    for (let i = 0; i < 7; i++) w.add(20, 100 + i);
    expect(w.distanceUs).toBe(5000);
    w.add(20, 200);
    expect(w.distanceUs).toBe(10);
  });

  it('is the one-way time by two clocks, where both are synchronized', () => {
    const w = new DistanceWindow();
    w.add(100, 1, 70);
    w.add(100, 2, 90);
    expect(w.oneWayUs).toBeUndefined();
    w.add(400, 3, 71);
    expect(w.oneWayUs).toBe(71);
    expect(w.distanceUs).toBe(50);
    // It forgets answers as the other measure does; clocks that are slightly off give no negative time.
    for (let i = 0; i < 15; i++) w.add(100, 10 + i, -3);
    expect(w.oneWayUs).toBe(0);
    expect(w.distanceUs).toBe(50);
  });

  it('has the mean of the middle two where their number is even', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([7])).toBe(7);
  });
});

describe('the release schedule', () => {
  it('immediate: every copy at once, as in the published method', () => {
    expect(schedule('immediate', [10, 30], 500)).toEqual({
      serverDelayUs: 0,
      delayUs: [0, 0],
      excessUs: [0, 0],
    });
  });

  it("synchronized: every copy arrives at t0 + Dmax, and so does the server's SYN", () => {
    const distances = [10_000, 30_000, 0, 25_500];
    const s = schedule('synchronized', distances, 500_000);
    expect(s.serverDelayUs).toBe(30_000);
    expect(distances.map((d, i) => d + s.delayUs[i])).toEqual([30_000, 30_000, 30_000, 30_000]);
    expect(s.excessUs).toEqual([0, 0, 0, 0]);
  });

  it('caps Dmax: a replica beyond the window races late by its excess', () => {
    expect(schedule('synchronized', [10, 80, 50], 50)).toEqual({
      serverDelayUs: 50,
      delayUs: [40, 0, 0],
      excessUs: [0, 30, 0],
    });
  });

  it('holds nothing where there is no replica', () => {
    expect(schedule('synchronized', [], 500)).toEqual({ serverDelayUs: 0, delayUs: [], excessUs: [] });
  });
});
