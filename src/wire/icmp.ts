/** ICMP errors (RFC 792, RFC 5508) and the headers that they quote. */
import * as ipv4 from './ipv4.js';

export const DESTINATION_UNREACHABLE = 3;
export const TIME_EXCEEDED = 11;
export const PARAMETER_PROBLEM = 12;
const HEADER = 8;

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
  return header >= ipv4.MIN_HEADER && rest >= header + 8 ? q : -1;
}
