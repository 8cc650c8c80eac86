/**
 * The stage that checks bounds and decodes, once. After it, an undecided packet is a whole, unfragmented IPv4 packet
 * that lies in its slot. Where `protocol` is TCP, the TCP header lies in it too; where it is UDP and a port is not 0,
 * the UDP header does.
 *
 * reads: at, length. Sets: verdict, length, l4, protocol, saddr, daddr, sport, dport, tcpFlags.
 */
import type { At } from '../flow/numbers.js';
import { V4_MAPPED } from '../wire/address.js';
import * as ipv4 from '../wire/ipv4.js';
import * as tcp from '../wire/tcp.js';
import * as udp from '../wire/udp.js';
import * as virtio from '../wire/virtio.js';
import { type Batch, OPEN, type Stage } from './batch.js';
import { common } from './reasons.js';
import type { Reassembler } from './reassemble.js';

export function validate(batch: Batch): void {
  check(batch, undefined);
}

/** {@link validate}, where fragments are put together first: the last one becomes the whole packet. */
export function validateWhole(fragments: Reassembler): Stage {
  return (batch) => check(batch, fragments);
}

function check(batch: Batch, fragments: Reassembler | undefined): void {
  const { view, at, length, protocol } = batch;
  for (let i = 0; i < batch.count; i++) {
    if (batch.verdict[i] !== OPEN) continue;
    let p = at[i];
    if (ipv4.version(view, p) !== 4) {
      batch.pass(i, common.passNotIpv4);
      continue;
    }
    if (!ipv4.checkLength(view, p, length[i])) {
      batch.drop(i, common.dropMalformed);
      continue;
    }
    const total = ipv4.totalLength(view, p);
    length[i] = total;
    if (!virtio.isSound(view, p, total)) {
      batch.drop(i, common.dropMalformed);
      continue;
    }
    if (ipv4.isFragment(view, p)) {
      if (fragments === undefined) batch.pass(i, common.passFragment);
      if (fragments?.take(batch, i) !== true) continue;
      p = at[i];
    }
    protocol[i] = ipv4.protocol(view, p);
    const whole = isWhole(view, p, p, protocol[i]);
    // A truncated UDP datagram belongs to no flow and stays undecided, because a router would forward it.
    if (!whole && (protocol[i] === ipv4.PROTO_TCP || virtio.needsCsum(view, p))) {
      batch.drop(i, common.dropMalformed);
      continue;
    }
    decode(batch, i, p, whole);
  }
}

/**
 * Whether the IPv4 packet at `ip` contains its whole transport header. A checksum that is left open must be that
 * header's.
 * @param at the packet that the virtio header describes: `ip`, or the outer header of a tunnel
 */
export function isWhole(view: DataView, at: number, ip: number, protocol: number): boolean {
  if (protocol !== ipv4.PROTO_TCP && protocol !== ipv4.PROTO_UDP) return true;
  const header = ipv4.headerLength(view, ip);
  const room = ipv4.totalLength(view, ip) - header;
  const start = ip - at + header;
  const open = virtio.needsCsum(view, at);
  if (protocol === ipv4.PROTO_TCP)
    return !(open && !virtio.isTcpChecksum(view, at, start)) && tcp.checkLength(view, ip + header, room);
  return !(open && !virtio.isUdpChecksum(view, at, start)) && udp.checkLength(view, ip + header, room);
}

/**
 * Fills the columns of packet `i` from the checked IPv4 header at `ip`. Requires `protocol[i]` to be set.
 * @param whole the result of {@link isWhole}; a transport header that is not whole is not read
 */
export function decode(batch: Batch, i: number, ip: number, whole = true): void {
  const { view, saddr, daddr, protocol } = batch;
  const l4 = ip + ipv4.headerLength(view, ip);
  batch.l4[i] = l4 as At;
  const w = 4 * i;
  saddr[w] = saddr[w + 1] = daddr[w] = daddr[w + 1] = 0;
  saddr[w + 2] = daddr[w + 2] = V4_MAPPED;
  saddr[w + 3] = ipv4.saddr(view, ip);
  daddr[w + 3] = ipv4.daddr(view, ip);
  const hasPorts = whole && (protocol[i] === ipv4.PROTO_TCP || protocol[i] === ipv4.PROTO_UDP);
  // TCP and UDP have their ports at the same offsets.
  batch.sport[i] = hasPorts ? tcp.sport(view, l4) : 0;
  batch.dport[i] = hasPorts ? tcp.dport(view, l4) : 0;
  batch.tcpFlags[i] = protocol[i] === ipv4.PROTO_TCP ? tcp.flags(view, l4) : 0;
}
