import { describe, expect, it } from 'vitest';
import { Fullness } from '../../src/fullness.js';

describe('what is full', () => {
  it('is said once when its counter rises, and again after a minute of quiet', () => {
    const said: unknown[] = [];
    const full = new Fullness({ a: 'a is full', b: 'b is full' }, {
      say: (...x: unknown[]) => void said.push(x),
    } as never);
    full.look({ a: 0, other: 9 }, 0);
    expect(said).toEqual([]);
    full.look({ a: 3, b: 0 }, 1000);
    expect(said).toEqual([['warn', 'counter', 'a', 'a is full', { count: 3 }]]);
    for (let s = 2; s < 200; s++) full.look({ a: 3 + s, b: 0 }, s * 1000);
    expect(said).toHaveLength(1);
    full.look({ a: 202, b: 1 }, 230_000);
    expect(said).toHaveLength(2);
    full.look({ a: 202, b: 1 }, 300_000);
    full.look({ a: 203, b: 1 }, 301_000);
    expect(said.at(-1)).toEqual(['warn', 'counter', 'a', 'a is full', { count: 203 }]);
    expect(said).toHaveLength(3);
  });

  it('is present while its counter rises, and a moment longer', () => {
    const full = new Fullness({ a: 'a is full', b: 'b is full' }, { say: () => {} });
    expect(full.present(0)).toEqual([]);
    full.look({ a: 1 }, 1000);
    expect(full.present(2000)).toEqual(['a is full']);
    full.look({ a: 1 }, 14_000);
    expect(full.present(15_999)).toEqual(['a is full']);
    expect(full.present(16_000)).toEqual([]);
  });
});
