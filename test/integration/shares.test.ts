// Shares on a real interface: put in place, changed in place, watched, removed; another's discipline stays.

import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { othersOn, Shares, type SharesConfig } from '../../src/steer/shares.js';
import { bed, ip } from './kernel-bed.js';

bed('shares');

const tc = (...args: string[]): string => execFileSync('tc', args, { encoding: 'utf8' });

const leaf = (name: string, share: number, subnet: string) => ({
  name,
  share,
  subnets: [subnet],
  classes: [],
});
const config = (...classes: SharesConfig['classes']): SharesConfig => ({
  interface: 'link0',
  rateMbit: 100,
  classes,
});
const classes = (): string[] =>
  [...tc('class', 'show', 'dev', 'link0').matchAll(/class htb 7480:(\S+) .*rate (\S+) /g)]
    .map((m) => `${m[1]} ${m[2]}`)
    .sort();
const filters = (): string[] =>
  [...tc('filter', 'show', 'dev', 'link0', 'parent', '7480:').matchAll(/flowid 7480:(\S+)/g)].map(
    (m) => m[1],
  );

let shares: Shares;
beforeEach(() => {
  ip('link', 'add', 'link0', 'type', 'veth', 'peer', 'name', 'link1');
  ip('link', 'set', 'link0', 'up');
  shares = new Shares();
});
afterEach(() => {
  ip('link', 'delete', 'link0');
});

describe('shares', () => {
  it('stand, are changed in place, and are removed', async () => {
    await shares.apply(config(leaf('a', 20, '203.0.113.80/32'), leaf('b', 30, '203.0.113.81/32')));
    expect(classes()).toEqual(['1 100Mbit', '10 20Mbit', '20 30Mbit', 'fff 50Mbit']);
    expect(filters()).toEqual(['10', '20']);
    expect(await shares.counts()).toEqual([
      { name: 'a', mbit: 20, bytes: 0, packets: 0, dropped: 0 },
      { name: 'b', mbit: 30, bytes: 0, packets: 0, dropped: 0 },
    ]);
    await shares.apply(
      config({ ...leaf('a', 40, ''), subnets: [], classes: [leaf('x', 50, '203.0.113.80/32')] }),
    );
    expect(classes()).toEqual(['1 100Mbit', '10 40Mbit', '11 20Mbit', 'fff 60Mbit']);
    expect(filters()).toEqual(['11']);
    await shares.remove();
    expect(othersOn('link0')).toBe('');
    expect(classes()).toEqual([]);
  });

  it('of a process that was killed are taken over', async () => {
    await shares.apply(config(leaf('a', 20, '203.0.113.80/32'), leaf('b', 30, '203.0.113.81/32')));
    await new Shares().apply(config(leaf('a', 25, '203.0.113.80/32')));
    expect(classes()).toEqual(['1 100Mbit', '10 25Mbit', 'fff 75Mbit']);
    expect(filters()).toEqual(['10']);
  });

  it('that another program takes away are put back', async () => {
    await shares.apply(config(leaf('a', 20, '203.0.113.80/32')));
    expect(await shares.look()).toBe('');
    tc('qdisc', 'del', 'dev', 'link0', 'root');
    expect(await shares.look()).toBe('link0');
    expect(classes()).toEqual(['1 100Mbit', '10 20Mbit', 'fff 80Mbit']);
  });

  it('replace no discipline of another', async () => {
    tc(
      'qdisc',
      'add',
      'dev',
      'link0',
      'root',
      'handle',
      '1:',
      'tbf',
      'rate',
      '1mbit',
      'burst',
      '10k',
      'latency',
      '50ms',
    );
    expect(othersOn('link0')).toBe('tbf 1:');
    const refused = await shares.apply(config(leaf('a', 20, '203.0.113.80/32'))).catch((error) => error);
    expect([refused.code, refused.message]).toEqual([
      'FSA_STEERING_TAKEN',
      'link0: tbf 1: stands there, and shares never replace it: tc qdisc del dev link0 root',
    ]);
    await shares.remove();
    expect(tc('qdisc', 'show', 'dev', 'link0')).toContain('tbf 1:');
  });
});
