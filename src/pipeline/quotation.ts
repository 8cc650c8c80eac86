/**
 * The packet that an ICMP error quotes: its tuple, and how it is translated (RFC 5508). Errors are rare, so each is
 * summed whole: a message whose checksum is wrong is never changed, and a changed one gets a new checksum.
 */
import * as icmp from '../wire/icmp.js';
import * as ipip from '../wire/ipip.js';
import * as ipv4 from '../wire/ipv4.js';
import * as tcp from '../wire/tcp.js';
import * as virtio from '../wire/virtio.js';
import type { Batch } from './batch.js';

/** Bytes of a TCP header up to the end of its checksum: a shorter quotation has no checksum to update. */
const UP_TO_CHECKSUM = 18;

export class Quotation {
  /** First byte of the quoted IPv4 header; of the inner one after {@link open}. */
  at = 0;
  /** First byte of the quoted transport header. */
  l4 = 0;
  /** The end of the message. */
  end = 0;
  protocol = 0;
  saddr = 0;
  daddr = 0;
  /** 0 where the quoted protocol has no ports. */
  sport = 0;
  dport = 0;

  /** Reads what ICMP error `i` quotes. @returns whether it is an error that quotes enough */
  read(batch: Batch, i: number): boolean {
    const { view } = batch;
    const l4 = batch.l4[i];
    const length = batch.at[i] + batch.length[i] - l4;
    // No kernel leaves an ICMP message's checksum open.
    if (virtio.needsCsum(view, batch.at[i]) || !icmp.isError(view, l4, length)) return false;
    const at = icmp.quotedAt(view, l4, length);
    if (at < 0) return false;
    this.end = l4 + length;
    this.#decode(view, at);
    return true;
  }

  /** Goes on to the packet inside the quoted IP-in-IP packet. @returns whether enough of it is quoted */
  open(view: DataView): boolean {
    const inner = this.at + ipv4.headerLength(view, this.at);
    // `quotedAt` asks for a header and eight more bytes behind a message's own header.
    if (icmp.quotedAt(view, inner - icmp.HEADER, this.end - inner + icmp.HEADER) < 0) return false;
    this.#decode(view, inner);
    return true;
  }

  #decode(view: DataView, at: number): void {
    this.at = at;
    this.l4 = at + ipv4.headerLength(view, at);
    this.protocol = ipv4.protocol(view, at);
    this.saddr = ipv4.saddr(view, at);
    this.daddr = ipv4.daddr(view, at);
    const hasPorts = this.protocol === ipv4.PROTO_TCP || this.protocol === ipv4.PROTO_UDP;
    this.sport = hasPorts ? tcp.sport(view, this.l4) : 0;
    this.dport = hasPorts ? tcp.dport(view, this.l4) : 0;
  }

  /** The sequence number of the quoted TCP packet. */
  seq(view: DataView): number {
    return tcp.seq(view, this.l4);
  }

  /** Rewrites the quoted destination. Requires a quoted TCP packet. */
  setDestination(view: DataView, address: number, port: number): void {
    this.#setAddress(view, ipv4.DADDR, this.daddr, address);
    if (this.#hasChecksum()) tcp.setDport(view, this.l4, port, false);
    else view.setUint16(this.l4 + 2, port);
  }

  /** Rewrites the quoted source. Requires a quoted TCP packet. */
  setSource(view: DataView, address: number, port: number): void {
    this.#setAddress(view, ipv4.SADDR, this.saddr, address);
    if (this.#hasChecksum()) tcp.setSport(view, this.l4, port, false);
    else view.setUint16(this.l4, port);
  }

  #setAddress(view: DataView, field: number, from: number, to: number): void {
    ipv4.setAddress(view, this.at, field, to);
    if (this.#hasChecksum()) tcp.updateForAddress(view, this.l4, from, to, false);
  }

  #hasChecksum(): boolean {
    return this.end >= this.l4 + UP_TO_CHECKSUM;
  }
}

/** Whether the checksum of ICMP message `i` is right. */
export function isWholeMessage(batch: Batch, i: number): boolean {
  const l4 = batch.l4[i];
  return icmp.checkChecksum(batch.view, l4, batch.at[i] + batch.length[i] - l4);
}

/** Sums ICMP message `i` again after its quotation was changed. */
export function sumMessage(batch: Batch, i: number): void {
  const l4 = batch.l4[i];
  icmp.updateChecksum(batch.view, l4, batch.at[i] + batch.length[i] - l4);
}

/**
 * Makes an error about a tunnel into one about the packet inside (RFC 2003, section 4): the outer header is removed
 * from the quotation. "Fragmentation needed" tells the tunnel's MTU; any other error becomes "host unreachable".
 * Requires {@link Quotation.read} to have found a quoted IP-in-IP packet, and `q` to be opened.
 * @returns false where RFC 2003 relays nothing: for a parameter problem of the outer header
 */
export function outOfQuotedTunnel(batch: Batch, i: number, q: Quotation): boolean {
  const { view, arena } = batch;
  const l4 = batch.l4[i];
  if (icmp.type(view, l4) === icmp.PARAMETER_PROBLEM) return false;
  const isMtu = icmp.isFragmentationNeeded(view, l4);
  const mtu = isMtu ? Math.max(icmp.nextHopMtu(view, l4) - ipip.OVERHEAD, icmp.LEAST_MTU) : 0;
  // What follows the quotation in the format of RFC 4884 is removed: its place is counted from the quotation's end.
  const words = view.getUint8(l4 + 5);
  const quoted = l4 + icmp.HEADER;
  const end = words === 0 ? q.end : Math.min(q.end, quoted + 4 * words);
  const removed = q.at - quoted;
  arena.copyWithin(quoted, q.at, end);
  q.at -= removed;
  q.l4 -= removed;
  q.end = end - removed;
  const length = q.end - l4;
  ipv4.setTotalLength(view, batch.at[i], q.end - batch.at[i]);
  batch.length[i] = q.end - batch.at[i];
  const code = isMtu ? icmp.FRAGMENTATION_NEEDED : icmp.HOST_UNREACHABLE;
  icmp.rewrite(view, l4, length, icmp.DESTINATION_UNREACHABLE, code, mtu);
  return true;
}

/** Sets the destination of ICMP message `i` itself, which has no checksum over addresses. */
export function setMessageDestination(batch: Batch, i: number, to: number): void {
  ipv4.setAddress(batch.view, batch.at[i], ipv4.DADDR, to);
  batch.daddr[4 * i + 3] = to;
}
