import { describe, expect, it } from 'vitest';
import { comparable, ruleDeviations } from '../../../src/steer/standing.js';

const rule = ['pref', '7411', 'fwmark', '0x1000000/0xf000000', 'lookup', '7411'];
const stands = { priority: 7411, fwmark: '0x1000000', fwmask: '0xf000000', table: '7411' };
const local = (priority: number) => ({ priority, table: '255' });

describe('policy rules', () => {
  it('that stand are no deviation', () => {
    expect(ruleDeviations([local(0), stands], [rule], false)).toEqual([]);
    expect(ruleDeviations([stands, local(10)], [rule], true)).toEqual([]);
  });

  it.each([
    ['another preference', { ...stands, priority: 7412 }],
    ['another mark', { ...stands, fwmark: '0x2000000' }],
    ['no mask, which is all bits', { ...stands, fwmask: undefined }],
    ['another table', { ...stands, table: '7412' }],
  ])('with %s are missing', (_, listed) => {
    expect(ruleDeviations([listed], [rule], false).map((d) => d.detail)).toEqual(['was removed']);
  });

  it("of the local table: moved where steered packets are the host's own", () => {
    const of = (listed: { priority: number; table: string }[]): string[] =>
      ruleDeviations([stands, ...listed], [rule], true).map((d) => `${d.subject} ${d.detail}`);
    expect(of([])).toEqual(['ip rule pref 10 lookup local was removed']);
    expect(of([local(0), local(10)])).toEqual([
      "ip rule pref 0 lookup local was put back before the role's own rule",
    ]);
  });
});

describe('a listed table', () => {
  const listed = (elem: unknown[], handle: number): string =>
    JSON.stringify({
      nftables: [
        { metainfo: { version: '1' } },
        { set: { name: 's', handle, elem } },
        { rule: { handle: handle + 1, expr: [{ match: { right: { set: [80, 443] } } }] } },
      ],
    });

  it('is the same with other handles and another order of elements', () => {
    expect(comparable(listed(['1.1.1.1', '2.2.2.2'], 1))).toBe(comparable(listed(['2.2.2.2', '1.1.1.1'], 9)));
  });

  it('differs by an element or a rule', () => {
    expect(comparable(listed(['1.1.1.1'], 1))).not.toBe(comparable(listed(['2.2.2.2'], 1)));
    expect(comparable(listed([], 1))).not.toBe(comparable(listed([], 1).replace('443', '444')));
  });
});
