/**
 * What IPv4 and IPv6 headers have in common, by the version nibble of the packet at `at`. `checkLength` of its family
 * must have passed before any function is called.
 */
import { fold, sum } from './checksum.js';
import * as ipv4 from './ipv4.js';
import * as ipv6 from './ipv6.js';

/** Requires one byte at `at`. */
export const isV6 = (view: DataView, at: number): boolean => view.getUint8(at) >>> 4 === 6;

/** Header and payload, in bytes. */
export function totalLength(view: DataView, at: number): number {
  return isV6(view, at) ? ipv6.totalLength(view, at) : ipv4.totalLength(view, at);
}

export function setTotalLength(view: DataView, at: number, to: number): void {
  if (isV6(view, at)) ipv6.setTotalLength(view, at, to);
  else ipv4.setTotalLength(view, at, to);
}

/** Counts one hop. @returns false where the packet may go no further; then it is unchanged */
export function hop(view: DataView, at: number): boolean {
  return isV6(view, at) ? ipv6.hop(view, at) : ipv4.hop(view, at);
}

/** The folded sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1). Requires a header without a routing header. */
export function pseudoHeader(view: DataView, at: number, protocol: number, length: number): number {
  const first = isV6(view, at) ? ipv6.SADDR : ipv4.SADDR;
  return fold(sum(view, at + first, isV6(view, at) ? 32 : 8) + protocol + length);
}
