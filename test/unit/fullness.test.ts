import { describe, expect, it } from 'vitest';
import { Fullness } from '../../src/fullness.js';

describe('what is full', () => {
  it('is said once when its counter rises, and again after a minute of quiet', () => {
    const said: unknown[] = [];
    const full = new Fullness({ a: 'a is full', b: 'b is full' }, {
      warn: (...x: unknown[]) => void said.push(x),
    } as never);
    full.look({ a: 0, other: 9 }, 0);
    expect(said).toEqual([]);
    full.look({ a: 3, b: 0 }, 1000);
    expect(said).toEqual([[{ counter: 'a', count: 3 }, 'a is full']]);
    for (let s = 2; s < 200; s++) full.look({ a: 3 + s, b: 0 }, s * 1000);
    expect(said).toHaveLength(1);
    full.look({ a: 202, b: 1 }, 230_000);
    expect(said).toHaveLength(2);
    full.look({ a: 202, b: 1 }, 300_000);
    full.look({ a: 203, b: 1 }, 301_000);
    expect(said.at(-1)).toEqual([{ counter: 'a', count: 203 }, 'a is full']);
    expect(said).toHaveLength(3);
  });
});
