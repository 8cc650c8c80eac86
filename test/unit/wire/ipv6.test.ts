import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as ipv6 from '../../../src/wire/ipv6.js';

const WORDS = Int32Array.of(0x20010db8, 0, 0, 1, 0x20010db8, 1, 0, 0x50);

/** A packet with these extension headers: [kind, bytes]; the bytes begin with the next header, which is filled in. */
function packet(headers: [number, number[]][], transport = 6, payload = 20): DataView {
  const size = headers.reduce((n, [, bytes]) => n + bytes.length, 0);
  const view = new DataView(new ArrayBuffer(ipv6.HEADER + size + payload));
  const kinds = [...headers.map(([kind]) => kind), transport];
  ipv6.write(view, 0, 0, view.byteLength, 64, kinds[0], WORDS, 0, 4);
  let p = ipv6.HEADER;
  headers.forEach(([, bytes], n) => {
    for (const [k, byte] of bytes.entries()) view.setUint8(p + k, byte);
    view.setUint8(p, kinds[n + 1]);
    p += bytes.length;
  });
  return view;
}
const options = (units = 0): number[] => [0, units, ...Array(6 + 8 * units).fill(0)];
const fragment = (offset: number, more: boolean): number[] => [
  ...[0, 0, offset >>> 8, (offset & 0xf8) | (more ? 1 : 0)],
  ...[1, 2, 3, 4],
];

describe('an IPv6 header', () => {
  it('is written and read', () => {
    const view = packet([]);
    expect(ipv6.checkLength(view, 0, view.byteLength)).toBe(true);
    expect(ipv6.totalLength(view, 0)).toBe(60);
    expect([ipv6.hopLimit(view, 0), ipv6.nextHeader(view, 0)]).toEqual([64, 6]);
    expect(view.getInt32(ipv6.SADDR)).toBe(0x20010db8);
    expect(view.getInt32(ipv6.DADDR + 12)).toBe(0x50);
    ipv6.setTotalLength(view, 0, 56);
    expect(ipv6.totalLength(view, 0)).toBe(56);
  });

  it('must lie in the bytes that were read', () => {
    const view = packet([]);
    expect(ipv6.checkLength(view, 0, 39)).toBe(false);
    expect(ipv6.checkLength(view, 0, 59)).toBe(false);
    view.setUint8(0, 0x45);
    expect(ipv6.checkLength(view, 0, 60)).toBe(false);
  });
});

describe('extension headers', () => {
  it('lead to the transport header', () => {
    const view = packet([
      [0, options()],
      [60, options(1)],
      [43, options()],
      [51, [0, 4, ...Array(22).fill(0)]],
    ]);
    expect(ipv6.walk(view, 0)).toBe(true);
    expect(ipv6.found).toEqual({ protocol: 6, l4: ipv6.HEADER + 8 + 16 + 8 + 24, fragment: -1 });
  });

  it('end where the protocol is not known, or there is none', () => {
    for (const protocol of [59, 50, 253]) {
      expect(ipv6.walk(packet([[0, options()]], protocol), 0)).toBe(true);
      expect(ipv6.found).toMatchObject({ protocol, l4: 48 });
    }
  });

  it('tell a fragment, and take an atomic one as whole', () => {
    expect(ipv6.walk(packet([[44, fragment(0, true)]]), 0)).toBe(true);
    expect(ipv6.found).toEqual({ protocol: 6, l4: 48, fragment: 40 });
    expect(ipv6.walk(packet([[44, fragment(0, false)]]), 0)).toBe(true);
    expect(ipv6.found).toEqual({ protocol: 6, l4: 48, fragment: -1 });
    // What a later fragment carries is not taken for a header.
    expect(ipv6.walk(packet([[44, fragment(1232, false)]], 0), 0)).toBe(true);
    expect(ipv6.found).toEqual({ protocol: 0, l4: 48, fragment: 40 });
  });

  it('that do not end in the packet, or are too many, are malformed', () => {
    expect(ipv6.walk(packet([[0, [0, 200, 0, 0, 0, 0, 0, 0]]]), 0)).toBe(false);
    expect(ipv6.walk(packet([[0, [0, 0]]], 6, 0), 0)).toBe(false);
    expect(ipv6.walk(packet(Array.from({ length: 9 }, () => [60, options()])), 0)).toBe(false);
  });

  it('are followed in any bytes without a read beyond the packet', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: ipv6.HEADER, maxLength: 200 }), (bytes) => {
        bytes[0] = 0x60;
        const payload = bytes.length - ipv6.HEADER;
        bytes[4] = payload >>> 8;
        bytes[5] = payload & 0xff;
        // A read beyond the view throws.
        const view = new DataView(bytes.slice().buffer);
        if (ipv6.walk(view, 0)) expect(ipv6.found.l4).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 2000 },
    );
  });
});
