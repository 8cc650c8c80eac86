/**
 * IPv4 headers (RFC 791): named offsets and accessors over a DataView.
 *
 * {@link checkLength} must have passed before any other function is called, because the others check no bounds. Code
 * that moves the header, or writes a larger `totalLength` or `ihl`, must call it again.
 */
import { fold, sum, update16, update32 } from './checksum.js';

const TOS = 1;
const TOTAL_LENGTH = 2;
const ID = 4;
const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECK = 10;
export const SADDR = 12;
export const DADDR = 16;

export const MIN_HEADER = 20;
export const PROTO_ICMP = 1;
export const PROTO_IPIP = 4;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;

/** Whether `length` bytes from `at` contain an IPv4 header and as many bytes as its totalLength says. */
export function checkLength(view: DataView, at: number, length: number): boolean {
  if (length < MIN_HEADER) return false;
  const first = view.getUint8(at);
  const header = (first & 15) << 2;
  if (first >>> 4 !== 4 || header < MIN_HEADER) return false;
  const total = view.getUint16(at + TOTAL_LENGTH);
  return header <= total && total <= length;
}

/** The version nibble. Requires one byte at `at`. */
export function version(view: DataView, at: number): number {
  return view.getUint8(at) >>> 4;
}
/** Header length in bytes. */
export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at) & 15) << 2;
}
export function tos(view: DataView, at: number): number {
  return view.getUint8(at + TOS);
}
/** The two ECN bits (RFC 3168). */
export function ecn(view: DataView, at: number): number {
  return view.getUint8(at + TOS) & 3;
}
export function totalLength(view: DataView, at: number): number {
  return view.getUint16(at + TOTAL_LENGTH);
}
export function id(view: DataView, at: number): number {
  return view.getUint16(at + ID);
}
export function dontFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & 0x4000) !== 0;
}
export function moreFragments(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & 0x2000) !== 0;
}
/** Where a fragment's payload begins in its datagram's, in bytes. */
export function fragmentOffset(view: DataView, at: number): number {
  return (view.getUint16(at + FRAGMENT) & 0x1fff) << 3;
}
/** Whether the packet is a fragment: more fragments follow, or it is not the first. */
export function isFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & 0x3fff) !== 0;
}
export function ttl(view: DataView, at: number): number {
  return view.getUint8(at + TTL);
}
export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL);
}
export function check(view: DataView, at: number): number {
  return view.getUint16(at + CHECK);
}
/** A signed word; use `>>> 0` only to print it. */
export function saddr(view: DataView, at: number): number {
  return view.getInt32(at + SADDR);
}
export function daddr(view: DataView, at: number): number {
  return view.getInt32(at + DADDR);
}

/** Sets an address word at {@link SADDR} or {@link DADDR} and updates the header's checksum. */
export function setAddress(view: DataView, at: number, field: number, to: number): void {
  const from = view.getInt32(at + field);
  view.setInt32(at + field, to);
  view.setUint16(at + CHECK, update32(view.getUint16(at + CHECK), from, to));
}

export function setTotalLength(view: DataView, at: number, to: number): void {
  const from = view.getUint16(at + TOTAL_LENGTH);
  view.setUint16(at + TOTAL_LENGTH, to);
  view.setUint16(at + CHECK, update16(view.getUint16(at + CHECK), from, to));
}

/** Makes the header of a first fragment that of its whole datagram, which may be fragmented again. */
export function setWhole(view: DataView, at: number, total: number): void {
  const from = view.getUint16(at + FRAGMENT);
  const to = from & ~0x7fff;
  view.setUint16(at + FRAGMENT, to);
  view.setUint16(at + CHECK, update16(view.getUint16(at + CHECK), from, to));
  setTotalLength(view, at, total);
}

/** Sets the ECN bits and updates the header's checksum. */
export function setEcn(view: DataView, at: number, to: number): void {
  const from = view.getUint16(at);
  view.setUint8(at + TOS, (view.getUint8(at + TOS) & 0xfc) | (to & 3));
  view.setUint16(at + CHECK, update16(view.getUint16(at + CHECK), from, view.getUint16(at)));
}

/** Takes one from the TTL and updates the header's checksum. @returns false where the packet may go no further */
export function hop(view: DataView, at: number): boolean {
  const left = view.getUint8(at + TTL);
  if (left <= 1) return false;
  const from = view.getUint16(at + TTL);
  view.setUint8(at + TTL, left - 1);
  view.setUint16(at + CHECK, update16(view.getUint16(at + CHECK), from, view.getUint16(at + TTL)));
  return true;
}

/** Whether the header's own checksum is right. */
export function checkChecksum(view: DataView, at: number): boolean {
  return sum(view, at, headerLength(view, at)) === 0xffff;
}

/** Writes a 20-byte header without options, checksum included. Requires 20 bytes at `at`. */
export function write(
  view: DataView,
  at: number,
  tosByte: number,
  total: number,
  identification: number,
  df: boolean,
  hops: number,
  proto: number,
  source: number,
  destination: number,
): void {
  view.setUint8(at, 0x45);
  view.setUint8(at + TOS, tosByte);
  view.setUint16(at + TOTAL_LENGTH, total);
  view.setUint16(at + ID, identification);
  view.setUint16(at + FRAGMENT, df ? 0x4000 : 0);
  view.setUint8(at + TTL, hops);
  view.setUint8(at + PROTOCOL, proto);
  view.setUint16(at + CHECK, 0);
  view.setInt32(at + SADDR, source);
  view.setInt32(at + DADDR, destination);
  view.setUint16(at + CHECK, ~fold(sum(view, at, MIN_HEADER)) & 0xffff);
}
