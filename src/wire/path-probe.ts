/**
 * The path probe between a gateway and a replica, UDP 7417: an IPv4 packet of a certain size with DF, in the form in
 * which the gateway's packets travel. The answer has the size that the request asks for, which is at most its own, so
 * a replica amplifies nothing. A request that is not authenticated is not answered.
 *
 * ```
 *  0        4        5       6          8       9       10       12        16                 24
 *  +--------+--------+-------+----------+-------+-------+--------+---------+------------------+---------
 *  | 'FSPM' | ver.   | kind  | gateway  | key   | form  | reply  | number  | SipHash of 0…16  | zeros …
 *  +--------+--------+-------+----------+-------+-------+--------+---------+------------------+---------
 * ```
 * `reply` is the total length of the answer's IPv4 packet, without a tunnel's outer header. The hash is that of the
 * gateway's own key in version 1, and of the key that gateway and replica share in version 2. `form`: {@link PLAIN}, or {@link TUNNELLED} (`[a→b][a→b UDP]`).
 */
import * as ipv4 from './ipv4.js';
import { hash, result, type SipKey } from './siphash.js';
import * as udp from './udp.js';

export const PORT = 7417;
export const REQUEST = 1;
export const REPLY = 2;
export const PLAIN = 0;
export const TUNNELLED = 1;

/** Bytes of the payload without padding; and of the smallest packet. */
export const PAYLOAD = 24;
const HEADERS = ipv4.MIN_HEADER + udp.HEADER;
export const LEAST = HEADERS + PAYLOAD;

const MAGIC = 0x4653504d;
const VERSION = 1;
const PAIRED = 2;
const KIND = 5;
const GATEWAY = 6;
const KEY = 8;
const FORM = 9;
const REPLY_LENGTH = 10;
const NUMBER = 12;
const MAC = 16;
const TTL = 64;

/** Whether the payload at `at` is a probe of this kind, as far as it shows without a key. */
export function is(view: DataView, at: number, length: number, kind: number): boolean {
  return (
    length >= PAYLOAD &&
    view.getUint32(at) === MAGIC &&
    (view.getUint8(at + 4) === VERSION || view.getUint8(at + 4) === PAIRED) &&
    view.getUint8(at + KIND) === kind
  );
}

/** Whether its key is the pair's. Requires {@link is} to have passed, as the following ones do. */
export function isPaired(view: DataView, at: number): boolean {
  return view.getUint8(at + 4) === PAIRED;
}

export function isAuthentic(view: DataView, at: number, key: SipKey): boolean {
  hash(key, view, at, MAC);
  return view.getInt32(at + MAC) === result[0] && view.getInt32(at + MAC + 4) === result[1];
}
export function gatewayId(view: DataView, at: number): number {
  return view.getUint16(at + GATEWAY);
}
export function keyId(view: DataView, at: number): number {
  return view.getUint8(at + KEY);
}
export function form(view: DataView, at: number): number {
  return view.getUint8(at + FORM);
}
export function replyLength(view: DataView, at: number): number {
  return view.getUint16(at + REPLY_LENGTH);
}
/** Tells one probe of a gateway from another; a signed word. */
export function number(view: DataView, at: number): number {
  return view.getInt32(at + NUMBER);
}

/** Makes the request at `at` its own answer, and authenticates it. */
export function toReply(view: DataView, at: number, key: SipKey): void {
  view.setUint8(at + KIND, REPLY);
  authenticate(view, at, key);
}

function authenticate(view: DataView, at: number, key: SipKey): void {
  hash(key, view, at, MAC);
  view.setInt32(at + MAC, result[0]);
  view.setInt32(at + MAC + 4, result[1]);
}

export interface Request {
  source: number;
  destination: number;
  sport: number;
  /** Total length of the IPv4 packet, at least {@link LEAST}. */
  length: number;
  replyLength: number;
  form: number;
  number: number;
  gatewayId: number;
  keyId: number;
  /** Whether the key is the pair's. */
  isPaired: boolean;
}

/** Writes a whole request, IPv4 header first. The bytes behind the payload stay as they are: zeros. */
export function writeRequest(view: DataView, at: number, r: Request, key: SipKey): void {
  ipv4.write(view, at, 0, r.length, 0, true, TTL, ipv4.PROTO_UDP, r.source, r.destination);
  const u = at + ipv4.MIN_HEADER;
  udp.write(view, u, r.sport, PORT, r.length - ipv4.MIN_HEADER);
  const p = u + udp.HEADER;
  view.setUint32(p, MAGIC);
  view.setUint8(p + 4, r.isPaired ? PAIRED : VERSION);
  view.setUint8(p + KIND, REQUEST);
  view.setUint16(p + GATEWAY, r.gatewayId);
  view.setUint8(p + KEY, r.keyId);
  view.setUint8(p + FORM, r.form);
  view.setUint16(p + REPLY_LENGTH, r.replyLength);
  view.setInt32(p + NUMBER, r.number);
  authenticate(view, p, key);
}
