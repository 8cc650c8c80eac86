/** ICMP errors (RFC 792, RFC 5508) and the headers that they quote. */
import { fold, sum } from './checksum.js';
import * as ipv4 from './ipv4.js';

export const DESTINATION_UNREACHABLE = 3;
export const TIME_EXCEEDED = 11;
export const PARAMETER_PROBLEM = 12;
export const HEADER = 8;

/** Whether the message is an error, which quotes the packet that caused it. `at` is its first ICMP byte. */
export function isError(view: DataView, at: number, length: number): boolean {
  if (length < HEADER) return false;
  const type = view.getUint8(at);
  return type === DESTINATION_UNREACHABLE || type === TIME_EXCEEDED || type === PARAMETER_PROBLEM;
}

export function type(view: DataView, at: number): number {
  return view.getUint8(at);
}
export function code(view: DataView, at: number): number {
  return view.getUint8(at + 1);
}

/**
 * The offset of the quoted IPv4 header, or -1 when the quotation does not reach the ports: it must contain the header
 * and 8 more bytes (RFC 792).
 */
export function quotedAt(view: DataView, at: number, length: number): number {
  const q = at + HEADER;
  const rest = length - HEADER;
  if (rest < ipv4.MIN_HEADER || ipv4.version(view, q) !== 4) return -1;
  const header = ipv4.headerLength(view, q);
  return header >= ipv4.MIN_HEADER && rest >= header + QUOTED ? q : -1;
}

/** Codes of {@link DESTINATION_UNREACHABLE}. */
export const HOST_UNREACHABLE = 1;
export const FRAGMENTATION_NEEDED = 4;
/** Bytes that a quotation must have behind its IPv4 header: the ports and the sequence number. */
const QUOTED = 8;
/** The least path MTU that is believed, as in Linux (`net.ipv4.route.min_pmtu`). */
export const LEAST_MTU = 552;
/** RFC 1191, section 7: what to assume where a router does not tell the next hop's MTU. */
const PLATEAUS = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, LEAST_MTU];

export function isFragmentationNeeded(view: DataView, at: number): boolean {
  return type(view, at) === DESTINATION_UNREACHABLE && code(view, at) === FRAGMENTATION_NEEDED;
}

/** Whether what is quoted did not arrive, for a reason that a smaller packet would not help. */
export function isUnreachable(view: DataView, at: number): boolean {
  return type(view, at) === DESTINATION_UNREACHABLE && code(view, at) !== FRAGMENTATION_NEEDED;
}

/**
 * The next hop's MTU that a "fragmentation needed" tells, at least {@link LEAST_MTU}. Routers older than RFC 1191 tell
 * 0: then the next plateau below the quoted packet's length. Requires {@link quotedAt} to have found a header.
 */
export function nextHopMtu(view: DataView, at: number): number {
  const told = view.getUint16(at + 6);
  if (told !== 0) return Math.max(told, LEAST_MTU);
  const total = ipv4.totalLength(view, at + HEADER);
  for (let n = 0; n < PLATEAUS.length; n++) if (PLATEAUS[n] < total) return PLATEAUS[n];
  return LEAST_MTU;
}

/** Whether the message's checksum is right. */
export function checkChecksum(view: DataView, at: number, length: number): boolean {
  return sum(view, at, length) === 0xffff;
}

/** Writes type and code, the next hop's MTU (0 for other errors), and the checksum over `length` bytes from `at`. */
export function rewrite(
  view: DataView,
  at: number,
  length: number,
  toType: number,
  toCode: number,
  mtu: number,
): void {
  view.setUint16(at, (toType << 8) | toCode);
  view.setUint16(at + 4, 0);
  view.setUint16(at + 6, mtu);
  updateChecksum(view, at, length);
}

/** Writes the checksum over `length` bytes from `at`. Only for a message whose checksum was right, or a new one. */
export function updateChecksum(view: DataView, at: number, length: number): void {
  view.setUint16(at + 2, 0);
  view.setUint16(at + 2, ~fold(sum(view, at, length)) & 0xffff);
}
