import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Contender, nearest } from '../../../../gateway/race/contenders.js';

const MOST = 31;
const machine = (n: number, rttUs: number | undefined, change: Partial<Contender> = {}): Contender => ({
  ...{ id: `m${n}`, rttUs, isCandidate: false, isEjected: false },
  ...change,
});
const many = (count: number, rttUs: (n: number) => number | undefined): Contender[] =>
  Array.from({ length: count }, (_, n) => machine(n, rttUs(n)));

it('are all of them where a race can name them all, measured or not', () => {
  expect(
    nearest(
      many(31, () => undefined),
      MOST,
    ).size,
  ).toBe(31);
});

it('are the nearest of those that were measured', () => {
  const all = many(400, (n) => 1000 * (400 - n));
  expect([...nearest(all, MOST)].sort()).toEqual(
    many(400, () => 0)
      .slice(369)
      .map((c) => c.id)
      .sort(),
  );
});

it('include a few of those that cannot be measured, others in each turn', () => {
  const all = many(100, (n) => (n < 40 ? undefined : 1000 * n));
  const unmeasured = (turn: number): string[] =>
    [...nearest(all, MOST, turn)].filter((id) => Number(id.slice(1)) < 40);
  expect(unmeasured(0)).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7']);
  expect(unmeasured(1)).toEqual(['m8', 'm9', 'm10', 'm11', 'm12', 'm13', 'm14', 'm15']);
  const ever = new Set([0, 1, 2, 3, 4].flatMap(unmeasured));
  expect(ever.size).toBe(40);
});

it('do not change places with machines that are hardly nearer', () => {
  const all = [...many(31, (n) => 10_000 + n), machine(40, 9600), machine(41, 8000)].map((c, n) => ({
    ...c,
    isCandidate: n < 31,
  }));
  const chosen = nearest(all, MOST);
  expect([chosen.has('m40'), chosen.has('m41'), chosen.has('m30')]).toEqual([false, true, false]);
});

it('keep an ejected machine, which is to be tried again', () => {
  const all = many(100, (n) => 1000 * (n + 1));
  all[90] = machine(90, 91_000, { isCandidate: true, isEjected: true });
  expect(nearest(all, MOST).has('m90')).toBe(true);
});

it('are as many as there are places, whatever is known', () => {
  const contender = fc.record({
    rttUs: fc.option(fc.nat(400_000), { nil: undefined }),
    isCandidate: fc.boolean(),
    isEjected: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(contender, { minLength: 1, maxLength: 120 }), fc.nat(9), (list, turn) => {
      // At most a third is ejected.
      const all = list.map((c, n) => ({
        ...c,
        id: `m${n}`,
        isEjected: c.isEjected && n % 3 === 0 && n < 60,
      }));
      expect(nearest(all, MOST, turn).size).toBe(Math.min(MOST, all.length));
    }),
  );
});
