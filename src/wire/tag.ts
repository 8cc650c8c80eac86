/**
 * The tag [210]: a TCP option of 16 bytes by which a gateway says that a SYN may be sent to replicas. `SPEC.md`
 * beside this file has the bit diagram and the receiver's steps.
 *
 * Requires `ipv4.checkLength` and `tcp.checkLength` to have passed, and a packet that is no IP fragment.
 *
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
 */
import { V4_MAPPED } from './address.js';
import { fold, sum } from './checksum.js';
import * as ip from './ip.js';
import * as ipv4 from './ipv4.js';
import * as ipv6 from './ipv6.js';
import * as options from './options.js';
import { hash, result, type SipKey } from './siphash.js';
import * as tcp from './tcp.js';
import * as virtio from './virtio.js';

export const LENGTH = 16;
export const EXID = 0xfa57;
export const VERSION = 1;
/** The version whose MAC covers the whole epoch: such a tag is genuine for three minutes, and never again. */
export const WHOLE_EPOCH = 2;
/** The version whose key only its sender and its receiver have (`src/trust/pair-keys.ts`). */
export const PAIRED = 3;
export const EPOCH_SECONDS = 64;

const FLAG_REDIRECTION_PERMITTED = 1;
/** The service's origin has checked the gateway's tag, and made this one for the replica. */
const FLAG_RELAYED = 2;
const VERSION_FLAGS = 4;
const KEY_EPOCH = 5;
const GATEWAY = 6;
const MAC = 8;
/** Where the MAC begins in the tag. */
export const MAC_AT = MAC;

// The bytes that the MAC covers: 8 bytes of tag, both addresses as 128 bits, both ports, the ISN; in version 2 the epoch too.
const MESSAGE = 48;
const MESSAGE_2 = 52;
const message = new DataView(new ArrayBuffer(MESSAGE_2));

/** The epoch of a wall-clock time in seconds, of which a tag has the low four bits. */
export function epochOf(seconds: number): number {
  return Math.floor(seconds / EPOCH_SECONDS) | 0;
}

/** The offset of the tag's kind byte, or `options.NOT_FOUND` / `options.MALFORMED`. */
export function find(view: DataView, l4: number): number {
  const p = options.find(view, l4, tcp.dataOffset(view, l4), options.EXPERIMENTAL, EXID);
  return p >= 0 && view.getUint8(p + 1) !== LENGTH ? options.MALFORMED : p;
}

/** Whether 16 more bytes fit beside the options of the SYN. */
export function fits(view: DataView, l4: number): boolean {
  return tcp.dataOffset(view, l4) - tcp.MIN_HEADER + LENGTH <= tcp.MAX_OPTIONS;
}

/**
 * Adds a tag behind the last option and before any EOL padding; the other options stay unchanged. The headers move 16
 * bytes towards the front. Requires {@link fits}, well-formed options (`options.end`), a complete IP header checksum,
 * and 26 bytes of headroom.
 * @param optionsEnd the result of `options.end`
 * @returns the offset at which the packet now starts; its transport header also starts 16 bytes earlier
 */
export function insert(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  l4: number,
  optionsEnd: number,
  key: SipKey,
  keyId: number,
  epoch: number,
  gatewayId: number,
  version = VERSION,
): number {
  const to = at - LENGTH;
  const tcpAt = l4 - LENGTH;
  bytes.copyWithin(to - virtio.HEADER, at - virtio.HEADER, optionsEnd);
  const p = optionsEnd - LENGTH;
  view.setUint8(p, options.EXPERIMENTAL);
  view.setUint8(p + 1, LENGTH);
  view.setUint16(p + 2, EXID);
  view.setUint8(p + VERSION_FLAGS, (version << 4) | FLAG_REDIRECTION_PERMITTED);
  view.setUint8(p + KEY_EPOCH, (keyId << 4) | (epoch & 15));
  view.setUint16(p + GATEWAY, gatewayId);
  authenticate(view, to, tcpAt, p, key, epoch);
  view.setInt32(p + MAC, result[0]);
  view.setInt32(p + MAC + 4, result[1]);
  const total = ip.totalLength(view, to);
  const length = total - (tcpAt - to);
  ip.setTotalLength(view, to, total + LENGTH);
  const added = parity(sum(view, p, LENGTH), p - tcpAt);
  const partial = virtio.needsCsum(view, to);
  tcp.resize(view, tcpAt, tcp.dataOffset(view, tcpAt) + LENGTH, length, LENGTH, added, partial);
  return to;
}

/**
 * Makes the tag at `p`, which an origin has checked, its own tag for a replica.
 * @param key of the pair of origin and replica
 */
