/** Network address translation of one packet: an address, its port, and both checksums (RFC 1624). */
import * as ipv4 from '../wire/ipv4.js';
import * as tcp from '../wire/tcp.js';
import * as virtio from '../wire/virtio.js';
import type { Batch } from './batch.js';

/** Gives TCP packet `i` this source. Never allocates; a bad checksum stays bad. */
export function snat(batch: Batch, i: number, address: number, port: number): void {
  rewrite(batch, i, ipv4.SADDR, address);
  tcp.setSport(batch.view, batch.l4[i], port, virtio.needsCsum(batch.view, batch.at[i]));
}

/** Gives TCP packet `i` this destination. Never allocates; a bad checksum stays bad. */
export function dnat(batch: Batch, i: number, address: number, port: number): void {
  rewrite(batch, i, ipv4.DADDR, address);
  tcp.setDport(batch.view, batch.l4[i], port, virtio.needsCsum(batch.view, batch.at[i]));
}

function rewrite(batch: Batch, i: number, field: number, to: number): void {
  const { view } = batch;
  const at = batch.at[i];
  const from = view.getInt32(at + field);
  if (from === to) return;
  ipv4.setAddress(view, at, field, to);
  tcp.updateForAddress(view, batch.l4[i], from, to, virtio.needsCsum(view, at));
}
