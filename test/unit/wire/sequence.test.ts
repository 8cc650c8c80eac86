import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as sequence from '../../../src/wire/sequence.js';

const word = fc.integer();
const unsigned = (n: number): bigint => BigInt(n >>> 0);
const MODULUS = 1n << 32n;

describe('sequence numbers', () => {
  it('add modulo 2^32, as signed words', () => {
    expect(sequence.add(-1, 1)).toBe(0);
    expect(sequence.add(0x7fffffff, 1)).toBe(-0x80000000);
    fc.assert(
      fc.property(word, fc.nat(0xffff), (a, n) => {
        expect(unsigned(sequence.add(a, n))).toBe((unsigned(a) + BigInt(n)) % MODULUS);
      }),
    );
  });

  it('compare across the wrap', () => {
    expect(sequence.before(-1, 0)).toBe(true);
    expect(sequence.before(0, -1)).toBe(false);
    expect(sequence.before(5, 5)).toBe(false);
    expect(sequence.before(0x7fffffff, -0x80000000)).toBe(true);
  });

  it('lie within a window that may wrap', () => {
    fc.assert(
      fc.property(word, fc.nat(0xffff), fc.integer({ min: -10, max: 0x1000f }), (low, size, offset) => {
        const inside = offset >= 0 && offset <= size;
        expect(sequence.within((low + offset) | 0, low, (low + size) | 0)).toBe(inside);
      }),
    );
  });
});
