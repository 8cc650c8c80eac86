/** ICMPv6 errors (RFC 4443). The checksum covers the pseudo header too. `at` is the message's first byte. */
import { fold, sum } from './checksum.js';
import * as ip from './ip.js';
import { OVERHEAD } from './ipip6.js';

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

const DESTINATION_UNREACHABLE = 1;
const PACKET_TOO_BIG = 2;
const PARAMETER_PROBLEM = 4;
const ADDRESS_UNREACHABLE = 3;
/** The least MTU of a link (RFC 8200, 5). */
const LEAST_MTU = 1280;

/** Of a parameter problem: the host does not know the protocol, a tunnel's for one. */
const UNRECOGNIZED_NEXT_HEADER = 1;

/** Whether what is quoted did not arrive, for a reason that a smaller packet would not help. */
export function isUnreachable(view: DataView, at: number): boolean {
  const type = view.getUint8(at);
  return (
    type === DESTINATION_UNREACHABLE ||
    (type === PARAMETER_PROBLEM && view.getUint8(at + 1) === UNRECOGNIZED_NEXT_HEADER)
  );
}

/**
 * Makes an error about a tunnel into one about the packet inside (RFC 2473, 8.3): the quotation loses its outer header,
 * "packet too big" tells the tunnel's MTU, and any other error becomes "address unreachable". The message becomes 40
 * bytes shorter; its checksum is not set.
 * @param inner the first byte of the quoted packet inside
 * @param end the end of the message
 * @returns false where nothing is relayed: for a parameter problem of the outer header
 */
export function outOfQuotedTunnel(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  inner: number,
  end: number,
): boolean {
  const type = view.getUint8(at);
  if (type === PARAMETER_PROBLEM) return false;
  bytes.copyWithin(at + HEADER, inner, end);
  if (type === PACKET_TOO_BIG) {
    view.setUint32(at + 4, Math.max(view.getUint32(at + 4) - OVERHEAD, LEAST_MTU));
    return true;
  }
  view.setUint8(at, DESTINATION_UNREACHABLE);
  view.setUint8(at + 1, ADDRESS_UNREACHABLE);
  view.setUint32(at + 4, 0);
  return true;
}
