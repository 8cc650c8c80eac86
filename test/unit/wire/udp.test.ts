import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fold, pseudoHeader, sum } from '../../../src/wire/checksum.js';
import * as udp from '../../../src/wire/udp.js';

const PROTOCOL = 17;
const word = fc.integer();
const port = fc.nat(65535);
const bytes = fc.uint8Array({ maxLength: 60 });

/** A datagram with a complete checksum (RFC 768), as a sender makes it. */
function datagram(src: number, dst: number, sport: number, dport: number, payload: Uint8Array): DataView {
  const view = new DataView(new ArrayBuffer(3 + udp.HEADER + payload.length));
  const length = udp.HEADER + payload.length;
  udp.write(view, 3, sport, dport, length);
  new Uint8Array(view.buffer).set(payload, 3 + udp.HEADER);
  udp.setCheck(view, 3, checksum(view, src, dst, length));
  return view;
}
/** The reference: summed again over all bytes. */
function checksum(view: DataView, src: number, dst: number, length: number): number {
  const copy = new DataView(view.buffer.slice(0));
  udp.setCheck(copy, 3, 0);
  const value = ~fold(sum(copy, 3, length, pseudoHeader(src, dst, PROTOCOL, length))) & 0xffff;
  return value === 0 ? 0xffff : value;
}

describe('a UDP header', () => {
  it('has, after a rewrite, the checksum that a sender would compute', () => {
    fc.assert(
      fc.property(
        word,
        word,
        port,
        port,
        bytes,
        word,
        port,
        (src, dst, sport, dport, payload, to, toPort) => {
          const view = datagram(src, dst, sport, dport, payload);
          const length = udp.HEADER + payload.length;
          udp.updateForAddress(view, 3, dst, to, false);
          udp.setDport(view, 3, toPort, false);
          expect(udp.dport(view, 3)).toBe(toPort);
          // 0 and 0xffff are the same in one's complement; 0 would mean that there is no checksum.
          expect(udp.check(view, 3)).not.toBe(0);
          expect(udp.check(view, 3) % 0xffff).toBe(checksum(view, src, to, length) % 0xffff);
          udp.updateForAddress(view, 3, src, dst, false);
          udp.setSport(view, 3, dport, false);
          expect(udp.check(view, 3) % 0xffff).toBe(checksum(view, dst, to, length) % 0xffff);
        },
      ),
    );
  });

  it('without a checksum stays without one', () => {
    const view = datagram(1, 2, 3, 4, Uint8Array.of(5));
    udp.setCheck(view, 3, 0);
    udp.updateForAddress(view, 3, 2, 9, false);
    udp.setSport(view, 3, 77, false);
    udp.setDport(view, 3, 78, false);
    expect([udp.check(view, 3), udp.sport(view, 3), udp.dport(view, 3)]).toEqual([0, 77, 78]);
  });

  it("with an open checksum has the pseudo header's sum only, which ports do not change", () => {
    const view = datagram(1, 2, 3, 4, Uint8Array.of(5, 6));
    const length = udp.HEADER + 2;
    udp.setCheck(view, 3, fold(pseudoHeader(1, 2, PROTOCOL, length)));
    udp.updateForAddress(view, 3, 2, 900, true);
    udp.setDport(view, 3, 5, true);
    expect(udp.check(view, 3)).toBe(fold(pseudoHeader(1, 900, PROTOCOL, length)));
  });

  it('lies in its packet with as many bytes as its length says, or is refused', () => {
    const view = datagram(1, 2, 3, 4, Uint8Array.of(5, 6, 7));
    expect(udp.length(view, 3)).toBe(11);
    expect(udp.checkLength(view, 3, 11)).toBe(true);
    expect(udp.checkLength(view, 3, 20)).toBe(true);
    expect(udp.checkLength(view, 3, 10)).toBe(false);
    expect(udp.checkLength(view, 3, 7)).toBe(false);
    view.setUint16(3 + 4, 7);
    expect(udp.checkLength(view, 3, 11)).toBe(false);
  });
});
