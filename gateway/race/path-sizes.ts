/**
 * Keeps packets within what the path to their machine carries (`path-probes.ts`, and ICMP errors; of IPv6, within
 * what a tunnel leaves of the WAN's MTU): the MSS of SYNs and
 * of their answers is lowered (RFC 2923, 2.3), and a packet that is too large none the less is answered as the first
 * router of the path would answer it.
 */
import type { ServiceNumber } from '../../src/flow/numbers.js';
import type { Batch } from '../../src/pipeline/batch.js';
import { emitTooBig } from '../../src/pipeline/too-big.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import * as mss from '../../src/wire/mss.js';
import * as tcp from '../../src/wire/tcp.js';
import * as virtio from '../../src/wire/virtio.js';
import { reasons } from './reasons.js';
import { type GatewayState, TUNNEL } from './state.js';

const HEADERS = ipv4.MIN_HEADER + tcp.MIN_HEADER;
/** Both headers of IPv6 in IPv6 are longer. */
const MORE_V6 = 2 * (ipv6.HEADER - ipv4.MIN_HEADER);

function overhead(state: GatewayState, service: ServiceNumber): number {
  return state.machines.serviceMode[service] === TUNNEL ? ipip.OVERHEAD : 0;
}

/** Lowers the MSS that the server of SYN `i` is told, which limits what comes from it. @param replica 0 for the origin */
export function clampSyn(
  state: GatewayState,
  batch: Batch,
  i: number,
  service: ServiceNumber,
  replica: number,
): void {
  clamp(state, batch, i, service, state.pathsBack.to(replica));
}

/** Lowers the MSS that the client is told by answer `i`, which limits what goes to the replica. */
export function clampAnswer(
  state: GatewayState,
  batch: Batch,
  i: number,
  service: ServiceNumber,
  replica: number,
): void {
  clamp(state, batch, i, service, state.paths.to(replica));
}

/**
 * Lowers the MSS of a SYN that the origin copies to every replica: to what the narrowest of their paths carries.
 */
export function clampForAll(state: GatewayState, batch: Batch, i: number, service: ServiceNumber): void {
  const { machines, pathsBack } = state;
  let least = 0;
  const endpoints = machines.serviceEndpoints[service];
  for (let k = 0; pathsBack.size > 0 && k < endpoints.length; k++) {
    const mtu = pathsBack.to(machines.endpointV4(endpoints[k]));
    if (mtu !== 0 && (least === 0 || mtu < least)) least = mtu;
  }
  clamp(state, batch, i, service, least);
}

/** @param mtu 0 where the path is not known to be narrow: then only a tunnel lowers the MSS */
function clamp(state: GatewayState, batch: Batch, i: number, service: ServiceNumber, mtu: number): void {
  const outer = overhead(state, service);
  const { view, l4 } = batch;
  if (batch.family[i] === 6) {
    const partial = virtio.needsCsum(view, batch.at[i]);
    if (outer !== 0) mss.clamp(view, l4[i], state.tunnelMss - MORE_V6, partial);
    return;
  }
  if (mtu === 0 && outer === 0) return;
  const most = outer === 0 ? Number.MAX_SAFE_INTEGER : state.tunnelMss;
  const limit = mtu === 0 ? most : Math.min(most, mtu - outer - HEADERS);
  mss.clamp(view, l4[i], limit, virtio.needsCsum(view, batch.at[i]));
}

/**
 * Answers a client's packet that is larger than its path carries, and may not be fragmented, with "fragmentation
 * needed", in the client's own terms.
 * @returns whether it was; then the packet is decided
 */
export function refuseTooLarge(state: GatewayState, batch: Batch, i: number, replica: number): boolean {
  const mtu = batch.family[i] === 4 ? state.paths.to(replica) : 0;
  if (mtu === 0) return false;
  const { view, l4 } = batch;
  const at = batch.at[i];
  if (!ipv4.dontFragment(view, at)) return false;
  const outer = overhead(state, batch.service[i]);
  const header = l4[i] - at + tcp.dataOffset(view, l4[i]);
  const bytes = virtio.isGso(view, at) ? header + virtio.gsoSize(view, at) : batch.length[i];
  if (bytes + outer <= mtu) return false;
  if (state.tooBigs > 0) {
    state.tooBigs--;
    emitTooBig(batch, i, mtu - outer, reasons.emitTooBig);
  }
  batch.drop(i, reasons.dropTooBig);
  return true;
}
