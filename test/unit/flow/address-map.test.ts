import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressMap } from '../../../src/flow/address-map.js';
import type { Address } from '../../../src/wire/address.js';

const word = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 1));
const address = fc.oneof(
  fc.tuple(word, word, word, word),
  word.map((w): Address => [0, 0, 0xffff, w]),
) as fc.Arbitrary<Address>;
// Ports of tunnels are above 16 bits (`gateway/race/machines.ts`).
const entry = fc.record({
  address,
  port: fc.nat(0x10010),
  protocol: fc.constantFrom(6, 17),
  value: fc.nat(1000),
});

describe('AddressMap', () => {
  it('agrees with a Map; the later entry of a key wins; a load replaces the former content', () => {
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 40 }),
        fc.array(entry, { maxLength: 40 }),
        (before, entries) => {
          const map = new AddressMap();
          map.load(before);
          map.load(entries);
          const name = (e: { address: Address; port: number; protocol: number }): string =>
            `${e.address} ${e.port} ${e.protocol}`;
          const oracle = new Map(entries.map((e) => [name(e), e.value]));
          for (const e of [...entries, ...before])
            expect(map.ofWords(Int32Array.from([7, ...e.address]), 1, e.port, e.protocol)).toBe(
              oracle.get(name(e)) ?? -1,
            );
        },
      ),
    );
  });

  it('contains IPv4 addresses as v4-mapped ones', () => {
    const map = new AddressMap();
    map.load([{ address: [0, 0, 0xffff, 5], port: 80, value: 3 }]);
    expect(map.getV4(5, 80)).toBe(3);
    expect(map.getV4(5, 81)).toBe(-1);
    expect(map.getV4(5, 80, 17)).toBe(-1);
    expect(map.ofWords(Int32Array.of(0, 0, 0, 5), 0, 80)).toBe(-1);
  });

  it('is empty before the first load, and after an empty one', () => {
    const map = new AddressMap();
    expect(map.getV4(1, 2)).toBe(-1);
    map.load([]);
    expect(map.getV4(1, 2)).toBe(-1);
  });
});
