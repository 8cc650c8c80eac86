/** Tells the sender of a packet that it is too large for its path: ICMP "fragmentation needed" (RFC 1191). */
import * as icmp from '../wire/icmp.js';
import * as ipv4 from '../wire/ipv4.js';
import type { Batch } from './batch.js';

const TTL = 64;
/** An ICMP error has at most 576 bytes (RFC 1812, 4.3.2.3). */
const MOST = 576;

/**
 * Emits the error about packet `i`, to its source. It comes from the packet's destination, because this host may have
 * no address that the sender can reach.
 * @param mtu what passes, in the sender's terms
 */
export function emitTooBig(batch: Batch, i: number, mtu: number, reason: number): void {
  const { view, arena } = batch;
  const from = batch.at[i];
  const quoted = Math.min(batch.length[i], MOST - ipv4.MIN_HEADER - icmp.HEADER);
  const total = ipv4.MIN_HEADER + icmp.HEADER + quoted;
  const k = batch.emit(total, reason);
  const at = batch.at[k];
  ipv4.write(view, at, 0, total, 0, true, TTL, ipv4.PROTO_ICMP, batch.daddrV4(i), batch.saddrV4(i));
  const l4 = at + ipv4.MIN_HEADER;
  arena.copyWithin(l4 + icmp.HEADER, from, from + quoted);
  icmp.rewrite(view, l4, icmp.HEADER + quoted, icmp.DESTINATION_UNREACHABLE, icmp.FRAGMENTATION_NEEDED, mtu);
}
