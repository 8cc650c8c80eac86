/**
 * IP-in-IP (RFC 2003): `[outer][inner]`, one deep. DF is copied outward; ECN per RFC 6040.
 *
 * An encapsulated packet carries whole checksums. A super-packet stays one, with its virtio header moved in
 * front and its offsets counted from the outer header: a form that no kernel knows, and that the device
 * segments when it writes (`src/device/native/segment.h`). Its outer total length is that of the whole, or 0
 * where that does not fit.
 */
import * as ipv4 from './ipv4.js';
import * as tcp from './tcp.js';
import * as virtio from './virtio.js';

/** Bytes that the tunnel costs. */
export const OVERHEAD = 20;
export const OUTER_TTL = 64;

/**
 * Writes an outer header before the packet at `at`, in the caller's headroom, and a virtio header before
 * that: a clear one, unless it is a super-packet. Requires 30 bytes of headroom, `ipv4.checkLength` and a
 * TTL above 0.
 * @param id identification of the outer header, used only when fragmentation is allowed; the segments of
 * a super-packet take this one and those that follow
 * @returns where the packet now starts
 */
export function encapsulate(
  view: DataView,
  at: number,
  outerSaddr: number,
  outerDaddr: number,
  id: number,
): number {
  const inner = ipv4.totalLength(view, at);
  const total = inner + OVERHEAD;
  const df = ipv4.dontFragment(view, at);
  const outer = at - OVERHEAD;
  // Before the outer header is written: it stands where the virtio header stood.
  if (virtio.isGso(view, at)) virtio.prepend(view, at, OVERHEAD);
  else {
    virtio.complete(view, at, inner);
    virtio.clear(view, outer);
  }
  // RFC 6040, 4.1, normal mode: the outer header takes the inner ECN field as it is; DSCP likewise.
  ipv4.write(
    view,
    outer,
    ipv4.tos(view, at),
    total > 0xffff ? 0 : total,
    df ? 0 : id,
    df,
    OUTER_TTL,
    ipv4.PROTO_IPIP,
    outerSaddr,
    outerDaddr,
  );
  return outer;
}

/** Outer headers that the packet at `at` needs, and identifications. Requires `tcp.checkLength` at `l4`. */
export function segments(view: DataView, at: number, l4: number): number {
  return virtio.segments(view, at, at + ipv4.totalLength(view, at) - l4 - tcp.dataOffset(view, l4));
}

/** Where the inner packet starts. Requires `ipv4.checkLength` of the outer header. */
export function innerAt(view: DataView, at: number): number {
  return at + ipv4.headerLength(view, at);
}

/** The result of {@link decapsulateEcn} that means: drop. */
export const ECN_DROP = -1;

/**
 * The ECN field that the inner packet leaves with (RFC 6040, 4.2, figure 4), or {@link ECN_DROP}.
 * Codepoints: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
 */
export function decapsulateEcn(inner: number, outer: number): number {
  if (inner === 0) return outer === 3 ? ECN_DROP : 0;
  if (inner === 3 || outer === 3) return 3;
  if (outer === 1) return 1;
  return inner;
}

/**
 * Opens the packet at `at`: applies RFC 6040 to the inner header and moves the virtio header before it.
 * A checksum left open inside moves with its start.
 * @returns where the inner packet starts, or {@link ECN_DROP}
 */
export function decapsulate(view: DataView, at: number): number {
  const inner = innerAt(view, at);
  const was = ipv4.ecn(view, inner);
  const ecn = decapsulateEcn(was, ipv4.ecn(view, at));
  if (ecn === ECN_DROP) return ECN_DROP;
  if (ecn !== was) ipv4.setEcn(view, inner, ecn);
  const partial = virtio.needsCsum(view, at);
  const start = virtio.csumStart(view, at) - (inner - at);
  const offset = view.getUint16(at - 2, true);
  virtio.clear(view, inner);
  if (partial && start >= 0) {
    view.setUint8(inner - 10, 1);
    view.setUint16(inner - 4, start, true);
    view.setUint16(inner - 2, offset, true);
  }
  return inner;
}
