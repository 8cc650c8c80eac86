import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RaceFlows } from '../../../gateway/race/flows.js';
import type { FlowEntry, MachineNumber } from '../../../src/flow/numbers.js';
import { FlowTable, TICK_US, tickOf } from '../../../src/flow/table.js';
import { Random } from '../../support/random.js';

const SEED: [number, number] = [11, 22];
const keyOf = (t: FlowTable, n: number): void =>
  t.keyV4(0x0a000000 + (n >> 4), 1000 + (n & 15), 0x01020304, 80);

type Step = { do: 'insert' | 'find' | 'remove'; key: number } | { do: 'sweep'; now: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom('insert', 'insert', 'find', 'remove'), key: fc.nat(60) }),
  fc.record({ do: fc.constant('sweep' as const), now: fc.nat(40) }),
);

describe('FlowTable', () => {
  it('agrees with a Map under any operations, full tables and deletions included', () => {
    let filled = 0;
    fc.assert(
      // Few slots and many keys: long probe sequences, so that deletions must shift entries.
      fc.property(
        fc.array(step, { minLength: 60, maxLength: 150 }),
        fc.integer(),
        fc.integer({ min: 1, max: 16 }),
        (steps, seed, capacity) => {
          const t = new RaceFlows(capacity, [seed, ~seed]);
          const oracle = new Map<number, { e: FlowEntry; until: number }>();
          let n = 0;
          for (const s of steps) {
            n++;
            if (s.do === 'sweep') {
              const due = [...oracle].filter(([, v]) => v.until < s.now);
              expect(t.sweep(s.now, capacity)).toBe(due.length);
              for (const [key] of due) oracle.delete(key);
            } else {
              keyOf(t, s.key);
              const known = oracle.get(s.key);
              expect(t.find()).toBe(known?.e ?? -1);
              if (s.do === 'insert' && known === undefined) {
                const e = t.insert();
                expect(e >= 0).toBe(oracle.size < capacity);
                if (e < 0) {
                  filled++;
                  continue;
                }
                expect([t.state[e], t.winner[e], t.refused[e], t.record[e], t.marks[e]]).toEqual([
                  1, -1, 0, -1, 0,
                ]);
                expect([t.targetPort[e], ...t.target.subarray(e * 4, e * 4 + 4)]).toEqual([0, 0, 0, 0, 0]);
                t.expiresAt[e] = n % 37;
                // Values that the next owner of the entry must not see.
                [t.winner[e], t.refused[e], t.record[e], t.marks[e]] = [5 as MachineNumber, 6, 7, 8];
                [t.targetPort[e], t.target[e * 4], t.target[e * 4 + 3]] = [9, 9, 9];
                oracle.set(s.key, { e, until: n % 37 });
              } else if (s.do === 'remove' && known !== undefined) {
                t.remove(known.e);
                oracle.delete(s.key);
              }
            }
            expect(t.size).toBe(oracle.size);
          }
          for (let key = 0; key <= 60; key++) {
            keyOf(t, key);
            expect(t.find()).toBe(oracle.get(key)?.e ?? -1);
          }
        },
      ),
      { numRuns: 1000 },
    );
    expect(filled).toBeGreaterThan(100);
  });

  it('tells every word of the key apart', () => {
    const t = new FlowTable(64, SEED);
    t.keyV4(1, 2, 3, 4);
    const base = t.key.slice();
    const e = t.insert();
    for (let w = 0; w < base.length; w++) {
      t.key.set(base);
      t.key[w] ^= 1;
      expect(t.find(), `word ${w}`).toBe(-1);
    }
    t.key.set(base);
    expect(t.find()).toBe(e);
    expect([...base].map((_, w) => t.keyWord(e, w))).toEqual([...base]);
    // TCP is 0, as in the keys of flows that were pinned before there were other protocols.
    expect([...base]).toEqual([0, 0, 0xffff, 1, 0, 0, 0xffff, 3, (2 << 16) | 4, 0]);
    t.keyV4(-1, 65535, -1, 65535);
    expect(t.key[8]).toBe(-1);
  });

  describe('the hash', () => {
    const imul = Math.imul;
    let last = 0;
    beforeEach(() => {
      // The hash is private; the test observes its last multiplication.
      Math.imul = (x, y) => (last = imul(x, y));
    });
    afterEach(() => {
      Math.imul = imul;
    });
    const hashIn = (t: FlowTable, n: number): number => {
      keyOf(t, n);
      t.find();
      return last ^ (last >>> 16);
    };

    it('depends on the seed: keys that collide with one seed do not with another', () => {
      const a = new FlowTable(4, SEED);
      const colliding = Array.from({ length: 50_000 }, (_, n) => n).filter((n) => (hashIn(a, n) & 255) === 0);
      expect(colliding.length).toBeGreaterThan(100);
      for (const seed of [
        [SEED[0] + 1, SEED[1]],
        [SEED[0], SEED[1] + 1],
      ] as const) {
        const b = new FlowTable(4, seed);
        expect(new Set(colliding.map((n) => hashIn(b, n) & 255)).size).toBeGreaterThan(75);
      }
    });

    it('has another seed in every table with a seed from the operating system', () => {
      const fresh = (): FlowTable => new FlowTable(4, FlowTable.randomSeed());
      expect(hashIn(fresh(), 1)).not.toBe(hashIn(fresh(), 1));
    });
  });

  it('keeps all flows in a flood of ten times its size (rule 40 of test/conformance)', () => {
    const t = new FlowTable(1000, SEED);
    const random = new Random(6);
    const established = Array.from({ length: 400 }, (_, n) => n);
    const entries = established.map((n) => {
      keyOf(t, n);
      const e = t.insert();
      t.expiresAt[e] = 1_000_000;
      return e;
    });
    const entryOf = (n: number): number => {
      keyOf(t, n);
      return t.find();
    };
    let refused = 0;
    for (let n = 0; n < 10_000; n++) {
      t.keyV4(random.word(), random.below(65536), random.word(), 80);
      const e = t.insert();
      if (e < 0) refused++;
      else t.expiresAt[e] = 100;
    }
    expect(t.size).toBe(1000);
    expect(refused).toBe(9400);
    expect(established.map(entryOf)).toEqual(entries);
    // Once the flood has expired there is room again, and no established flow was removed.
    expect(t.sweep(101, 1000)).toBe(600);
    expect(established.map(entryOf)).toEqual(entries);
  });

  it('sweeps the whole table in pieces, and across the wrap of the ticks', () => {
    const t = new FlowTable(10, SEED);
    for (let n = 0; n < 10; n++) {
      keyOf(t, n);
      t.expiresAt[t.insert()] = 0x7fffffff;
    }
    const later = 0x80000005 | 0;
    expect([t.sweep(0x7fffffff, 10), t.sweep(later, 4), t.sweep(later, 4), t.sweep(later, 4)]).toEqual([
      0, 4, 4, 2,
    ]);
    expect(t.size).toBe(0);
  });

  it('may have no room at all', () => {
    const t = new FlowTable(0, SEED);
    keyOf(t, 1);
    expect([t.find(), t.insert(), t.sweep(5, 10)]).toEqual([-1, -1, 0]);
  });
});

describe('ticks', () => {
  it('are tenths of a second, as 32-bit words', () => {
    expect(TICK_US).toBe(100_000);
    expect([tickOf(0), tickOf(99_999), tickOf(100_000)]).toEqual([0, 0, 1]);
    expect(tickOf(2 ** 31 * 1e5)).toBe(-(2 ** 31));
  });
});
