import { describe, expect, it } from 'vitest';
import { ratios } from '../../../src/lab/bench/compare.js';
import { generator } from '../../../src/load/generator.js';

const figure = (id: string, value: number, target: string) => ({ id, value, target });
const pair = (before: number, after: number, target: string) => ({
  before: [figure('x', before, target)],
  after: [figure('x', after, target)],
});
const compare = (...pairs: ReturnType<typeof pair>[]) => ratios(pairs, 0.97, generator(1), 'c');

describe('two checkouts, compared', () => {
  it('are better where the figure is, whichever way it counts', () => {
    expect(compare(pair(10, 11, '>= 1'))[0]).toMatchObject({
      id: 'x',
      value: 1.1,
      met: 'yes',
      before: 10,
      after: 11,
    });
    expect(compare(pair(10, 11, '<= 1'))[0]).toMatchObject({ value: 0.909, met: 'no' });
  });

  it('are not told apart while rounds disagree', () => {
    const rounds = [0.9, 1.1, 0.95, 1.05, 1].map((r) => pair(1, r, '>= 1'));
    expect(compare(...rounds)[0].met).toBe('unresolved');
    expect(compare(...[0.8, 0.81, 0.82].map((r) => pair(1, r, '>= 1')))[0].met).toBe('no');
  });

  it('leave out what one of them does not measure, or has no direction', () => {
    expect(compare(pair(1, 2, 'reported'))).toEqual([]);
    expect(ratios([{ before: [], after: [figure('new', 1, '>= 1')] }], 0.97, generator(1), 'c')).toEqual([]);
  });
});
