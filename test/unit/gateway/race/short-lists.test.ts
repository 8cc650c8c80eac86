// A race among many asks a few.
import { describe, expect, it } from 'vitest';
import { count, lowest } from '../../../../src/proximity/candidates.js';
import { COMPARE, RACE } from '../../../../src/proximity/learned.js';
import { at, bits, CLIENT, fresh, IDLE, NOW, raced, rtt, words } from '../../../support/learned.js';
import { serviceNumber } from '../../../support/numbers.js';

const S = serviceNumber(0);
const MANY = -1;
const list = (of: number): number[] => {
  const out: number[] = [];
  for (let left = of; left !== 0; left &= left - 1) out.push(lowest(left));
  return out;
};
/** Candidate n is n · 10 ms away. */
const probed = (_service: number, c: number): number => 10_000 * c;

describe('a race', () => {
  it('asks the nearest that are known, one further in turn, and the origin', () => {
    const learned = fresh();
    learned.probed = probed;
    const entry = learned.entry(S, words(CLIENT), 0);
    expect(learned.choose(entry, MANY, IDLE, 1)).toBe(RACE);
    const lists = Array.from({ length: 27 }, () => learned.shortList(entry, MANY, 6));
    for (const asked of lists) {
      expect(list(asked).slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
      expect(count(asked)).toBe(6);
    }
    // In 27 races each of the others has had its turn.
    expect(new Set(lists.map((asked) => list(asked)[5])).size).toBe(27);
  });

  it('asks all where they are no more than it may ask', () => {
    const learned = fresh();
    const entry = learned.entry(S, words(CLIENT), 0);
    expect(list(learned.shortList(entry, bits(0, 3, 9, 31), 6))).toEqual([0, 3, 9, 31]);
  });

  it('where nothing is known asks others each time, until each was asked', () => {
    const learned = fresh();
    const entry = learned.entry(S, words(CLIENT), 0);
    const ever = new Set<number>();
    let races = 0;
    while (learned.choose(entry, MANY, IDLE, 1) === RACE) {
      races++;
      const asked = learned.shortList(entry, MANY, 6);
      learned.raced(entry, MANY, asked);
      for (const c of list(asked)) {
        ever.add(c);
        learned.note(entry, c, 10_000 * (c + 1));
      }
    }
    expect([ever.size, races]).toEqual([32, 10]);
    expect(learned.best(entry, MANY)).toBe(0);
  });

  it('whose first ones are silent asks others, not them again', () => {
    const learned = fresh();
    learned.probed = probed;
    const entry = learned.entry(S, words(CLIENT), 0);
    const asked = bits(1, 2);
    expect(list(learned.shortList(entry, MANY, 4, asked)).slice(0, 3)).toEqual([0, 3, 4]);
  });
});

describe('probed times', () => {
  it('are where a prefix begins; SYNs then tell more exactly', () => {
    const learned = fresh();
    learned.probed = probed;
    const entry = learned.entry(S, words(CLIENT), 0);
    expect([rtt(learned, entry, 3), learned.samples(entry, 3)]).toEqual([30_000, 1]);
    learned.raced(entry, MANY, bits(0, 1, 2, 3));
    learned.note(entry, 3, 34_000);
    expect(rtt(learned, entry, 3)).toBeGreaterThan(30_000);
  });

  it('of a machine that came nearer are believed for every prefix of the service, and it is compared', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30, 2: 90 }, undefined, 5);
    expect(learned.choose(entry, bits(0, 1, 2), IDLE, 1)).toBe(1);
    learned.moved(S, 2, 29_000);
    expect(rtt(learned, entry, 2)).toBe(29_000);
    expect(learned.choose(entry, bits(0, 1, 2), IDLE, 1)).toBe(COMPARE);
    learned.moved(serviceNumber(1), 1, 1000);
    expect(rtt(learned, entry, 1)).toBe(30_000);
  });

  it('that differ little from what SYNs have told change nothing', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 30, 2: 90 }, undefined, 5);
    learned.moved(S, 1, 27_000);
    expect([rtt(learned, entry, 1), learned.samples(entry, 1)]).toEqual([30_000, 5]);
  });
});

describe('a comparison', () => {
  it('asks the best, and of those as near the ones of which least is known', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 30, 2: 31, 3: 32, 4: 33, 5: 90 }, bits(1, 2, 3, 4, 5));
    learned.note(entry, 2, 31_000);
    expect(list(learned.compare(entry, bits(1, 2, 3, 4, 5)))).toEqual([1, 3, 4]);
  });
});

describe('a late answer', () => {
  it('is in time within the hedge, and late by what is beyond the expected', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 100 });
    expect([learned.isInTime(entry, 1, 152_000), learned.isInTime(entry, 1, 153_000)]).toEqual([true, false]);
    expect([learned.lateUs(entry, 1, 160_000), learned.lateUs(entry, 1, 90_000)]).toEqual([60_000, 0]);
    expect([learned.isInTime(entry, 2, 9e6), learned.lateUs(entry, 2, 9e6)]).toEqual([true, -1]);
  });

  it('where all are late is believed after ten seconds', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 100 });
    expect(learned.isLateForLong(entry)).toBe(false);
    expect(at(NOW + 9.9e6, () => learned.isLateForLong(entry))).toBe(false);
    expect(at(NOW + 10.1e6, () => learned.isLateForLong(entry))).toBe(true);
    // One answer in time, and it begins anew.
    learned.isInTime(entry, 1, 100_000);
    expect(at(NOW + 10.2e6, () => learned.isLateForLong(entry))).toBe(false);
  });
});
