import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as options from '../../../src/wire/options.js';
import { linuxOptions, option } from '../../support/builder.js';
import { parseOptions } from '../../support/naive.js';

/** The offset of a TCP header with these options; the bytes around it are 0xEE. */
function at(bytes: readonly number[]): [DataView, number, number] {
  const all = new Uint8Array(8 + 20 + bytes.length + 8).fill(0xee);
  all.set(bytes, 28);
  return [new DataView(all.buffer), 8, 20 + bytes.length];
}
const find = (bytes: readonly number[], kind: number, exId?: number): number => {
  const p = options.find(...at(bytes), kind, exId);
  return p >= 0 ? p - 28 : p;
};
const end = (bytes: readonly number[]): number => {
  const p = options.end(...at(bytes));
  return p >= 0 ? p - 28 : p;
};

describe('finding an option', () => {
  it('skips others, and NOPs', () => {
    expect(find(linuxOptions(), options.MSS)).toBe(0);
    expect(find(linuxOptions(), 3)).toBe(17);
    expect(find(linuxOptions(), 5)).toBe(options.NOT_FOUND);
  });

  it('asks for kind and ExID (RFC 6994)', () => {
    expect(find([...option.fastOpen, 253, 4, 0xfa, 0x57], 253, 0xfa57)).toBe(12);
    expect(find([253, 4, 0xf9, 0x89], 253, 0xfa57)).toBe(options.NOT_FOUND);
    expect(find([253, 4, 0xf9, 0x89, 253, 4, 0xfa, 0x57], 253, 0xfa57)).toBe(4);
    expect(find([253, 3, 0xfa, 0x57], 253, 0xfa57)).not.toBe(0);
  });

  it('finds the first of repeated options', () => {
    expect(find([2, 4, 1, 1, 2, 4, 2, 2], options.MSS)).toBe(0);
  });

  it.each([
    ['a length of zero', [2, 0, 0, 0]],
    ['a length of one', [2, 1, 0, 0]],
    ['a length beyond the header', [1, 1, 2, 4]],
    ['no room for a length', [1, 1, 1, 2]],
    ['an endless row of zero lengths', new Array<number>(40).fill(0).map((_, i) => (i % 2 === 0 ? 9 : 0))],
  ])('ends at %s', (_, bytes) => {
    expect(find(bytes, 77)).toBe(options.MALFORMED);
    expect(end(bytes)).toBe(options.MALFORMED);
  });

  it('finds nothing behind EOL', () => {
    expect(find([0, 2, 4, 5], options.MSS)).toBe(options.NOT_FOUND);
    expect(end([1, 1, 0, 9])).toBe(2);
    expect(end(linuxOptions())).toBe(20);
    expect(end([])).toBe(0);
  });

  it('agrees with the naive codec on any bytes', () => {
    const piece = fc.oneof(
      fc.constantFrom(option.nop, option.eol, option.sackPermitted, option.windowScale, option.mss(1460)),
      fc.constantFrom([253, 4, 0xfa, 0x57], [253, 16, 0xfa, 0x57, 1, 2, 3, 4], [2, 0], [8, 255]),
      fc.array(fc.nat(255), { maxLength: 6 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const bytes = pieces.flat().slice(0, 40);
        const parsed = parseOptions(bytes);
        const whole = parsed?.reduce((n, o) => n + o.bytes.length, 0);
        expect(end(bytes)).toBe(whole ?? options.MALFORMED);
        // An option before a malformed one is found.
        let offset = 0;
        let expected = parsed === undefined ? options.MALFORMED : options.NOT_FOUND;
        for (let rest = bytes; rest.length > 0 && rest[0] !== 0; ) {
          const length = rest[0] === 1 ? 1 : (rest[1] ?? 0);
          if (rest[0] !== 1 && (length < 2 || length > rest.length)) break;
          if (rest[0] === 2) {
            expected = offset;
            break;
          }
          offset += length;
          rest = rest.slice(length);
        }
        expect(find(bytes, options.MSS)).toBe(expected);
      }),
      { numRuns: 3000 },
    );
  });
});
