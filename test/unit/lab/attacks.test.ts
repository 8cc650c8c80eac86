// The figures of the benches that play against a laboratory, and the page of `bench attacks`.
import { describe, expect, it } from 'vitest';
import { pageAt, pageWith } from '../../../src/lab/attacks/page.js';
import { compare, saying } from '../../../src/lab/attacks/pings.js';
import { figure } from '../../../src/lab/figure.js';

const play = { bench: 'attacks', seed: 7 } as const;
const of = (id: string, value: number, what = 'w') => figure(play, id, value, { most: 0 }, what);

describe('a figure', () => {
  it('says whether its target is met, and with which command it was measured', () => {
    expect(
      figure({ ...play, options: '--seconds 9' }, 'thief.a:failed', 0.98765, { least: 0.9 }, 'w'),
    ).toEqual({
      ...{
        id: 'thief.a:failed',
        value: 0.988,
        low: 0.988,
        high: 0.988,
        target: '>= 0.9',
        met: 'yes',
        what: 'w',
      },
      command: 'firstack bench attacks --only thief.a --seed 7 --seconds 9',
    });
    expect([of('x', 0).met, of('x', 0.0001).met, of('x', 0.0001).value]).toEqual(['yes', 'no', 0]);
    expect(figure({ bench: 'damage', seed: 1 }, 'x', Number.NaN, { least: 0 }, '').met).toBe('no');
  });
});

describe('the page', () => {
  const rows = (page: string) => page.split('\n').filter((line) => line.startsWith('| `'));
  const first = `${pageWith(pageAt('/none'), [of('upgrade', 0), of('flood.a', 1), of('forged', 0, 'a'), of('forged', 0, 'b')])}- a word\n`;

  it('has the attacks in order, each with what was seen', () => {
    expect(rows(first)).toEqual([
      '| `flood.a` | 1 | ≤ 0 | no | w |',
      '| `upgrade` | 0 | ≤ 0 | yes | w |',
      '| `forged` | 0 | ≤ 0 | yes | a |',
      '| `forged` | 0 | ≤ 0 | yes | b |',
    ]);
  });

  it('keeps what was not measured this time, and the words', () => {
    const again = pageWith(first, [of('flood.a', 0, 'c'), of('thief.x', 2, 'd|e'), of('forged', 0, 'f')]);
    expect(rows(again)).toEqual([
      '| `flood.a` | 0 | ≤ 0 | yes | c |',
      '| `thief.x` | 2 | ≤ 0 | no | d/e |',
      '| `upgrade` | 0 | ≤ 0 | yes | w |',
      '| `forged` | 0 | ≤ 0 | yes | f |',
    ]);
    expect(again.endsWith('\n\n- a word\n')).toBe(true);
  });
});

describe('pings of two machines', () => {
  it('are compared by their numbers', () => {
    const pings = compare(
      'r2',
      'r1',
      new Map([
        [1, 30],
        [2, 100],
        [3, 31],
      ]),
      new Map([
        [1, 90],
        [2, 91],
        [4, 92],
      ]),
    );
    expect(pings).toEqual({
      ...{ count: 2, later: 1 },
      times: { r2: { p50: 31, p95: 31 }, r1: { p50: 91, p95: 91 } },
    });
    expect(saying(pings)).toBe(
      'pings meanwhile, ms: r2 31, 95 % within 31; r1 91, 95 % within 91; r2 was the later in 1 of 2',
    );
    expect(compare('r2', 'r1', new Map(), new Map()).count).toBe(0);
  });
});
