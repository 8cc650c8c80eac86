/**
 * Network address translation of one packet: rewrites an address, its port, and both checksums (RFC 1624). TCP and
 * UDP.
 */
import * as ipv4 from '../wire/ipv4.js';
import * as tcp from '../wire/tcp.js';
import * as udp from '../wire/udp.js';
import * as virtio from '../wire/virtio.js';
import type { Batch } from './batch.js';

/** Sets the source of packet `i`. Never allocates; a bad checksum stays bad. */
export function snat(batch: Batch, i: number, address: number, port: number): void {
  rewrite(batch, i, ipv4.SADDR, address);
  const partial = virtio.needsCsum(batch.view, batch.at[i]);
  if (batch.protocol[i] === ipv4.PROTO_UDP) udp.setSport(batch.view, batch.l4[i], port, partial);
  else tcp.setSport(batch.view, batch.l4[i], port, partial);
  batch.saddr[4 * i + 3] = address;
  batch.sport[i] = port;
}

/** Sets the destination of packet `i`. Never allocates; a bad checksum stays bad. */
export function dnat(batch: Batch, i: number, address: number, port: number): void {
  rewrite(batch, i, ipv4.DADDR, address);
  const partial = virtio.needsCsum(batch.view, batch.at[i]);
  if (batch.protocol[i] === ipv4.PROTO_UDP) udp.setDport(batch.view, batch.l4[i], port, partial);
  else tcp.setDport(batch.view, batch.l4[i], port, partial);
  batch.daddr[4 * i + 3] = address;
  batch.dport[i] = port;
}

function rewrite(batch: Batch, i: number, field: number, to: number): void {
  const { view } = batch;
  const at = batch.at[i];
  const from = view.getInt32(at + field);
  if (from === to) return;
  ipv4.setAddress(view, at, field, to);
  const partial = virtio.needsCsum(view, at);
  if (batch.protocol[i] === ipv4.PROTO_UDP) udp.updateForAddress(view, batch.l4[i], from, to, partial);
  else tcp.updateForAddress(view, batch.l4[i], from, to, partial);
}
