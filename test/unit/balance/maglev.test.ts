import { describe, expect, it } from 'vitest';
import { maglev } from '../../../src/balance/maglev.js';
import { SLOTS } from '../../../src/balance/slots.js';

const servers = (n: number, weight = 1) =>
  Array.from({ length: n }, (_, i) => ({ name: `10.0.0.${i + 1}`, weight }));
const shares = (table: Int32Array): Map<number, number> => {
  const counts = new Map<number, number>();
  for (const s of table) counts.set(s, (counts.get(s) ?? 0) + 1 / table.length);
  return counts;
};

/** The number of slots whose server changed, by name. */
function moved(
  before: { name: string; weight: number }[],
  after: { name: string; weight: number }[],
): number {
  const [a, b] = [maglev(before), maglev(after)];
  return a.filter((server, slot) => before[server].name !== after[b[slot]].name).length / SLOTS;
}

describe('maglev', () => {
  it('gives every slot a server, and every server its share', () => {
    const all = shares(maglev(servers(16)));
    expect(all.size).toBe(16);
    for (const share of all.values()) expect(Math.abs(share * 16 - 1)).toBeLessThan(0.01);
  });

  it('gives shares by weight', () => {
    const got = shares(maglev([...servers(2), { name: 'heavy', weight: 3 }, { name: 'none', weight: 0 }]));
    expect(got.get(2)).toBeCloseTo(0.6, 2);
    expect(got.get(0)).toBeCloseTo(0.2, 2);
    expect(got.has(3)).toBe(false);
  });

  it('moves less than 8 % of the slots beyond its share when one of 16 servers is removed or added', () => {
    const sixteen = servers(16);
    for (let gone = 0; gone < 16; gone++) {
      const rest = sixteen.filter((_, i) => i !== gone);
      expect(moved(sixteen, rest)).toBeLessThan(1 / 16 + 0.08);
      expect(moved(rest, sixteen)).toBeLessThan(1 / 16 + 0.08);
    }
  });

  it('is the same for any order of the servers', () => {
    const [a, b] = [servers(5), servers(5).reverse()];
    const [x, y] = [maglev(a), maglev(b)];
    const same = x.filter((server, slot) => a[server].name === b[y[slot]].name).length;
    expect(same / SLOTS).toBeGreaterThan(0.9);
  });

  it('has no server where no server has a weight', () => {
    expect(new Set(maglev(servers(3, 0)))).toEqual(new Set([-1]));
    expect(new Set(maglev([]))).toEqual(new Set([-1]));
  });

  it('can have as many servers as a mask can number', () => {
    expect(shares(maglev(servers(255))).size).toBe(255);
  });
});
