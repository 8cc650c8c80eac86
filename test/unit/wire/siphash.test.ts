import { describe, expect, it } from 'vitest';
import { hash, keyFromBytes, result } from '../../../src/wire/siphash.js';
import { siphash } from '../../support/naive.js';
import { Random } from '../../support/random.js';

const KEY = Uint8Array.from({ length: 16 }, (_, i) => i);
function fast(key: Uint8Array, message: Uint8Array, at = 0, length = message.length): bigint {
  hash(keyFromBytes(key), new DataView(message.buffer, message.byteOffset), at, length);
  return (BigInt(result[1] >>> 0) << 32n) | BigInt(result[0] >>> 0);
}

describe('SipHash-2-4', () => {
  // Key 00…0f, message 00…: the test vectors of the paper (appendix A) and of the reference implementation.
  it.each([
    [0, 0x726fdb47dd0e0e31n],
    [1, 0x74f839c593dc67fdn],
    [7, 0xab0200f58b01d137n],
    [8, 0x93f5f5799a932462n],
    [15, 0xa129ca6149be45e5n],
    [63, 0x958a324ceb064572n],
  ])('of %i bytes is the published value', (length, expected) => {
    const message = Uint8Array.from({ length }, (_, i) => i);
    expect(siphash(KEY, message)).toBe(expected);
    expect(fast(KEY, message)).toBe(expected);
  });

  it('agrees with the naive codec for any key, message and offset', () => {
    const random = new Random(5);
    for (let n = 0; n < 3000; n++) {
      const key = random.bytes(16);
      const message = random.bytes(8 + (n % 70));
      const at = n % 8;
      expect(fast(key, message, at, message.length - at)).toBe(siphash(key, message.subarray(at)));
    }
  });
});
