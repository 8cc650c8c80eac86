import { expect, it } from 'vitest';
import { PrefixTable } from '../../../src/flow/prefix-table.js';
import { type Address, parse, parsePrefix } from '../../../src/wire/address.js';

const table = new PrefixTable();
const find = (text: string): number => table.find(Int32Array.from(parse(text) as Address), 0);

it('finds the longest prefix of both families, and none', () => {
  const prefixes = ['0.0.0.0/0', '203.0.113.0/24', '203.0.113.80/32', '2001:db8::/32'];
  table.load(prefixes.map((p, value) => ({ prefix: parsePrefix(p)!, value })));
  expect(['9.9.9.9', '203.0.113.9', '203.0.113.80', '2001:db8::1', '2001:db9::1'].map(find)).toEqual([
    0, 1, 2, 3, -1,
  ]);
  table.load([]);
  expect(find('203.0.113.80')).toBe(-1);
});