export function relay(
  view: DataView,
  at: number,
  l4: number,
  p: number,
  key: SipKey,
  keyId: number,
  epoch: number,
): void {
  const before = fold(sum(view, p, LENGTH));
  view.setUint8(p + VERSION_FLAGS, (PAIRED << 4) | FLAG_REDIRECTION_PERMITTED | FLAG_RELAYED);
  view.setUint8(p + KEY_EPOCH, (keyId << 4) | (epoch & 15));
  authenticate(view, at, l4, p, key, epoch);
  view.setInt32(p + MAC, result[0]);
  view.setInt32(p + MAC + 4, result[1]);
  // A partial sum covers the pseudo-header alone.
  if (virtio.needsCsum(view, at)) return;
  const added = fold((~before & 0xffff) + fold(sum(view, p, LENGTH)));
  tcp.addToChecksum(view, l4, parity(added, p - l4));
}

/**
 * Removes the tag at `p`. The headers move 16 bytes towards the end. @returns the offset at which the packet now
 * starts
 */
export function strip(view: DataView, bytes: Uint8Array, at: number, l4: number, p: number): number {
  const total = ip.totalLength(view, at);
  const length = total - (l4 - at);
  const partial = virtio.needsCsum(view, at);
  const removed = ~parity(sum(view, p, LENGTH), p - l4) & 0xffff;
  tcp.resize(view, l4, tcp.dataOffset(view, l4) - LENGTH, length, -LENGTH, removed, partial);
  ip.setTotalLength(view, at, total - LENGTH);
  bytes.copyWithin(at + LENGTH - virtio.HEADER, at - virtio.HEADER, p);
  return at + LENGTH;
}

/** The sum of bytes that start at an odd offset of the segment, with its halves exchanged (RFC 1071, 2 B). */
function parity(s: number, offset: number): number {
  const folded = fold(s);
  return (offset & 1) === 0 ? folded : ((folded & 0xff) << 8) | (folded >>> 8);
}

export function version(view: DataView, p: number): number {
  return view.getUint8(p + VERSION_FLAGS) >>> 4;
}
export function redirectionPermitted(view: DataView, p: number): boolean {
  return (view.getUint8(p + VERSION_FLAGS) & FLAG_REDIRECTION_PERMITTED) !== 0;
}
export function isRelayed(view: DataView, p: number): boolean {
  return (view.getUint8(p + VERSION_FLAGS) & FLAG_RELAYED) !== 0;
}
export function keyId(view: DataView, p: number): number {
  return view.getUint8(p + KEY_EPOCH) >>> 4;
}
export function gatewayId(view: DataView, p: number): number {
  return view.getUint16(p + GATEWAY);
}

/** Whether the tag's epoch is `epoch`, the one before or the one after. */
export function isFresh(view: DataView, p: number, epoch: number): boolean {
  return (((view.getUint8(p + KEY_EPOCH) & 15) - epoch + 1) & 15) <= 2;
}

/**
 * Whether the MAC at `p` is the one that `key` gives for this SYN.
 * @param epoch the present one: the tag's own is the nearest with its low bits
 */
export function isAuthentic(
  view: DataView,
  at: number,
  l4: number,
  p: number,
  key: SipKey,
  epoch: number,
): boolean {
  const ahead = (((view.getUint8(p + KEY_EPOCH) & 15) - epoch + 1) & 15) - 1;
  authenticate(view, at, l4, p, key, (epoch + ahead) | 0);
  return view.getInt32(p + MAC) === result[0] && view.getInt32(p + MAC + 4) === result[1];
}

/** Word `w` of an IPv4 address as 128 bits. */
const mapped = (w: number, address: number): number => (w === 3 ? address : w === 2 ? V4_MAPPED : 0);

function authenticate(view: DataView, at: number, l4: number, p: number, key: SipKey, epoch: number): void {
  message.setInt32(0, view.getInt32(p));
  message.setInt32(4, view.getInt32(p + 4));
  const v6 = ip.isV6(view, at);
  for (let w = 0; w < 4; w++) {
    message.setInt32(
      8 + 4 * w,
      v6 ? view.getInt32(at + ipv6.SADDR + 4 * w) : mapped(w, ipv4.saddr(view, at)),
    );
    message.setInt32(
      24 + 4 * w,
      v6 ? view.getInt32(at + ipv6.DADDR + 4 * w) : mapped(w, ipv4.daddr(view, at)),
    );
  }
  message.setInt32(40, view.getInt32(l4));
  message.setInt32(44, tcp.seq(view, l4));
  message.setInt32(48, epoch);
  hash(key, message, 0, version(view, p) === VERSION ? MESSAGE : MESSAGE_2);
}
