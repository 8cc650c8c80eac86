import { describe, expect, it } from 'vitest';
import { type ArmReport, type Figure, Rounds } from '../../../src/lab/bench/rounds.js';
import { quotients } from '../../../src/lab/bench/speed-plot.js';
import { markdown, table } from '../../../src/lab/bench/speed-report.js';
import {
  bootstrap,
  describeTarget,
  isUnstable,
  judge,
  quantile,
  type Target,
} from '../../../src/lab/bench/statistics.js';
import { generator } from '../../../src/load/generator.js';

const least = (value: number): Target => ({ kind: 'least', value });
const most = (value: number): Target => ({ kind: 'most', value });

describe('quantile', () => {
  it('lies between its neighbours', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([4, 1, 3, 2], 0)).toBe(1);
    expect(quantile([4, 1, 3, 2], 1)).toBe(4);
    expect(quantile([10, 20], 0.25)).toBe(12.5);
    expect(quantile([7], 0.9)).toBe(7);
  });
});

describe('bootstrap', () => {
  it('is the same for the same seed, and contains the median', () => {
    const values = [1.02, 0.97, 1.1, 0.99, 1.05, 1.01, 0.93, 1.04, 1];
    const a = bootstrap(values, generator(1));
    expect(a).toEqual(bootstrap(values, generator(1)));
    expect(a.value).toBe(1.01);
    expect(a.low).toBeGreaterThanOrEqual(0.93);
    expect(a.low).toBeLessThan(a.value);
    expect(a.high).toBeGreaterThan(a.value);
    expect(a.high).toBeLessThanOrEqual(1.1);
  });

  it('has no width where nothing varies', () => {
    expect(bootstrap([2, 2, 2], generator(1))).toEqual({ value: 2, low: 2, high: 2 });
  });

  it('narrows with more samples', () => {
    const random = generator(7);
    const width = (n: number): number => {
      const { low, high } = bootstrap(
        Array.from({ length: n }, () => random()),
        generator(1),
      );
      return high - low;
    };
    expect(width(200)).toBeLessThan(width(9));
  });

  it('contains the true median in about 95 of a hundred runs', () => {
    const random = generator(3);
    const held = Array.from({ length: 300 }, () => {
      const { low, high } = bootstrap(
        Array.from({ length: 15 }, () => random()),
        random,
      );
      return low <= 0.5 && 0.5 <= high;
    }).filter(Boolean).length;
    expect(held / 300).toBeGreaterThan(0.88);
  });
});

describe('judge', () => {
  it.each([
    [1, 1.2, least(1), 'yes'],
    [0.99, 1.2, least(1), 'unresolved'],
    [0.9, 1, least(1), 'unresolved'],
    [0.9, 0.999, least(1), 'no'],
    [0, 0, most(0), 'yes'],
    [1, 1, most(0), 'no'],
    [90, 100, most(100), 'yes'],
    [90, 101, most(100), 'unresolved'],
    [101, 120, most(100), 'no'],
    [0.1, 0.2, undefined, 'reported'],
  ] as const)('%s … %s, %o: %s', (low, high, target, met) => {
    expect(judge({ value: (low + high) / 2, low, high }, target)).toBe(met);
  });

  it('describes the target', () => {
    expect([least(0.95), most(100), undefined].map(describeTarget)).toEqual([
      '>= 0.95',
      '<= 100',
      'reported',
    ]);
  });
});

it('a run whose middle half is wider than a fifth of its median is unstable', () => {
  expect(isUnstable([10, 10, 10, 11, 9])).toBe(false);
  expect(isUnstable([10, 14, 6, 12, 8])).toBe(true);
});

