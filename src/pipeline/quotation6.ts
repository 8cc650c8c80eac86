/**
 * The packet that an ICMPv6 error quotes, or that a tunnel contains of which it quotes the beginning: its tuple, and how
 * it is translated. As `quotation.ts` over IPv4; of packets with extension headers nothing is read.
 */
import type { FlowEntry } from '../flow/numbers.js';
import type { FlowTable } from '../flow/table.js';
import * as icmpv6 from '../wire/icmpv6.js';
import * as ipip6 from '../wire/ipip6.js';
import * as ipv4 from '../wire/ipv4.js';
import * as ipv6 from '../wire/ipv6.js';
import * as tcp from '../wire/tcp.js';
import type { Batch } from './batch.js';

/** Bytes of a quoted TCP header up to its ports and sequence number, and up to its checksum. */
const QUOTED = 8;
const UP_TO_CHECKSUM = 18;

/** What a message quotes. */
export const OTHER = 0;
export const PLAIN = 1;
export const IN_TUNNEL = 2;

/** Where an address begins among those of {@link Quotation6.addresses} and {@link Quotation6.outer}. */
export const SOURCE = 0;
export const DESTINATION = 4;

export class Quotation6 {
  /** The quoted packet's source and destination, four words each. */
  readonly addresses = new Int32Array(8);
  /** The outer header's, where a tunnel is quoted; else the same. */
  readonly outer = new Int32Array(8);
  /** TCP, or UDP where that is asked for. */
  protocol = 0;
  sport = 0;
  dport = 0;
  /** First byte of the quoted packet, of its transport header, and the end of the message. */
  at = 0;
  l4 = 0;
  end = 0;

  /**
   * Reads what message `i` quotes.
   * @param udp whether a packet of UDP counts too
   * @returns {@link PLAIN} or {@link IN_TUNNEL} for a TCP packet, as far as its number
   */
  read(batch: Batch, i: number, udp = false): number {
    const { view } = batch;
    const end = batch.at[i] + batch.length[i];
    const first = batch.l4[i] + icmpv6.HEADER;
    if (!icmpv6.isError(view, batch.l4[i], end - batch.l4[i])) return OTHER;
    if (end < first + ipv6.HEADER + QUOTED || view.getUint8(first) >>> 4 !== 6) return OTHER;
    const isTunnel = ipv6.nextHeader(view, first) === ipip6.PROTO;
    const at = isTunnel ? first + ipip6.OVERHEAD : first;
    const l4 = at + ipv6.HEADER;
    if (end < l4 + QUOTED || view.getUint8(at) >>> 4 !== 6) return OTHER;
    this.protocol = ipv6.nextHeader(view, at);
    if (this.protocol !== ipv4.PROTO_TCP && !(udp && this.protocol === ipv4.PROTO_UDP)) return OTHER;
    for (let w = 0; w < 8; w++) {
      this.outer[w] = view.getInt32(first + ipv6.SADDR + 4 * w);
      this.addresses[w] = view.getInt32(at + ipv6.SADDR + 4 * w);
    }
    this.sport = tcp.sport(view, l4);
    this.dport = tcp.dport(view, l4);
    this.at = at;
    this.l4 = l4;
    this.end = end;
    return isTunnel ? IN_TUNNEL : PLAIN;
  }

  /** The sequence number of the quoted packet. */
  seq(view: DataView): number {
    return tcp.seq(view, this.l4);
  }

  /** The flow of a client at one end of the quoted packet and a service, whose address is in four words from `at` on. */
  flowOf(
    flows: FlowTable,
    client: typeof SOURCE | typeof DESTINATION,
    words: Int32Array,
    at: number,
    port: number,
  ): FlowEntry {
    for (let w = 0; w < 4; w++) {
      flows.key[w] = this.addresses[client + w];
      flows.key[4 + w] = words[at + w];
    }
    flows.setPorts(client === SOURCE ? this.sport : this.dport, port);
    return flows.find();
  }

  /** Rewrites one end of the quoted packet, and its checksum where it is quoted. */
  rewrite(
    batch: Batch,
    end: typeof SOURCE | typeof DESTINATION,
    words: Int32Array,
    at: number,
    port: number,
  ): void {
    const { view } = batch;
    const { l4 } = this;
    const hasChecksum = this.end >= l4 + UP_TO_CHECKSUM;
    for (let w = 0; w < 4; w++) {
      view.setInt32(this.at + ipv6.SADDR + 4 * (end + w), words[at + w]);
      if (hasChecksum) tcp.updateForAddress(view, l4, this.addresses[end + w], words[at + w], false);
    }
    if (!hasChecksum) view.setUint16(l4 + (end === SOURCE ? 0 : 2), port);
    else if (end === SOURCE) tcp.setSport(view, l4, port, false);
    else tcp.setDport(view, l4, port, false);
  }

  /**
   * Makes message `i` about a tunnel into one about the packet inside ({@link icmpv6.outOfQuotedTunnel}), and sums it.
   * @returns false where nothing is relayed
   */
  outOfTunnel(batch: Batch, i: number): boolean {
    const { view, arena } = batch;
    if (!icmpv6.outOfQuotedTunnel(view, arena, batch.l4[i], this.at, this.end)) return false;
    batch.length[i] -= ipip6.OVERHEAD;
    ipv6.setTotalLength(view, batch.at[i], batch.length[i]);
    return true;
  }
}

/** Whether the checksum of ICMPv6 message `i` is right. */
export function isWholeMessage6(batch: Batch, i: number): boolean {
  const { view, at, l4, length } = batch;
  return icmpv6.isSound(view, at[i], l4[i], at[i] + length[i] - l4[i]);
}

/** Sums ICMPv6 message `i` again. */
export function sumMessage6(batch: Batch, i: number): void {
  const { view, at, l4, length } = batch;
  icmpv6.setCheck(view, at[i], l4[i], at[i] + length[i] - l4[i]);
}

/** Sets the destination of message `i` itself; its checksum is not updated. */
export function setMessageDestination6(batch: Batch, i: number, words: Int32Array, at: number): void {
  for (let w = 0; w < 4; w++) {
    batch.daddr[4 * i + w] = words[at + w];
    batch.view.setInt32(batch.at[i] + ipv6.DADDR + 4 * w, words[at + w]);
  }
}
