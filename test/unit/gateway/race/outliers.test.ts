import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ejections } from '../../../../gateway/race/ejections.js';
import { type FirstBytes, Outliers } from '../../../../gateway/race/outliers.js';
import type { CandidateNumber } from '../../../../src/flow/numbers.js';
import { candidateNumber } from '../../../support/numbers.js';

const SERVICE = [0, 1, 2, 3].map(candidateNumber);

/**
 * One second per call: each candidate's number and mean time of first bytes. A machine that returns after its trials
 * is judged anew, as `service-judge.ts` does it.
 */
class World {
  readonly outliers = new Outliers();
  readonly ejections = new Ejections({ trialMs: 30_000, mostTrialMs: 300_000 });
  readonly totals = new Map<CandidateNumber, FirstBytes>();
  nowMs = 1000;

  second(
    ms: Record<number, number>,
    count = 5,
    candidates: readonly CandidateNumber[] = SERVICE,
  ): CandidateNumber[] {
    for (const [c, mean] of Object.entries(ms)) {
      const t = this.totals.get(candidateNumber(Number(c))) ?? { count: 0, sumUs: 0 };
      this.totals.set(candidateNumber(Number(c)), {
        count: t.count + count,
        sumUs: t.sumUs + count * mean * 1000,
      });
    }
    this.nowMs += 1000;
    const room = this.ejections.room(candidates);
    const slow = this.outliers.judge(this.totals, candidates, this.isEjected, room);
    return slow.map(({ candidate: c, mostUs }) => {
      this.outliers.restart(c, this.totals.get(c)!);
      this.ejections.eject(c, 'slow', mostUs, { given: 0, good: 0, bad: 0, us: 0 }, this.nowMs);
      return c;
    });
  }
  readonly isEjected = (c: CandidateNumber): boolean => this.ejections.get(c) !== undefined;
  /** Three trials with this time to first byte, one after another. */
  returns(c: CandidateNumber, us: number): void {
    const trials = { given: 0, good: 0, bad: 0, us };
    for (let n = 1; n <= 3; n++) {
      this.nowMs += 400_000;
      expect(this.ejections.follow(c, trials, this.nowMs)).toBe('trial');
      trials.given++;
      this.ejections.follow(c, trials, this.nowMs);
      trials.good++;
      expect(this.ejections.follow(c, trials, this.nowMs)).toBe(n === 3 ? 'back' : undefined);
    }
    this.outliers.restart(c, this.totals.get(c)!);
  }
  ejected(candidates: readonly CandidateNumber[] = SERVICE): CandidateNumber[] {
    return candidates.filter(this.isEjected);
  }
}

describe('a machine that serves slowly', () => {
  it('is ejected', () => {
    const w = new World();
    expect(w.second({ 0: 20, 1: 25, 2: 400, 3: 30 })).toEqual([2]);
    expect(w.ejected()).toEqual([2]);
  });

  it.each<[string, Record<number, number>]>([
    ['is the origin', { 0: 900, 1: 20, 2: 20 }],
    ['is as slow as all others', { 0: 400, 1: 420, 2: 500, 3: 380 }],
    ['is slower by a factor, but not by much', { 0: 5, 1: 5, 2: 60, 3: 5 }],
    ['is slower by much, but not by a factor', { 0: 300, 1: 300, 2: 500, 3: 300 }],
    ['has no machine to be compared with', { 2: 900 }],
  ])('is not ejected when it %s', (_, ms) => {
    const w = new World();
    for (let n = 0; n < 10; n++) expect(w.second(ms)).toEqual([]);
  });

  it('is judged by enough samples only', () => {
    const w = new World();
    w.second({ 0: 20, 1: 20, 3: 20 });
    expect(w.second({ 2: 900 }, 4)).toEqual([]);
    expect(w.outliers.meanMs(candidateNumber(2))).toBeNull();
    expect(w.second({ 2: 900 }, 1)).toEqual([2]);
  });

  it('is not compared with others that have too few samples', () => {
    const w = new World();
    w.second({ 0: 20, 1: 20, 3: 20 }, 4);
    expect(w.second({ 2: 900 }, 50)).toEqual([]);
  });

  it("is never ejected beyond a third of a service's machines", () => {
    const w = new World();
    const slow = { 0: 20, 1: 20, 2: 900, 3: 950, 4: 20, 5: 20 };
    // One of four machines.
    expect(w.second(slow)).toEqual([3]);
    for (let n = 0; n < 5; n++) expect(w.second(slow)).toEqual([]);
    expect(w.ejected()).toEqual([3]);
    // Two of six.
    expect(w.second(slow, 5, [0, 1, 2, 3, 4, 5].map(candidateNumber))).toEqual([2]);
    // None of two.
    expect(new World().second({ 0: 20, 1: 900 }, 50, [0, 1].map(candidateNumber))).toEqual([]);
  });

  it('is raced again after good trials, and is judged anew', () => {
    const w = new World();
    const slow = { 0: 20, 1: 20, 2: 900, 3: 20 };
    for (let time = 1; time <= 5; time++) {
      expect(w.second(slow)).toEqual([2]);
      expect(w.second(slow)).toEqual([]);
      w.returns(candidateNumber(2), 30_000);
      expect(w.ejected()).toEqual([]);
      expect(w.outliers.meanMs(candidateNumber(2))).toBeNull();
    }
  });

  it('is not ejected again when it has become fast', () => {
    const w = new World();
    w.second({ 0: 20, 1: 20, 2: 900, 3: 20 });
    w.returns(candidateNumber(2), 30_000);
    for (let n = 0; n < 10; n++) expect(w.second({ 0: 20, 1: 20, 2: 22, 3: 20 })).toEqual([]);
    expect(w.outliers.meanMs(candidateNumber(2))).toBeCloseTo(22);
  });

  it('is never the origin, and never more than a third, for any measurements', () => {
    const seconds = fc.array(fc.dictionary(fc.nat(8).map(String), fc.nat(5000)), { maxLength: 30 });
    fc.assert(
      fc.property(seconds, fc.integer({ min: 1, max: 9 }), (list, size) => {
        const w = new World();
        const candidates = Array.from({ length: size }, (_, n) => candidateNumber(n));
        for (const ms of list) {
          const already = w.ejected(candidates);
          for (const c of w.second(ms, 6, candidates)) expect(already).not.toContain(c);
          const out = w.ejected(candidates);
          expect(out).not.toContain(0);
          expect(out.length).toBeLessThanOrEqual(size / 3);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('is a suspect while it carries everything, until another machine is measured', () => {
    const w = new World();
    const suspects = () => w.outliers.suspects(SERVICE, w.isEjected);
    w.second({ 2: 400 }, 4);
    expect(suspects()).toEqual([]);
    w.second({ 2: 400 });
    expect(suspects()).toEqual([2]);
    // A distant machine is not a slow one.
    expect(w.outliers.suspects(SERVICE, w.isEjected, () => 1e6)).toEqual([]);
    w.second({ 2: 400, 1: 30 }, 5);
    expect(suspects()).toEqual([]);
    expect(w.ejected()).toEqual([2]);
  });

  it.each<[string, Record<number, number>]>([
    ['it is quick', { 2: 40 }],
    ['it is the origin', { 0: 900 }],
    ['others are as slow', { 1: 400, 2: 410 }],
  ])('is no suspect when %s', (_, ms) => {
    const w = new World();
    w.second(ms, 20);
    expect(w.outliers.suspects(SERVICE, w.isEjected)).toEqual([]);
  });
});