describe('rounds', () => {
  const arm = (name: string, values: number[], order?: string[]) => ({
    name,
    unit: 'Gbit/s',
    pids: () => [],
    measure: async () => {
      order?.push(name);
      return { value: values.shift()!, bytes: 1e9 };
    },
  });
  const run = async (): Promise<Rounds> => {
    const rounds = new Rounds(generator(1), 'firstack bench test --json');
    const arms = [arm('ours', [2, 4, 9]), arm('slow', [1, 4, 2]), arm('fast', [2, 2, 3])];
    await rounds.run(arms, 3, () => {});
    return rounds;
  };

  it('takes quotients round by round, divided by the best of the others', async () => {
    const f = (await run()).ratio('ours/others', 'ours', ['slow', 'fast'], least(1), {
      note: 'ours, that is',
    });
    expect(f).toMatchObject({ id: 'ours/others', value: 1, low: 1, high: 3, target: '>= 1', met: 'yes' });
    expect(f.command).toBe('firstack bench test --json');
    expect(f.arms.map((a) => [a.arm, a.median, a.rounds])).toEqual([
      ['ours', 4, 3],
      ['slow', 2, 3],
      ['fast', 2, 3],
    ]);
    expect(f.arms[0]).toMatchObject({ note: 'ours, that is', cpuSecondsPerGb: expect.any(Number) });
  });

  it('multiplies a quotient by its credit', async () => {
    expect((await run()).ratio('x', 'ours', ['fast'], undefined, { credit: 2 })).toMatchObject({
      value: 4,
      met: 'reported',
    });
  });

  it('measures every arm once a round, not always in the same order', async () => {
    const order: string[] = [];
    const names = ['a', 'b', 'c', 'd'];
    const rounds = new Rounds(generator(2), '');
    await rounds.run(
      names.map((n) => arm(n, Array(8).fill(1), order)),
      8,
      () => {},
    );
    const byRound = Array.from({ length: 8 }, (_, k) => order.slice(4 * k, 4 * k + 4));
    for (const round of byRound) expect([...round].sort()).toEqual(names);
    expect(new Set(byRound.map(String)).size).toBeGreaterThan(3);
  });
});

describe('the output of a bench', () => {
  const arms: ArmReport[] = [
    {
      arm: 'pinned-a:down',
      unit: 'Gbit/s',
      median: 8.5,
      quartiles: [8, 9],
      rounds: 9,
      cpuSecondsPerGb: 1.5,
      note: 'a note',
    },
  ];
  const figure = (id: string, met: Figure['met'], target = '>= 1'): Figure => ({
    ...{ id, value: 1.1, low: 1, high: 1.2, target, met, arms },
    command: 'firstack bench all --json',
  });
  const figures = [
    figure('pinned/plain:A:down', 'yes'),
    figure('tun/c:A:up', 'no', '>= 0.95'),
    figure('killed:A:resets', 'yes', '<= 0'),
    figure('race-crr/haproxy:losers-ms', 'yes', '<= 100'),
  ];

  it('an SVG with a title, a row for each quotient, and nothing else', () => {
    const svg = quotients(figures);
    expect(svg).toMatch(/<title>[^<]+<\/title>/);
    expect(svg).toContain('>pinned/plain:A:down<');
    expect(svg).toContain('>tun/c:A:up<');
    expect(svg).not.toContain('killed');
    expect(svg).not.toContain('NaN');
  });

  it('a page with every figure, the command and the plot', () => {
    const page = markdown(figures, 'deploy/measured/performance.svg');
    for (const f of figures) expect(page).toContain(`| \`${f.id}\` |`);
    expect(page).toContain('npm run -s bench -- --json');
    expect(page).toContain('](performance.svg)');
    expect(page).toContain('pinned-a:down: a note.');
    expect(page).not.toMatch(/NaN|undefined/);
  });

  it('a table with a line for each', () => {
    const lines = table(figures).trimEnd().split('\n');
    expect(lines).toHaveLength(1 + figures.length);
    expect(lines[1]).toMatch(
      /^pinned\/plain:A:down +1\.1 +1 … 1\.2 +>= 1 +yes +pinned-a:down 8\.5 Gbit\/s, 1\.5 CPU/,
    );
  });
});
