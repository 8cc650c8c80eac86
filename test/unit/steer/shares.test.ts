import { describe, expect, it } from 'vitest';
import { shareProblems } from '../../../origin/routing/shares-config.js';
import {
  classCommands,
  filterCommands,
  plannedClasses,
  type SharesConfig,
} from '../../../src/steer/shares.js';

const leaf = (name: string, share: number, ...subnets: string[]) => ({ name, share, subnets, classes: [] });
const CONFIG: SharesConfig = {
  interface: 'wan0',
  rateMbit: 100,
  classes: [
    {
      ...leaf('a', 20),
      classes: [leaf('web', 75, '203.0.113.0/24'), leaf('stream', 25, '203.0.113.80/32', '2001:db8::/64')],
    },
    leaf('b', 30, '198.51.100.0/24'),
  ],
};

describe('shares of a link', () => {
  it('are classes below each other, each with its part of what is above', () => {
    expect(plannedClasses(CONFIG).map((c) => [c.name, c.id, c.parent, c.mbit, c.isLeaf])).toEqual([
      ['a', '7480:10', '7480:1', 20, false],
      ['a/web', '7480:11', '7480:10', 15, true],
      ['a/stream', '7480:12', '7480:10', 5, true],
      ['b', '7480:20', '7480:1', 30, true],
    ]);
  });

  it('borrow up to the whole link, and what no class claims has the rest', () => {
    const lines = classCommands(CONFIG).map((words) => words.join(' '));
    const rateOf = (id: string): string =>
      / rate (\d+)bit ceil (\d+)bit /
        .exec(lines.find((l) => l.includes(` classid ${id} `))!)!
        .slice(1)
        .join();
    expect(rateOf('7480:1')).toBe('100000000,100000000');
    expect(rateOf('7480:fff')).toBe('50000000,100000000');
    expect(rateOf('7480:12')).toBe('5000000,100000000');
    const full = classCommands({ ...CONFIG, classes: [leaf('all', 100, '0.0.0.0/0')] });
    expect(full.map((words) => words.join(' ')).find((l) => l.includes('7480:fff'))).toContain(
      'rate 1000000bit',
    );
    // Queues stand where packets are kept: in classes without classes.
    expect(lines.filter((l) => l.includes('pfifo')).map((l) => / parent (\S+) /.exec(l)![1])).toEqual([
      ...['7480:fff', '7480:11', '7480:12', '7480:20'],
    ]);
  });

  it('go by the narrowest subnet, in one of two sets of filters', () => {
    const said = (pair: 0 | 1): string[] =>
      filterCommands(CONFIG, pair).map(
        (w) => `${w[w.indexOf('pref') + 1]} ${w.slice(w.indexOf('match')).join(' ')}`,
      );
    expect(said(0)).toEqual([
      '11 match ip6 src 2001:db8::/64 flowid 7480:12',
      '10 match ip src 203.0.113.80/32 flowid 7480:12',
      '10 match ip src 203.0.113.0/24 flowid 7480:11',
      '10 match ip src 198.51.100.0/24 flowid 7480:20',
    ]);
    expect(said(1).every((l) => /^2[01] /.test(l))).toBe(true);
  });
});

describe('shares in a role file', () => {
  interface Entry {
    name: string;
    share: number;
    virtual: string[];
    classes: Entry[];
  }
  const entry = (name: string, share: number, ...virtual: string[]): Entry => ({
    ...{ name, share, virtual, classes: [] },
  });
  const problems = (...classes: Entry[]) =>
    shareProblems({ interface: 'wan0', rateMbit: 100, classes }, ['web', 'stream']);

  it('that are right have no problem', () => {
    expect(problems(entry('a', 60, 'web'), entry('b', 40, 'stream'))).toEqual([]);
    expect(
      problems({ ...entry('a', 60), classes: [entry('x', 50, 'web'), entry('y', 50, 'stream')] }),
    ).toEqual([]);
  });

  it.each([
    [
      'add up to more than there is',
      [entry('a', 60, 'web'), entry('b', 41, 'stream')],
      'the shares add up to 101 percent',
    ],
    [
      'add up to more than a customer has',
      [{ ...entry('a', 60), classes: [entry('x', 60, 'web'), entry('y', 50, 'stream')] }],
      'the shares in a add up to 110 percent',
    ],
    ['claim nothing', [entry('a', 60)], "a needs either 'virtual' or 'classes'"],
    ['claim twice', [entry('a', 60, 'web'), entry('b', 20, 'web')], 'web is in two classes'],
    ['claim what is no virtual host', [entry('a', 60, 'wep')], "wep is no name of 'virtual'"],
    ['are named twice', [entry('a', 60, 'web'), entry('a', 20, 'stream')], 'a is listed twice'],
  ])('that %s are told', (_, classes, problem) => {
    expect(problems(...classes)).toEqual([problem]);
  });
});
