import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as address from '../../../src/wire/address.js';

const V4 = ['0.0.0.0', '255.255.255.255', '203.0.113.10', '10.1.0.7'];

describe('addresses', () => {
  it.each(V4)('reads and prints %s as v4-mapped words', (text) => {
    const a = address.parse(text)!;
    expect(address.isV4(a)).toBe(true);
    expect(address.format(a)).toBe(text);
    expect(address.equal(a, address.fromV4(a[3]))).toBe(true);
  });

  it.each([
    ['::', [0, 0, 0, 0]],
    ['::1', [0, 0, 0, 1]],
    ['2001:db8::1', [0x20010db8, 0, 0, 1]],
    ['2001:db8:0:0:1:0:0:1', [0x20010db8, 0, 0x10000, 1]],
    ['::ffff:10.1.0.7', [0, 0, 0xffff, 0x0a010007]],
    ['fe80:1:2:3:4:5:6:7', [-25165823, 0x20003, 0x40005, 0x60007]],
  ])('reads %s', (text, words) => {
    expect(address.parse(text)).toEqual(words);
  });

  it.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.-4',
    ' 1.2.3.4',
    '1.2.3.4 ',
    '0x1.2.3.4',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '12345::',
    'g::',
    '::1.2.3',
    '1:2:3:4:5:6:7::8:9',
  ])('refuses %j', (text) => {
    expect(address.parse(text)).toBeUndefined();
  });

  it('prints any address so that it is parsed to the same address, with the longest run of zeros shortened (RFC 5952)', () => {
    const word = fc.oneof(fc.constant(0), fc.integer());
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), (words) => {
        const text = address.format(words);
        expect(address.parse(text)).toEqual(words);
        if (text.includes(':')) expect(isIPv6(text)).toBe(true);
      }),
    );
    expect(address.format([0x20010db8, 0, 0x10000, 1])).toBe('2001:db8::1:0:0:1');
    expect(address.format([0, 0, 0, 0])).toBe('::');
  });

  it('agrees with node on what an IPv6 address is', () => {
    const part = fc.constantFrom(':', '::', '0', 'ff', '1234', '12345', 'g', '1.2.3.4');
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 12 }), (parts) => {
        const text = parts.join('');
        fc.pre(text.includes(':') && !/\.\d+:|\.4\./.test(text));
        expect(address.parse(text) !== undefined).toBe(isIPv6(text));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('prefixes', () => {
  it('clears host bits and prints what it parsed', () => {
    expect(address.formatPrefix(address.parsePrefix('10.1.2.3/16')!)).toBe('10.1.0.0/16');
    expect(address.formatPrefix(address.parsePrefix('2001:db8:ffff::/33')!)).toBe('2001:db8:8000::/33');
    expect(address.formatPrefix(address.parsePrefix('0.0.0.0/0')!)).toBe('0.0.0.0/0');
  });

  it.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '::/129', 'x/8', '10.0.0.0/-1'])(
    'refuses %j',
    (text) => {
      expect(address.parsePrefix(text)).toBeUndefined();
    },
  );

  it('contain addresses by their leading bits', () => {
    const bit = (a: address.Address, i: number): number => (a[i >> 5] >>> (31 - (i & 31))) & 1;
    const near = fc.record({
      words: fc.tuple(fc.integer(), fc.integer(), fc.integer(), fc.integer()),
      bits: fc.nat(128),
      flip: fc.nat(127),
    });
    fc.assert(
      fc.property(near, ({ words, bits, flip }) => {
        const other = [...words] as [number, number, number, number];
        other[flip >> 5] ^= 1 << (31 - (flip & 31));
        const p = { address: words, bits };
        let same = true;
        for (let i = 0; i < bits; i++) same &&= bit(words, i) === bit(other, i);
        expect(address.contains(p, other)).toBe(same);
        expect(address.contains(p, words)).toBe(true);
      }),
    );
  });

  it('overlap when one contains the other', () => {
    const overlap = (a: string, b: string): boolean =>
      address.overlaps(address.parsePrefix(a)!, address.parsePrefix(b)!);
    expect(overlap('10.0.0.0/8', '10.1.0.0/16')).toBe(true);
    expect(overlap('10.1.0.0/16', '10.0.0.0/8')).toBe(true);
    expect(overlap('10.1.0.0/16', '10.2.0.0/16')).toBe(false);
    expect(overlap('10.1.0.0/16', '10.1.0.0/16')).toBe(true);
    expect(overlap('0.0.0.0/0', '2001:db8::/32')).toBe(false);
  });
});
