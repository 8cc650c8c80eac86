/** Writes the maps `source` and `source6` (`native/routing.bpf.c`, `native/routing6.h`). */
import { writeAddress } from '../fastpath/layout.js';
import { bpf } from '../fastpath/native.js';
import { type Address, V4_MAPPED } from '../wire/address.js';
import * as layout from './kernel-layout.js';

/**
 * @param self this host's own address
 * @param fallback the host that gets what this one cannot take; null for none
 * @param source the address of its tunnels, where that is another
 * @param hostMask the bits of it in which tunnels differ
 * @param seed of the hash that gives flows their slots
 */
export function writeSource(
  fd: number,
  self: Address,
  fallback: Address | null,
  source: Address = self,
  hostMask = 0,
  seed = 0,
): void {
  const value = new Uint8Array(layout.source.stride);
  const view = new DataView(value.buffer);
  writeAddress(view, layout.source.address, [0, 0, V4_MAPPED, source[3]]);
  view.setInt32(layout.source.hostMask, hostMask);
  view.setInt32(layout.source.self, self[3]);
  view.setInt32(layout.source.fallback, fallback?.[3] ?? 0);
  view.setInt32(layout.source.seed, seed, true);
  bpf.update(fd, new Uint8Array(4), 4, value, value.length, 1);
}

/**
 * @param self this host's own address; null where it has none, then no tunnel of IPv6 is its own
 * @param fallback at a server the router that gets back what belongs to no connection there; null for none
 */
export function writeSource6(fd: number, self: Address | null, fallback: Address | null): void {
  const value = new Uint8Array(layout.source6.stride);
  const view = new DataView(value.buffer);
  if (self !== null) writeAddress(view, layout.source6.self, self);
  if (fallback !== null) writeAddress(view, layout.source6.fallback, fallback);
  bpf.update(fd, new Uint8Array(4), 4, value, value.length, 1);
}
