import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../../src/device/clock.js';
import { MOST_RACED } from '../../../src/proximity/candidates.js';
import { COMPARE, Learned } from '../../../src/proximity/learned.js';
import { learnedBytes, readLearned } from '../../../src/proximity/learned-table.js';
import { formatPrefix, fromV4, parse } from '../../../src/wire/address.js';
import { ALL, at, bits, CLIENT, fresh, IDLE, NOW, raced, rtt, shares, words } from '../../support/learned.js';
import { serviceNumber } from '../../support/numbers.js';

describe('the learned times', () => {
  it('are empty at first: race', () => {
    const learned = fresh();
    const entry = learned.entry(serviceNumber(0), words(CLIENT), 0);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(-1);
    learned.raced(entry, ALL);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(-1);
  });

  it('let the first to acknowledge be asked alone after a race', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30, 2: 90 });
    expect(shares(learned, entry)).toEqual({ 1: 1 });
  });

  it('follow the smoothed round trip: a single late answer a little, a lasting change fully', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 40 });
    expect(rtt(learned, entry, 1)).toBe(40_000);
    // The error is clipped at three variations (of 0.5 ms at first) and 0.5 ms; the first few samples have equal
    // weight.
    learned.note(entry, 1, 48_000);
    expect(rtt(learned, entry, 1)).toBe(41_000);
    expect(learned.samples(entry, 1)).toBe(2);
    for (let n = 0; n < 100; n++) learned.note(entry, 1, 40_000);
    expect(rtt(learned, entry, 1)).toBeCloseTo(40_000, 0);
    // Later samples have a weight of an eighth.
    learned.note(entry, 1, 40_400);
    expect(rtt(learned, entry, 1)).toBeCloseTo(40_050, 0);
    for (let n = 0; n < 200; n++) learned.note(entry, 1, 80_000);
    expect(rtt(learned, entry, 1)).toBeCloseTo(80_000, 0);
  });

  it('make an unanswered race be repeated, at doubling intervals, until the candidate answers', () => {
    const clock = new ManualClock(1e6);
    const learned = new Learned(new Float64Array(learnedBytes(8) / 8), clock);
    const entry = learned.entry(serviceNumber(0), words(0x0a000001), 0);
    const asksAlone = () => learned.choose(entry, 0b110, IDLE, 1) >= 0;
    learned.raced(entry, 0b110);
    learned.note(entry, 1, 40_000);
    expect(asksAlone()).toBe(true);
    for (const waitUs of [1e6, 2e6, 4e6, 8e6]) {
      clock.nowUs += waitUs;
      expect(asksAlone()).toBe(true);
      clock.nowUs += 1;
      expect(asksAlone()).toBe(false);
      learned.raced(entry, 0b110);
    }
    for (let n = 0; n < 2; n++)
      for (const [c, us] of [
        [1, 40_000],
        [2, 30_000],
      ])
        learned.note(entry, c, us);
    clock.nowUs += 100e6;
    expect(learned.choose(entry, 0b110, IDLE, 1)).toBe(2);
  });

  it('change the choice when another candidate becomes nearer', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 30, 2: 40 });
    for (let n = 0; n < 100; n++) learned.note(entry, 1, 90_000);
    // The variation has settled too.
    expect(shares(learned, entry)).toEqual({ 2: 1 });
  });

  it('are not used for a candidate that is not live; without a live candidate there is a race', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30 });
    expect(learned.choose(entry, bits(0, 2), IDLE, 1)).toBe(0);
    expect(learned.choose(entry, bits(2), IDLE, 1)).toBe(-1);
  });

  it('forget a candidate that failed, until it is measured again', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30 });
    learned.forget(entry, 1);
    expect(shares(learned, entry)).toEqual({ 0: 1 });
    learned.forget(entry, 0);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(-1);
    learned.note(entry, 1, 31_000);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(1);
    // The first measurement after that has full weight.
    expect(rtt(learned, entry, 1)).toBe(31_000);
  });

  it('are not moved by one late answer: the next connections are raced until it answers in time', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30, 2: 90 });
    for (let n = 0; n < 40; n++) learned.note(entry, 1, 30_000);
    // Asked alone, it has not answered when the hedge fires; its answer comes 150 ms late.
    learned.raced(entry, ALL);
    learned.late(entry, 1);
    learned.note(entry, 0, 120_000);
    learned.note(entry, 1, 180_000);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(-1);
    learned.raced(entry, ALL);
    learned.note(entry, 1, 30_000);
    expect(shares(learned, entry)).toEqual({ 1: 1 });
    expect(rtt(learned, entry, 1)).toBeLessThan(31_000);
  });

  it('are not forgotten for one stall, however many connections it meets', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30 }, bits(0, 1));
    // Asked alone by a hundred clients at once, and then in races, within the time of one answer.
    for (let n = 0; n < 100; n++) learned.late(entry, 1);
    for (let n = 0; n < 100; n++) learned.raced(entry, bits(0, 1));
    at(NOW + 40_000, () => learned.late(entry, 1));
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(-1);
    learned.note(entry, 1, 30_000);
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(1);
    expect(rtt(learned, entry, 1)).toBe(30_000);
  });

  it('are forgotten when it is late again and again, and a race soon tells when it is near again', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30 }, bits(0, 1), 2);
    learned.raced(entry, bits(0, 1));
    learned.late(entry, 1);
    for (const n of [1, 2]) {
      expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(-1);
      at(NOW + n * 50_000, () => learned.raced(entry, bits(0, 1)));
    }
    // Every machine was late, this one more so.
    learned.note(entry, 1, 200_000);
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(0);
    const later = NOW + 1.3e6;
    expect(at(later, () => learned.choose(entry, bits(0, 1), IDLE, 1))).toBe(-1);
    at(later, () => learned.raced(entry, bits(0, 1)));
    for (let n = 0; n < 2; n++) at(later, () => learned.note(entry, 1, 30_000));
    expect(rtt(learned, entry, 1)).toBeLessThan(75_000);
    expect(at(later, () => learned.choose(entry, bits(0, 1), IDLE, 1))).toBe(1);
    // It has proven itself: no more races for its sake.
    expect(at(later + 100e6, () => learned.choose(entry, bits(0, 1), IDLE, 1))).toBe(1);
  });

  it('are proven by a second race, soon after the first, because a first answer may have been late', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 180 }, bits(0, 1));
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(0);
    const later = NOW + 1.1e6;
    expect(at(later, () => learned.choose(entry, bits(0, 1), IDLE, 1))).toBe(-1);
    at(later, () => learned.raced(entry, bits(0, 1)));
    at(later, () => learned.note(entry, 0, 120_000));
    at(later, () => learned.note(entry, 1, 30_000));
    expect(at(later + 100e6, () => learned.choose(entry, bits(0, 1), IDLE, 1))).toBe(1);
  });

  it('are not those of the others alone where an answer could not be measured', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120 }, bits(0, 1));
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(0);
    learned.missed(entry, 1);
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(-1);
    learned.raced(entry, bits(0, 1));
    learned.note(entry, 1, 30_000);
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(1);
    // A machine whose time is known is believed.
    learned.missed(entry, 1);
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(1);
  });

  it('are gone for a machine that is: it costs one connection a wait, and two a race', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 1: 30 }, bits(0, 1));
    learned.raced(entry, bits(0, 1));
    learned.late(entry, 1);
    for (const n of [1, 2]) {
      expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(-1);
      at(NOW + n * 50_000, () => learned.raced(entry, bits(0, 1)));
      learned.note(entry, 0, 120_000);
    }
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(0);
  });

  it('become stale', () => {
    const learned = fresh();
    // All candidates have been measured, so only age can cause a race.
    const only = bits(1);
    const entry = raced(learned, { 1: 30 }, only, 2);
    expect(at(NOW + 600e6, () => learned.choose(entry, only, IDLE, 1))).toBe(1);
    expect(at(NOW + 600e6 + 1, () => learned.choose(entry, only, IDLE, 1))).toBe(-1);
    at(NOW + 700e6, () => learned.raced(entry, only));
    expect(at(NOW + 700e6, () => learned.choose(entry, only, IDLE, 1))).toBe(1);
  });

  it('cause a race when there is a new, unmeasured candidate', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 30 }, bits(0, 1));
    expect(learned.choose(entry, bits(0, 1), IDLE, 1)).toBe(1);
    expect(learned.choose(entry, bits(0, 1, 31), IDLE, 1)).toBe(-1);
    learned.raced(entry, bits(0, 1, 31));
    expect(learned.choose(entry, bits(0, 1, 31), IDLE, 1)).toBe(1);
  });

  it('give a hedge after a multiple of the expected time, within bounds', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 40, 2: 0.1, 3: 5000 });
    const hedge = learned.hedgeUs(entry, 1);
    expect(hedge).toBeGreaterThan(40_000 * 1.5);
    expect(hedge).toBeLessThan(40_000 * 2);
    expect(learned.hedgeUs(entry, 2)).toBe(10_000);
    expect(learned.hedgeUs(entry, 3)).toBe(2_000_000);
    // The hedge for a path that varies waits longer.
    for (let n = 0; n < 20; n++) for (const ms of [35, 55]) learned.note(entry, 1, ms * 1000);
    expect(learned.hedgeUs(entry, 1)).toBeGreaterThan(hedge);
  });

  it('belong to one service and one prefix', () => {
    const learned = fresh();
    raced(learned, { 1: 30 });
    const same = learned.entry(serviceNumber(0), words(CLIENT ^ 0xff), 0);
    expect(learned.best(same, ALL)).toBe(1);
    expect(learned.best(learned.entry(serviceNumber(1), words(CLIENT), 0), ALL)).toBe(-1);
    expect(learned.best(learned.entry(serviceNumber(0), words(CLIENT ^ 0x100), 0), ALL)).toBe(-1);
  });

  it('are kept apart for IPv6 clients by their first 48 bits, and from IPv4 clients', () => {
    const learned = fresh();
    const entryOf = (text: string): number =>
      learned.entry(serviceNumber(0), Int32Array.from(parse(text)!), 0);
    const entry = entryOf('2001:db8:1::1');
    expect(entryOf('2001:db8:1:ffff::2')).toBe(entry);
    expect(entryOf('2001:db8:2::1')).not.toBe(entry);
    expect(entryOf('192.0.2.1')).not.toBe(entry);
    const known = readLearned(learned.table).map((e) => formatPrefix(e.prefix));
    expect(known.sort()).toEqual(['192.0.2.0/24', '2001:db8:1::/48', '2001:db8:2::/48']);
  });

  it('can be read by the control plane', () => {
    const learned = fresh();
    const entry = raced(learned, { 0: 120, 2: 30 });
    learned.won(entry, 2);
    learned.won(entry, 2);
    expect(readLearned(learned.table)).toMatchObject([
      {
        service: 0,
        prefix: { address: fromV4(CLIENT & ~0xff), bits: 120 },
        candidates: [
          { candidate: 0, rttUs: 120_000, samples: 1, wins: 0 },
          { candidate: 2, rttUs: 30_000, samples: 1, wins: 2 },
        ],
      },
    ]);
  });

  it('do not exist without a table: every connection is raced', () => {
    const learned = fresh(0);
    const entry = learned.entry(serviceNumber(0), words(CLIENT), 0);
    expect(entry).toBe(-1);
    learned.raced(entry, ALL);
    learned.note(entry, 1, 5);
    learned.won(entry, 1);
    learned.forget(entry, 1);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(-1);
    expect(readLearned(learned.table)).toEqual([]);
  });

  it('ignore candidates beyond the recorded ones', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 30 });
    const before = [...learned.table];
    learned.note(entry, MOST_RACED, 1);
    learned.won(entry, MOST_RACED);
    learned.forget(entry, MOST_RACED);
    expect([...learned.table]).toEqual(before);
  });
});

