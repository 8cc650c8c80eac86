/**
 * Puts a packet into a tunnel and takes it out: IP-in-IP, one deep (RFC 2003), and IPv6 in IPv6 (RFC 2473). Keeps the
 * batch's columns up to date.
 */
import type { At } from '../flow/numbers.js';
import * as ipip from '../wire/ipip.js';
import * as ipip6 from '../wire/ipip6.js';
import * as ipv4 from '../wire/ipv4.js';
import * as ipv6 from '../wire/ipv6.js';
import type { Batch } from './batch.js';
import { common } from './reasons.js';
import { decode, decodeV6, isLow, isWhole, isWholeAt } from './validate.js';

/**
 * Identifications of outer headers that may be fragmented: 16 bits that wrap. There is one counter per tunnel
 * endpoint, so that no two of 65,536 consecutive datagrams between the same pair of addresses share an identification
 * (RFC 6864).
 */
export class TunnelIds {
  #next = 0;

  /** Returns the identification of a packet that becomes `count` segments; its segments take the following ones. */
  take(count: number): number {
    const id = this.#next;
    this.#next = (id + count) & 0xffff;
    return id;
  }
}

/**
 * Puts TCP packet `i` into a tunnel. A super-packet takes one identification per segment.
 * Requires headroom for one outer header (`HEADROOM`), and a TTL above 0.
 */
export function intoTunnel(
  batch: Batch,
  i: number,
  ids: TunnelIds,
  source: number,
  destination: number,
): void {
  const { view } = batch;
  const at = batch.at[i];
  const id = ids.take(ipip.segments(view, at, batch.l4[i]));
  batch.at[i] = ipip.encapsulate(view, at, source, destination, id) as At;
  batch.length[i] += ipip.OVERHEAD;
}

/**
 * {@link intoTunnel} for a packet of IPv6, which needs no identification.
 * @param sources the outer source is in four words from `source` on; likewise the destination
 */
export function intoTunnel6(
  batch: Batch,
  i: number,
  sources: Int32Array,
  source: number,
  destinations: Int32Array,
  destination: number,
): void {
  batch.at[i] = ipip6.encapsulate(batch.view, batch.at[i], sources, source, destinations, destination) as At;
  batch.length[i] += ipip6.OVERHEAD;
}

/** Whether packet `i` is a tunnel of its own family. */
export function isTunnel(batch: Batch, i: number): boolean {
  if (batch.family[i] === 4) return batch.protocol[i] === ipv4.PROTO_IPIP;
  // Without extension headers of the tunnel.
  return batch.protocol[i] === ipip6.PROTO && ipv6.nextHeader(batch.view, batch.at[i]) === ipip6.PROTO;
}

/** What an IP-in-IP packet can contain: see {@link lookInside}. */
export const INNER_WHOLE = 1;
export const INNER_MALFORMED = 0;
export const INNER_OTHER = -1;

/**
 * Finds what the tunnelled packet `i` ({@link isTunnel}) contains: a whole, unfragmented packet of this protocol ({@link INNER_WHOLE});
 * something else ({@link INNER_OTHER}), also a nested tunnel, because nesting is one deep; or nothing that can be
 * read ({@link INNER_MALFORMED}). Requires `validate` to have let the packet through.
 *
 * For a whole packet it sets protocol, saddr, daddr, sport, dport, tcpFlags and l4 to those of the inner packet. `at`
 * and `length` stay those of the outer packet.
 */
export function lookInside(batch: Batch, i: number, protocol: number): number {
  if (batch.family[i] === 6) return lookInside6(batch, i, protocol);
  const { view } = batch;
  const at = batch.at[i];
  const inner = ipip.innerAt(view, at);
  const room = at + ipv4.totalLength(view, at) - inner;
  if (!ipv4.checkLength(view, inner, room)) return INNER_MALFORMED;
  if (ipv4.protocol(view, inner) !== protocol || ipv4.isFragment(view, inner)) return INNER_OTHER;
  if (!isWhole(view, at, inner, protocol)) return INNER_MALFORMED;
  batch.protocol[i] = protocol;
  decode(batch, i, inner);
  return INNER_WHOLE;
}

function lookInside6(batch: Batch, i: number, protocol: number): number {
  const { view } = batch;
  const at = batch.at[i];
  const inner = at + ipip6.OVERHEAD;
  const end = at + ipv6.totalLength(view, at);
  if (!ipv6.checkLength(view, inner, end - inner)) return INNER_MALFORMED;
  if (!ipv6.walk(view, inner) || ipv6.found.protocol !== protocol || ipv6.found.fragment >= 0)
    return INNER_OTHER;
  if (isLow(view, inner + ipv6.SADDR) || isLow(view, inner + ipv6.DADDR)) return INNER_OTHER;
  const { l4 } = ipv6.found;
  const room = inner + ipv6.totalLength(view, inner) - l4;
  if (!isWholeAt(view, at, l4, room, protocol)) return INNER_MALFORMED;
  batch.protocol[i] = protocol;
  decodeV6(batch, i, inner, l4);
  return INNER_WHOLE;
}

/**
 * The transport protocol of the packet that the tunnelled packet `i` contains, behind its extension headers; -1 where none can
 * be read. Requires `validate` to have let the packet through.
 */
export function innerProtocol(batch: Batch, i: number): number {
  const { view } = batch;
  const inner = innerAt(batch, i);
  const room = batch.at[i] + batch.length[i] - inner;
  if (batch.family[i] === 4) return room < ipv4.MIN_HEADER ? -1 : ipv4.protocol(view, inner);
  return ipv6.checkLength(view, inner, room) && ipv6.walk(view, inner) ? ipv6.found.protocol : -1;
}

/** First byte of the inner packet of `i`. */
export function innerAt(batch: Batch, i: number): At {
  if (batch.family[i] === 6) return (batch.at[i] + ipip6.OVERHEAD) as At;
  return ipip.innerAt(batch.view, batch.at[i]) as At;
}

/**
 * Takes packet `i` out of its tunnel. Drops it where RFC 6040 requires that. Requires {@link lookInside} to have
 * returned {@link INNER_WHOLE}.
 * @returns whether the packet was not dropped
 */
export function outOfTunnel(batch: Batch, i: number): boolean {
  const { view } = batch;
  const isV6 = batch.family[i] === 6;
  const opened = isV6 ? ipip6.decapsulate(view, batch.at[i]) : ipip.decapsulate(view, batch.at[i]);
  if (opened === ipip.ECN_DROP) {
    batch.drop(i, common.dropEcn);
    return false;
  }
  batch.at[i] = opened as At;
  batch.opened[i] = 1;
  batch.length[i] = isV6 ? ipv6.totalLength(view, opened) : ipv4.totalLength(view, opened);
  return true;
}
