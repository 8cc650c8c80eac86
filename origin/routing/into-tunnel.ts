/**
 * Puts a packet into a tunnel of its own family, from this router. Tunnels of one pair of hosts differ by flow, so that routers
 * with several equal ways spread them: over IPv4 in their sources, over IPv6 in their flow labels (RFC 6438).
 */
import type { Batch } from '../../src/pipeline/batch.js';
import { intoTunnel, intoTunnel6 } from '../../src/pipeline/tunnel.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import type { SlrState } from './state.js';

/** @param words the tunnel's other end is in four of them, from `at` on; it is of the packet's family */
export function tunnelTo(state: SlrState, batch: Batch, i: number, words: Int32Array, at: number): void {
  if (batch.family[i] === 4)
    return intoTunnel(batch, i, state.tunnelIds, state.sourceOf(batch, i), words[at + 3]);
  intoTunnel6(batch, i, state.address6, 0, words, at);
  // A label that the client set is in the outer header by now.
  if (ipv6.flowLabel(batch.view, batch.at[i]) === 0)
    ipv6.setFlowLabel(batch.view, batch.at[i], labelOf(batch, i));
}

/** A flow label by the packet's addresses and ports, as `first_of` in the hooks computes it; most often not 0. */
function labelOf(batch: Batch, i: number): number {
  const ports = (batch.sport[i] << 16) | batch.dport[i];
  const h = Math.imul(batch.saddr[4 * i + 1] ^ batch.saddr[4 * i + 3] ^ ports, 0x9e3779b1);
  return h >>> 12;
}