describe('candidates too close to call', () => {
  const near = { 0: 120, 1: 30, 2: 30.3 };
  const loads = (...values: number[]) => {
    const all = new Float64Array(MOST_RACED);
    all.set(values);
    return all;
  };

  it('share the connections', () => {
    const learned = fresh();
    const entry = raced(learned, near, ALL, 5);
    const s = shares(learned, entry);
    expect(Object.keys(s)).toEqual(['1', '2']);
    expect(s[1]).toBeCloseTo(0.5, 2);
  });

  it('share by free capacity: a candidate at 90 % load gets a quarter at most', () => {
    const learned = fresh();
    const entry = raced(learned, near, ALL, 5);
    const s = shares(learned, entry, loads(0, 0.9, 0.2));
    expect(s[1]).toBeLessThanOrEqual(0.25);
    expect(s[1]).toBeGreaterThan(0);
  });

  it('are chosen in the same way for every SYN of a flow', () => {
    const learned = fresh();
    const entry = raced(learned, near, ALL, 5);
    for (const hash of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const once = learned.choose(entry, ALL, IDLE, hash | 0);
      for (let n = 0; n < 5; n++)
        expect(at(NOW + n, () => learned.choose(entry, ALL, IDLE, hash | 0))).toBe(once);
    }
  });

  it('do not share with a distant candidate, however busy they are', () => {
    const learned = fresh();
    const entry = raced(learned, near, ALL, 5);
    expect(shares(learned, entry, loads(0, 1, 1))[0]).toBeUndefined();
  });

  it('are told apart by measurements, after some samples', () => {
    const learned = fresh();
    expect(shares(learned, raced(learned, { 0: 90, 1: 30, 2: 33 }, ALL, 3))).toEqual({ [COMPARE]: 1 });
    expect(learned.compare(learned.entry(serviceNumber(0), words(CLIENT), 0), ALL)).toBe(bits(1, 2));
    expect(shares(learned, raced(learned, { 1: 30, 2: 33 }, ALL))).toEqual({ 1: 1 });
  });

  it('are told apart at once when the difference exceeds the error of a first sample', () => {
    const learned = fresh();
    expect(shares(learned, raced(learned, { 1: 30, 2: 36 }))).toEqual({ 1: 1 });
  });

  it('are not raced for ever when one of them no longer answers', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 30, 2: 33 });
    for (let n = 0; n < 7; n++) {
      expect(shares(learned, entry)).toEqual({ [COMPARE]: 1 });
      learned.raced(entry, ALL);
    }
    expect(shares(learned, entry)).toEqual({ 1: 1 });
  });

  it('are clear only when ahead by three times the variation', () => {
    const clear = (ms: number): boolean => {
      const learned = fresh();
      return learned.isClear(raced(learned, { 0: 90, 1: 30, 2: 30 + ms }, ALL, 8), ALL, 1);
    };
    expect(clear(1)).toBe(false);
    expect(clear(4)).toBe(true);
  });

  it('are clear of a candidate that never answers after four races, not before', () => {
    const learned = fresh();
    const entry = raced(learned, { 1: 30, 2: 60 }, ALL, 8);
    const clear: boolean[] = [];
    for (let n = 0; n < 6; n++) {
      clear.push(learned.isClear(entry, ALL, 1));
      learned.raced(entry, ALL);
    }
    expect(clear).toEqual([false, false, false, false, true, true]);
    learned.raced(entry, ALL | 8);
    expect(learned.isClear(entry, ALL | 8, 1)).toBe(false);
  });

  it("are near when their paths' variation exceeds the difference", () => {
    const learned = fresh();
    const entry = raced(learned, {}, ALL);
    for (let n = 0; n < 100; n++)
      for (const c of [1, 2]) learned.note(entry, c, 30_000 + (n % 2 === 0 ? 4000 : -4000) + c * 500);
    expect(Object.keys(shares(learned, entry))).toEqual(['1', '2']);
  });
});
