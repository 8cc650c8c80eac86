/**
 * The virtio network header that stands before each packet of a TUN opened with IFF_VNET_HDR (linux/virtio_net.h,
 * legacy 10 bytes, little-endian). `at` is the packet's first IP byte, as everywhere; the header is the ten bytes
 * before it.
 */
import { sum } from './checksum.js';

export const HEADER = 10;
const FLAGS = -10;
const GSO_TYPE = -9;
const HDR_LEN = -8;
const GSO_SIZE = -6;
const CSUM_START = -4;
const CSUM_OFFSET = -2;
const NEEDS_CSUM = 1;
/** Offset of the checksum in a TCP header. */
const TCP_CHECK = 16;
/** Offset of the checksum in a UDP header. */
const UDP_CHECK = 6;

/** Whether the transport checksum field holds only the uncomplemented pseudo-header sum. */
export function needsCsum(view: DataView, at: number): boolean {
  return (view.getUint8(at + FLAGS) & NEEDS_CSUM) !== 0;
}
/** Whether the packet is a super-packet: several segments in one packet. */
export function isGso(view: DataView, at: number): boolean {
  return view.getUint8(at + GSO_TYPE) !== 0;
}
export function gsoSize(view: DataView, at: number): number {
  return view.getUint16(at + GSO_SIZE, true);
}
export function csumStart(view: DataView, at: number): number {
  return view.getUint16(at + CSUM_START, true);
}

/** Writes a header for one whole packet with a complete checksum. */
export function clear(view: DataView, at: number): void {
  view.setInt32(at - 10, 0);
  view.setInt32(at - 6, 0);
  view.setInt16(at - 2, 0);
}

/** Copies the header when the packet's first byte moves from `from` to `to`. The two places may overlap. */
export function move(bytes: Uint8Array, from: number, to: number): void {
  bytes.copyWithin(to - HEADER, from - HEADER, from);
}

/**
 * Copies the header when `bytes` bytes are put before the packet. Its offsets grow by `bytes`; everything else stays.
 * Requires `bytes` ≥ {@link HEADER}.
 */
export function prepend(view: DataView, at: number, bytes: number): void {
  const to = at - bytes;
  view.setInt32(to - 10, view.getInt32(at - 10));
  view.setInt32(to - 6, view.getInt32(at - 6));
  view.setInt16(to - 2, view.getInt16(at - 2));
  view.setUint16(to + HDR_LEN, view.getUint16(at + HDR_LEN, true) + bytes, true);
  view.setUint16(to + CSUM_START, csumStart(view, at) + bytes, true);
}

/**
 * Moves the header when `bytes` bytes before the packet are removed, for one whole packet. The offset of a checksum that
 * is left open is adjusted.
 */
export function strip(view: DataView, at: number, bytes: number): void {
  const to = at + bytes;
  const isOpen = needsCsum(view, at);
  const start = csumStart(view, at) - bytes;
  const offset = view.getUint16(at + CSUM_OFFSET, true);
  clear(view, to);
  if (!isOpen || start < 0) return;
  view.setUint8(to + FLAGS, NEEDS_CSUM);
  view.setUint16(to + CSUM_START, start, true);
  view.setUint16(to + CSUM_OFFSET, offset, true);
}

/** The number of segments that a packet with this payload becomes; 1 where it is no super-packet. */
export function segments(view: DataView, at: number, payload: number): number {
  const size = gsoSize(view, at);
  return !isGso(view, at) || size === 0 || payload <= size ? 1 : Math.ceil(payload / size);
}

/** Whether the offsets in the header lie inside a packet of `length` bytes. */
export function isSound(view: DataView, at: number, length: number): boolean {
  if (!needsCsum(view, at)) return !isGso(view, at);
  return csumStart(view, at) + view.getUint16(at + CSUM_OFFSET, true) + 2 <= length;
}

/** Whether a checksum that is left open is that of the TCP header `start` bytes into the packet. */
export function isTcpChecksum(view: DataView, at: number, start: number): boolean {
  return csumStart(view, at) === start && view.getUint16(at + CSUM_OFFSET, true) === TCP_CHECK;
}

/** Whether a checksum that is left open is that of the UDP header `start` bytes into the packet. */
export function isUdpChecksum(view: DataView, at: number, start: number): boolean {
  return csumStart(view, at) === start && view.getUint16(at + CSUM_OFFSET, true) === UDP_CHECK;
}

/**
 * Fills in the checksum that NEEDS_CSUM left open, and clears the flag. Only for whole packets: requires not {@link
 * isGso}, and {@link isSound}.
 */
export function complete(view: DataView, at: number, length: number): void {
  if (!needsCsum(view, at)) return;
  const start = csumStart(view, at);
  const field = at + start + view.getUint16(at + CSUM_OFFSET, true);
  const value = ~sum(view, at + start, length - start) & 0xffff;
  // A UDP checksum of 0 would mean that there is none (RFC 768); in TCP 0 and 0xffff mean the same.
  view.setUint16(field, value === 0 && view.getUint16(at + CSUM_OFFSET, true) === UDP_CHECK ? 0xffff : value);
  clear(view, at);
}
