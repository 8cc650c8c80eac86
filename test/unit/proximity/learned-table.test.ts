import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MOST_RACED } from '../../../src/proximity/candidates.js';
import { readLearned } from '../../../src/proximity/learned-table.js';
import { ALL, at, CLIENT, clock, fresh, IDLE, NOW, raced, rtt, words } from '../../support/learned.js';
import { candidateNumber, serviceNumber } from '../../support/numbers.js';

describe('times from other gateways of the site', () => {
  const seed = (service: number, candidate: number, rttMs: number) => ({
    service: serviceNumber(service),
    candidate: candidateNumber(candidate),
    rttUs: rttMs * 1000,
    variationUs: 500,
  });

  it('are used for a new prefix, without a race', () => {
    const learned = fresh();
    learned.seeds = [seed(0, 0, 120), seed(0, 1, 30), seed(0, 2, 60), seed(1, 2, 1)];
    const entry = learned.entry(serviceNumber(0), words(CLIENT), 0);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(1);
    expect(rtt(learned, entry, 1)).toBe(30_000);
  });

  it('are not used when a candidate is missing in them', () => {
    const learned = fresh();
    learned.seeds = [seed(0, 1, 30)];
    expect(learned.choose(learned.entry(serviceNumber(0), words(CLIENT), 0), ALL, IDLE, 1)).toBe(-1);
  });

  it('change nothing that was measured here', () => {
    const learned = fresh();
    raced(learned, { 0: 10, 1: 30, 2: 60 });
    learned.seeds = [seed(0, 2, 1), seed(0, MOST_RACED, 1)];
    const entry = learned.entry(serviceNumber(0), words(CLIENT), 0);
    expect(learned.choose(entry, ALL, IDLE, 1)).toBe(0);
  });
});

describe('the table', () => {
  it('is bounded: the prefix that was unused for longest is replaced in its bucket', () => {
    // Four prefixes of the same bucket.
    const learned = fresh(4);
    const client = (n: number): number => (10 << 24) | (n << 8);
    for (let n = 0; n < 4; n++)
      at(NOW + n, () =>
        learned.note(learned.entry(serviceNumber(0), words(client(n)), 0), 1, 1000 * (n + 1)),
      );
    // The first prefix is used again, so the second is the oldest.
    at(NOW + 10, () => learned.entry(serviceNumber(0), words(client(0)), 0));
    at(NOW + 11, () => learned.entry(serviceNumber(0), words(client(9)), 0));
    const known = readLearned(learned.table).map((e) => (e.prefix.address[3] >>> 8) & 0xff);
    expect(known.sort()).toEqual([0, 2, 3, 9]);
    // The new prefix has nothing of the prefix that it replaced.
    expect(
      learned.best(
        at(NOW + 12, () => learned.entry(serviceNumber(0), words(client(9)), 0)),
        ALL,
      ),
    ).toBe(-1);
    expect(
      rtt(
        learned,
        at(NOW + 13, () => learned.entry(serviceNumber(0), words(client(0)), 0)),
        1,
      ),
    ).toBe(1000);
  });

  type Step =
    | { what: 'note'; service: number; client: number; c: number; us: number }
    | { what: 'forget' | 'won'; service: number; client: number; c: number }
    | { what: 'raced'; service: number; client: number; live: number };
  const where = { service: fc.nat(3), client: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }) };
  const c = fc.nat(MOST_RACED + 1);
  const live = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ what: fc.constant('note' as const), ...where, c, us: fc.nat(3_000_000) }),
    fc.record({ what: fc.constantFrom('forget' as const, 'won' as const), ...where, c }),
    fc.record({ what: fc.constant('raced' as const), ...where, live }),
  );

  it('chooses only candidates that are live, were asked in the last race and have been measured', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
          minLength: MOST_RACED,
          maxLength: MOST_RACED,
        }),
        live,
        fc.nat(0xffffffff),
        (steps, loads, now, hash) => {
          const learned = fresh(8);
          for (const s of steps) {
            clock.nowUs++;
            const entry = learned.entry(serviceNumber(s.service), words(s.client), 0);
            if (s.what === 'raced') learned.raced(entry, s.live);
            else if (s.what === 'note') learned.note(entry, s.c, s.us);
            else learned[s.what](entry, s.c);
          }
          for (const s of steps) {
            clock.nowUs++;
            const entry = learned.entry(serviceNumber(s.service), words(s.client), 0);
            const chosen = learned.choose(entry, now, Float64Array.from(loads), hash | 0);
            if (chosen < 0) continue;
            expect((now >>> chosen) & 1).toBe(1);
            expect(learned.samples(entry, chosen)).toBeGreaterThan(0);
            const best = learned.best(entry, now);
            const apart = rtt(learned, entry, chosen) - rtt(learned, entry, best);
            expect(apart).toBeLessThanOrEqual(learned.jitterUs(entry, best, chosen));
            expect(learned.hedgeUs(entry, chosen)).toBeGreaterThanOrEqual(10_000);
            expect(learned.hedgeUs(entry, chosen)).toBeLessThanOrEqual(2_000_000);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
