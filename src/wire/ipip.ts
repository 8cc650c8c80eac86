/**
 * IP-in-IP (RFC 2003): `[outer][inner]`, one deep. DF is copied to the outer header; ECN is handled per RFC 6040.
 *
 * An encapsulated packet has complete checksums. An encapsulated super-packet stays a super-packet: its virtio header
 * moves in front of the outer header, and its offsets count from there. No kernel knows this form, so the device
 * segments it when it writes (`src/device/native/segment.h`). Its outer total length is that of the whole, or 0 where
 * the field is too small.
 */
import * as ipv4 from './ipv4.js';
import * as tcp from './tcp.js';
import * as virtio from './virtio.js';

/** Bytes that the tunnel adds. */
export const OVERHEAD = 20;
export const OUTER_TTL = 64;

/**
 * Writes an outer header before the packet at `at`, in the caller's headroom, and a virtio header before it. The
 * virtio header is clear, unless the packet is a super-packet. Requires 30 bytes of headroom, `ipv4.checkLength` and
 * a TTL above 0.
 * @param id identification of the outer header, used only when fragmentation is allowed; the segments of a
 * super-packet take this one and the following ones
 * @returns the offset at which the packet now starts
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
  // Before the outer header is written, because the outer header overwrites the old virtio header.
  if (virtio.isGso(view, at)) virtio.prepend(view, at, OVERHEAD);
  else {
    virtio.complete(view, at, inner);
    virtio.clear(view, outer);
  }
  // RFC 6040, 4.1, normal mode: the outer header copies the inner ECN field, and the DSCP too.
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

/**
 * The number of outer headers, and of identifications, that the packet at `at` needs. Requires `tcp.checkLength` at
 * `l4`.
 */
export function segments(view: DataView, at: number, l4: number): number {
  return virtio.segments(view, at, at + ipv4.totalLength(view, at) - l4 - tcp.dataOffset(view, l4));
}

/** The offset of the inner packet. Requires `ipv4.checkLength` of the outer header. */
export function innerAt(view: DataView, at: number): number {
  return at + ipv4.headerLength(view, at);
}

/** The result of {@link decapsulateEcn} for a packet that must be dropped. */
export const ECN_DROP = -1;

/**
 * The inner packet's new ECN field (RFC 6040, 4.2, figure 4), or {@link ECN_DROP}.
 * Codepoints: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
 */
export function decapsulateEcn(inner: number, outer: number): number {
  if (inner === 0) return outer === 3 ? ECN_DROP : 0;
  if (inner === 3 || outer === 3) return 3;
  if (outer === 1) return 1;
  return inner;
}

/**
 * Decapsulates the packet at `at`: applies RFC 6040 to the inner header and moves the virtio header before it. The
 * offset of a checksum that is left open is adjusted.
 * @returns the offset of the inner packet, or {@link ECN_DROP}
 */
export function decapsulate(view: DataView, at: number): number {
  const inner = innerAt(view, at);
  const was = ipv4.ecn(view, inner);
  const ecn = decapsulateEcn(was, ipv4.ecn(view, at));
  if (ecn === ECN_DROP) return ECN_DROP;
  if (ecn !== was) ipv4.setEcn(view, inner, ecn);
  virtio.strip(view, at, inner - at);
  return inner;
}
