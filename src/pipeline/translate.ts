/**
 * Network address translation of one packet: rewrites an address, its port, and the checksums (RFC 1624). TCP and UDP,
 * IPv4 and IPv6. The new address is of the packet's own family.
 */
import { V4_MAPPED } from '../wire/address.js';
import * as ipv4 from '../wire/ipv4.js';
import * as ipv6 from '../wire/ipv6.js';
import * as tcp from '../wire/tcp.js';
import * as udp from '../wire/udp.js';
import * as virtio from '../wire/virtio.js';
import type { Batch } from './batch.js';

/**
 * Sets the source of packet `i` to the address whose four words begin at `words[from]`. Never allocates; a bad
 * checksum stays bad.
 */
export function snat(batch: Batch, i: number, words: Int32Array, from: number, port: number): void {
  if (batch.family[i] === 6) rewriteV6(batch, i, ipv6.SADDR, words, from);
  else rewrite(batch, i, ipv4.SADDR, words[from + 3]);
  const partial = virtio.needsCsum(batch.view, batch.at[i]);
  if (batch.protocol[i] === ipv4.PROTO_UDP) udp.setSport(batch.view, batch.l4[i], port, partial);
  else tcp.setSport(batch.view, batch.l4[i], port, partial);
  for (let w = 0; w < 4; w++) batch.saddr[4 * i + w] = words[from + w];
  batch.sport[i] = port;
}

/** Sets the destination of packet `i`, as {@link snat} does the source. */
export function dnat(batch: Batch, i: number, words: Int32Array, from: number, port: number): void {
  if (batch.family[i] === 6) rewriteV6(batch, i, ipv6.DADDR, words, from);
  else rewrite(batch, i, ipv4.DADDR, words[from + 3]);
  const partial = virtio.needsCsum(batch.view, batch.at[i]);
  if (batch.protocol[i] === ipv4.PROTO_UDP) udp.setDport(batch.view, batch.l4[i], port, partial);
  else tcp.setDport(batch.view, batch.l4[i], port, partial);
  for (let w = 0; w < 4; w++) batch.daddr[4 * i + w] = words[from + w];
  batch.dport[i] = port;
}

const v4 = Int32Array.of(0, 0, V4_MAPPED, 0);

/** {@link snat} of an IPv4 packet. */
export function snatV4(batch: Batch, i: number, address: number, port: number): void {
  v4[3] = address;
  snat(batch, i, v4, 0, port);
}

/** {@link dnat} of an IPv4 packet. */
export function dnatV4(batch: Batch, i: number, address: number, port: number): void {
  v4[3] = address;
  dnat(batch, i, v4, 0, port);
}

function rewrite(batch: Batch, i: number, field: number, to: number): void {
  const { view } = batch;
  const at = batch.at[i];
  const from = view.getInt32(at + field);
  if (from === to) return;
  ipv4.setAddress(view, at, field, to);
  updateForAddress(batch, i, from, to);
}

function rewriteV6(batch: Batch, i: number, field: number, words: Int32Array, at: number): void {
  const { view } = batch;
  for (let w = 0; w < 4; w++) {
    const place = batch.at[i] + field + 4 * w;
    const from = view.getInt32(place);
    const to = words[at + w];
    if (from === to) continue;
    view.setInt32(place, to);
    updateForAddress(batch, i, from, to);
  }
}

/** Updates the transport checksum for one word of an address in the pseudo header. */
function updateForAddress(batch: Batch, i: number, from: number, to: number): void {
  const { view } = batch;
  const partial = virtio.needsCsum(view, batch.at[i]);
  if (batch.protocol[i] === ipv4.PROTO_UDP) udp.updateForAddress(view, batch.l4[i], from, to, partial);
  else tcp.updateForAddress(view, batch.l4[i], from, to, partial);
}
