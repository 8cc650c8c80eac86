/**
 * The stage that checks bounds and decodes, once. After it, an undecided packet is a whole, unfragmented IPv4 packet
 * (or IPv6 packet, for programs that ask for both) that lies in its slot. Where `protocol` is TCP, the TCP header lies in it too; where it is UDP and a port is not 0,
 * the UDP header does.
 *
 * reads: at, length. Sets: verdict, length, l4, family, protocol, saddr, daddr, sport, dport, tcpFlags.
 */
import type { At } from '../flow/numbers.js';
import { V4_MAPPED } from '../wire/address.js';
import { isV6 } from '../wire/ip.js';
import * as ipv4 from '../wire/ipv4.js';
import * as ipv6 from '../wire/ipv6.js';
import * as tcp from '../wire/tcp.js';
import * as udp from '../wire/udp.js';
import * as virtio from '../wire/virtio.js';
import { type Batch, OPEN, type Stage } from './batch.js';
import { common } from './reasons.js';
import type { Reassembler } from './reassemble.js';

export function validate(batch: Batch): void {
  check(batch, undefined, false);
}

/** {@link validate}, where fragments are put together first: the last one becomes the whole packet. */
export function validateWhole(fragments: Reassembler): Stage {
  return (batch) => check(batch, fragments, false);
}

/** {@link validateWhole} for a program that carries IPv6 too. */
export function validateBoth(fragments: Reassembler): Stage {
  return (batch) => check(batch, fragments, true);
}

function check(batch: Batch, fragments: Reassembler | undefined, both: boolean): void {
  const { view, at, length, protocol } = batch;
  for (let i = 0; i < batch.count; i++) {
    if (batch.verdict[i] !== OPEN) continue;
    let p = at[i];
    if (ipv4.version(view, p) !== 4) {
      if (both && isV6(view, p)) checkV6(batch, i);
      else batch.pass(i, common.passNotIpv4);
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

/** Fragments are passed on. */
function checkV6(batch: Batch, i: number): void {
  const { view, protocol } = batch;
  const p = batch.at[i];
  if (!ipv6.checkLength(view, p, batch.length[i])) return batch.drop(i, common.dropMalformed);
  const total = ipv6.totalLength(view, p);
  batch.length[i] = total;
  if (!virtio.isSound(view, p, total)) return batch.drop(i, common.dropMalformed);
  // Without a transport header it belongs to no flow: what a router does with it is the kernel's business.
  if (!ipv6.walk(view, p)) return batch.pass(i, common.passNotTcp);
  const { l4, fragment } = ipv6.found;
  // In the tables these would be IPv4 addresses.
  if (isLow(view, p + ipv6.SADDR) || isLow(view, p + ipv6.DADDR)) return batch.pass(i, common.passNotIpv4);
  if (fragment >= 0) return batch.pass(i, common.passFragment);
  protocol[i] = ipv6.found.protocol;
  const whole = isWholeAt(view, p, l4, p + total - l4, protocol[i]);
  if (!whole && (protocol[i] === ipv4.PROTO_TCP || virtio.needsCsum(view, p)))
    return batch.drop(i, common.dropMalformed);
  decodeV6(batch, i, p, l4, whole);
}

/** Whether an address is in ::/64: unspecified, loopback, or with an IPv4 address inside. */
export function isLow(view: DataView, at: number): boolean {
  return view.getInt32(at) === 0 && view.getInt32(at + 4) === 0;
}

/**
 * Whether the IPv4 packet at `ip` contains its whole transport header. A checksum that is left open must be that
 * header's.
 * @param at the packet that the virtio header describes: `ip`, or the outer header of a tunnel
 */
export function isWhole(view: DataView, at: number, ip: number, protocol: number): boolean {
  const header = ipv4.headerLength(view, ip);
  return isWholeAt(view, at, ip + header, ipv4.totalLength(view, ip) - header, protocol);
}

/** {@link isWhole} for the `room` bytes from `l4` on. */
export function isWholeAt(view: DataView, at: number, l4: number, room: number, protocol: number): boolean {
  if (protocol !== ipv4.PROTO_TCP && protocol !== ipv4.PROTO_UDP) return true;
  const open = virtio.needsCsum(view, at);
  if (protocol === ipv4.PROTO_TCP)
    return !(open && !virtio.isTcpChecksum(view, at, l4 - at)) && tcp.checkLength(view, l4, room);
  return !(open && !virtio.isUdpChecksum(view, at, l4 - at)) && udp.checkLength(view, l4, room);
}

/**
 * Fills the columns of packet `i` from the checked IPv4 header at `ip`. Requires `protocol[i]` to be set.
 * @param whole the result of {@link isWhole}; a transport header that is not whole is not read
 */
export function decode(batch: Batch, i: number, ip: number, whole = true): void {
  const { view, saddr, daddr } = batch;
  const w = 4 * i;
  saddr[w] = saddr[w + 1] = daddr[w] = daddr[w + 1] = 0;
  saddr[w + 2] = daddr[w + 2] = V4_MAPPED;
  saddr[w + 3] = ipv4.saddr(view, ip);
  daddr[w + 3] = ipv4.daddr(view, ip);
  batch.family[i] = 4;
  decodeTransport(batch, i, (ip + ipv4.headerLength(view, ip)) as At, whole);
}

/** {@link decode} for the checked IPv6 header at `ip`, whose transport header is at `l4`. */
export function decodeV6(batch: Batch, i: number, ip: number, l4: number, whole = true): void {
  const { view, saddr, daddr } = batch;
  for (let w = 0; w < 4; w++) {
    saddr[4 * i + w] = view.getInt32(ip + ipv6.SADDR + 4 * w);
    daddr[4 * i + w] = view.getInt32(ip + ipv6.DADDR + 4 * w);
  }
  batch.family[i] = 6;
  decodeTransport(batch, i, l4 as At, whole);
}

function decodeTransport(batch: Batch, i: number, l4: At, whole: boolean): void {
  const { view, protocol } = batch;
  batch.l4[i] = l4;
  const hasPorts = whole && (protocol[i] === ipv4.PROTO_TCP || protocol[i] === ipv4.PROTO_UDP);
  // TCP and UDP have their ports at the same offsets.
  batch.sport[i] = hasPorts ? tcp.sport(view, l4) : 0;
  batch.dport[i] = hasPorts ? tcp.dport(view, l4) : 0;
  batch.tcpFlags[i] = protocol[i] === ipv4.PROTO_TCP ? tcp.flags(view, l4) : 0;
}
