/**
 * IPv6 in IPv6 (RFC 2473): `[outer][inner]`, one deep, without extension headers of the tunnel. Traffic class and flow
 * label are copied to the outer header (RFC 6040, 4.1; RFC 6438); ECN is handled on the way out as over IPv4.
 *
 * Super-packets are kept as `ipip.ts` keeps them: the device segments them when it writes. The payload length of their
 * outer header is that of the whole, or 0 where the field is too small.
 */
import { decapsulateEcn, ECN_DROP, OUTER_TTL } from './ipip.js';
import * as ipv6 from './ipv6.js';
import * as virtio from './virtio.js';

/** The next header of a tunnel. */
export const PROTO = 41;
/** Bytes that the tunnel adds. */
export const OVERHEAD = ipv6.HEADER;

/**
 * Writes an outer header before the packet at `at`, in the caller's headroom, and a virtio header before it. The
 * virtio header is clear, unless the packet is a super-packet. Requires 50 bytes of headroom and `ipv6.checkLength`.
 * @param sources the outer source is in four words from `source` on; likewise the destination
 * @returns the offset at which the packet now starts
 */
export function encapsulate(
  view: DataView,
  at: number,
  sources: Int32Array,
  source: number,
  destinations: Int32Array,
  destination: number,
): number {
  const inner = ipv6.totalLength(view, at);
  const outer = at - OVERHEAD;
  const first = view.getInt32(at);
  // Before the outer header is written, because the outer header overwrites the old virtio header.
  if (virtio.isGso(view, at)) virtio.prepend(view, at, OVERHEAD);
  else {
    virtio.complete(view, at, inner);
    virtio.clear(view, outer);
  }
  view.setInt32(outer, first);
  view.setInt32(outer + 4, ((inner > 0xffff ? 0 : inner) << 16) | (PROTO << 8) | OUTER_TTL);
  for (let w = 0; w < 4; w++) {
    view.setInt32(outer + ipv6.SADDR + 4 * w, sources[source + w]);
    view.setInt32(outer + ipv6.DADDR + 4 * w, destinations[destination + w]);
  }
  return outer;
}

/**
 * Decapsulates the packet at `at`, as `ipip.decapsulate` does over IPv4.
 * @returns the offset of the inner packet, or {@link ECN_DROP}
 */
export function decapsulate(view: DataView, at: number): number {
  const inner = at + OVERHEAD;
  const was = ipv6.ecn(view, inner);
  const ecn = decapsulateEcn(was, ipv6.ecn(view, at));
  if (ecn === ECN_DROP) return ECN_DROP;
  if (ecn !== was) ipv6.setEcn(view, inner, ecn);
  virtio.strip(view, at, OVERHEAD);
  return inner;
}
