/**
 * Opens tunnels from the routers above. What comes in a tunnel from anybody else is dropped.
 *
 * reads: verdict, protocol, the outer addresses. Sets: all columns that `validate` sets, to the inner packet's; side
 * (one more than the place of the router above), endpoint (the member that gives a packet back); verdict.
 */
import type { EndpointNumber } from '../../src/flow/numbers.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  INNER_MALFORMED,
  INNER_WHOLE,
  innerProtocol,
  isTunnel,
  lookInside,
  outOfTunnel,
} from '../../src/pipeline/tunnel.js';
import * as icmpv6 from '../../src/wire/icmpv6.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { reasons } from './reasons.js';
import { NEIGHBOUR, RETURNED, type SlrState } from './state.js';

export function openTunnels(state: SlrState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && isTunnel(batch, i) && state.isOwn(batch, i)) open(state, batch, i);
  };
}

/** What may be inside; of ICMP only errors go on. */
const CARRIED: readonly number[] = [ipv4.PROTO_TCP, ipv4.PROTO_UDP, ipv4.PROTO_ICMP];
const CARRIED6: readonly number[] = [ipv4.PROTO_TCP, ipv4.PROTO_UDP, icmpv6.PROTO];

function open(state: SlrState, batch: Batch, i: number): void {
  const upper = state.upperOf(batch, i);
  const member = state.memberAt.ofWords(batch.saddr, 4 * i, 0, 0);
  const isReturned = upper === 0 && member >= 0;
  if (upper === 0 && !isReturned) return batch.drop(i, reasons.dropStranger);
  const inner = innerProtocol(batch, i);
  if (inner < 0) return batch.drop(i, reasons.dropMalformed);
  const carried = batch.family[i] === 4 ? CARRIED : CARRIED6;
  const kind = lookInside(batch, i, carried.includes(inner) ? inner : ipv4.PROTO_TCP);
  if (kind === INNER_MALFORMED) return batch.drop(i, reasons.dropMalformed);
  if (kind !== INNER_WHOLE) return batch.drop(i, reasons.dropTunnelInner);
  if (!outOfTunnel(batch, i)) return;
  // It goes into the next tunnel at once.
  batch.opened[i] = 0;
  batch.endpoint[i] = member as number as EndpointNumber;
  batch.side[i] = isReturned ? RETURNED : upper === NEIGHBOUR ? 0 : upper;
}
