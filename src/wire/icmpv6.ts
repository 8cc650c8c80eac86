/** ICMPv6 errors (RFC 4443). The checksum covers the pseudo header too. `at` is the message's first byte. */
import { fold, sum } from './checksum.js';
import * as ip from './ip.js';

export const PROTO = 58;
export const HEADER = 8;
/** Errors have types below this one. */
const INFORMATIONAL = 128;

/** Whether the message is an error, which quotes the packet that caused it. */
export const isError = (view: DataView, at: number, length: number): boolean =>
  length >= HEADER && view.getUint8(at) < INFORMATIONAL;

/** @param packet the first byte of the IPv6 header @param length the message's */
export function isSound(view: DataView, packet: number, at: number, length: number): boolean {
  return fold(ip.pseudoHeader(view, packet, PROTO, length) + sum(view, at, length)) === 0xffff;
}

/** Sums the message again. */
export function setCheck(view: DataView, packet: number, at: number, length: number): void {
  view.setUint16(at + 2, 0);
  view.setUint16(
    at + 2,
    ~fold(ip.pseudoHeader(view, packet, PROTO, length) + sum(view, at, length)) & 0xffff,
  );
}
