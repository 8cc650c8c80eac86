import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as ipip from '../../../src/wire/ipip.js';
import * as ipv4 from '../../../src/wire/ipv4.js';
import { anyPacket } from '../../support/arbitrary.js';
import { fromClient, tunnel } from '../../support/builder.js';
import { frame, type Packet, parseFrame } from '../../support/naive.js';
import { segmentsOf } from '../../support/naive-segments.js';

const HEADROOM = 40;
const OUTER_SOURCE = 0x0a010007;
const OUTER_DESTINATION = 0xc633640b | 0;

function place(bytes: Uint8Array): { view: DataView; at: number; now: (at: number) => Uint8Array } {
  const all = new Uint8Array(HEADROOM + bytes.length + 8).fill(0xee);
  all.set(bytes, HEADROOM);
  const view = new DataView(all.buffer);
  return {
    view,
    at: HEADROOM + 10,
    now: (at) => all.slice(at - 10, at + ipv4.totalLength(view, at)),
  };
}

describe('IP-in-IP (RFC 2003)', () => {
  it('encapsulates as the naive codec does: DF, DSCP and ECN copied, TTL its own, checksums right', () => {
    fc.assert(
      fc.property(anyPacket, fc.nat(0xffff), (p, id) => {
        const { view, at, now } = place(frame(p));
        const outer = ipip.encapsulate(view, at, OUTER_SOURCE, OUTER_DESTINATION, id);
        expect(at - outer).toBe(ipip.OVERHEAD);
        expect(now(outer)).toEqual(frame(tunnel('10.1.0.7', '198.51.100.11', p, { id: p.df ? 0 : id })));
      }),
    );
  });

  it('completes a checksum that was left open', () => {
    const p = fromClient('PA', { payload: [1, 2, 3] });
    const { view, at, now } = place(frame({ ...p, open: { gsoSize: 0 } }));
    const outer = ipip.encapsulate(view, at, OUTER_SOURCE, OUTER_DESTINATION, 0);
    expect(now(outer)).toEqual(frame(tunnel('10.1.0.7', '198.51.100.11', p)));
  });

  it('keeps a super-packet whole: its virtio header in front, offsets counted from there', () => {
    fc.assert(
      fc.property(anyPacket, fc.integer({ min: 1, max: 0xffff }), (p, gsoSize) => {
        const open = { ...p, open: { gsoSize } };
        const { view, at, now } = place(frame(open));
        const l4 = at + ipv4.headerLength(view, at);
        expect(ipip.segments(view, at, l4)).toBe(segmentsOf(open).length);
        const outer = ipip.encapsulate(view, at, OUTER_SOURCE, OUTER_DESTINATION, 3);
        expect(now(outer)).toEqual(frame(tunnel('10.1.0.7', '198.51.100.11', open, { id: p.df ? 0 : 3 })));
        // A packet that is no super-packet is one segment, whatever else its virtio header contains.
        expect(ipip.segments(place(frame(p)).view, at, l4)).toBe(1);
      }),
    );
  });

  it('decapsulates what it encapsulated, byte for byte', () => {
    fc.assert(
      fc.property(anyPacket, (p) => {
        const ecnSafe = { ...p, tos: p.tos & 0xfc };
        const { view, at, now } = place(frame(ecnSafe));
        const outer = ipip.encapsulate(view, at, OUTER_SOURCE, OUTER_DESTINATION, 7);
        const inner = ipip.decapsulate(view, outer);
        expect(inner).toBe(at);
        expect(now(inner)).toEqual(frame(ecnSafe));
      }),
    );
  });

  it("moves the offset of an open inner checksum to the inner header's new place", () => {
    const p: Packet = fromClient('PA', { payload: [9, 9] });
    const f = frame(tunnel('1.2.3.4', '5.6.7.8', p));
    // The form in which a local kernel passes a packet that it tunnelled itself: csum_start counts from the outer
    // header.
    const open = frame({ ...p, open: { gsoSize: 0 } });
    f.set(open.subarray(10), 30);
    f.set([1, 0, 0, 0, 0, 0, 40, 0, 16, 0]);
    const { view, at, now } = place(f);
    expect(now(ipip.decapsulate(view, at))).toEqual(open);
  });

  it('decapsulates behind an outer header with options', () => {
    const p = fromClient('A');
    const { view, at, now } = place(frame(tunnel('1.2.3.4', '5.6.7.8', p, { ipOptions: [1, 1, 1, 1] })));
    expect(ipip.innerAt(view, at)).toBe(at + 24);
    expect(now(ipip.decapsulate(view, at))).toEqual(frame(p));
  });
});

describe('ECN through the tunnel (RFC 6040, figure 4)', () => {
  const [NOT, ECT1, ECT0, CE] = [0, 1, 2, 3];
  const DROP = ipip.ECN_DROP;
  // Rows: inner; columns: outer Not-ECT, ECT(1), ECT(0), CE.
  const figure: [number, number[]][] = [
    [NOT, [NOT, NOT, NOT, DROP]],
    [ECT1, [ECT1, ECT1, ECT1, CE]],
    [ECT0, [ECT0, ECT1, ECT0, CE]],
    [CE, [CE, CE, CE, CE]],
  ];
  const cells = figure.flatMap(([inner, row]) => row.map((out, outer) => [inner, outer, out] as const));

  it.each(cells)('inner %i, outer %i: %i', (inner, outer, out) => {
    expect(ipip.decapsulateEcn(inner, outer)).toBe(out);
    const p = fromClient('A', {}, { tos: 0xb8 | inner });
    const { view, at, now } = place(frame(tunnel('1.2.3.4', '5.6.7.8', p, { tos: outer })));
    const opened = ipip.decapsulate(view, at);
    if (out === DROP) expect(opened).toBe(DROP);
    else {
      expect(now(opened)).toEqual(frame({ ...p, tos: 0xb8 | out }));
      expect(parseFrame(now(opened))!.valid).toBe(true);
    }
  });
});
