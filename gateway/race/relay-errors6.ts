/**
 * Relays ICMPv6 errors about the packets of flows (RFC 4443), as `relay-errors.ts` does those of ICMP. Over IPv6 no
 * router fragments, so "packet too big" is what transfers depend on.
 *
 *   about a client's packet    `[C→R]` on the WAN         quoted as `[C→S]`, to the client
 *                              `[C→R][C→S]` on the WAN    quoted as `[C→S]`, less the tunnel's bytes (RFC 2473, 8)
 *   about a server's packet    `[S→C]` on the LAN         to the machine that carries the flow: quoted as `[R→C]` in
 *                                                         configuration A, in C as it is, in the tunnel
 *
 * reads: verdict, family, protocol, the addresses. Sets: verdict; the packet.
 */
import type { EndpointNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { NO_FLOW } from '../../src/flow/numbers.js';
import { CLOSING, UNDECIDED } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  DESTINATION,
  IN_TUNNEL,
  isWholeMessage6,
  OTHER,
  Quotation6,
  SOURCE,
  setMessageDestination6,
  sumMessage6,
} from '../../src/pipeline/quotation6.js';
import { intoTunnel6 } from '../../src/pipeline/tunnel.js';
import { ORIGIN, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import * as icmpv6 from '../../src/wire/icmpv6.js';
import { raceAnew, refuse } from './keep-first-ack.js';
import { reasons } from './reasons.js';
import { type GatewayState, TUNNEL } from './state.js';

const quoted = new Quotation6();

export function relayErrors6(state: GatewayState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.family[i] === 6 && batch.protocol[i] === icmpv6.PROTO)
        relay(state, batch, i);
  };
}

function relay(state: GatewayState, batch: Batch, i: number): void {
  const { machines } = state;
  const kind = quoted.read(batch, i);
  if (kind === OTHER) return batch.pass(i, reasons.passNotTcp);
  // An error goes to the sender of what it quotes.
  for (let w = 0; w < 4; w++)
    if (quoted.outer[w] !== batch.daddr[4 * i + w]) return batch.pass(i, reasons.passIcmp);
  if (kind === IN_TUNNEL) return aboutTunnel(state, batch, i);
  const endpoint = machines.endpoints.ofWords(quoted.addresses, DESTINATION, quoted.dport);
  if (endpoint >= 0) return aboutClient(state, batch, i, endpoint);
  const service = machines.services.ofWords(quoted.addresses, SOURCE, quoted.sport);
  if (service >= 0) return aboutServer(state, batch, i, service);
  batch.pass(i, reasons.passIcmp);
}

/** About a packet to a replica outside a tunnel. */
function aboutClient(state: GatewayState, batch: Batch, i: number, endpoint: EndpointNumber): void {
  const { machines } = state;
  const service = machines.endpointService[endpoint];
  const e = find(state, SOURCE, service);
  if (e < 0 || machines.endpointCandidate[endpoint] === ORIGIN) return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage6(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  if (!isFinalOrWinners(state, batch, i, e, endpoint)) return;
  quoted.rewrite(batch, DESTINATION, machines.serviceWords, 4 * service, machines.servicePort[service]);
  sumMessage6(batch, i);
  batch.pass(i, reasons.passIcmpRelayed);
}

/** About a packet in the tunnel to a replica. */
function aboutTunnel(state: GatewayState, batch: Batch, i: number): void {
  const { machines } = state;
  const service = machines.services.ofWords(quoted.addresses, DESTINATION, quoted.dport);
  const e = service < 0 ? NO_FLOW : find(state, SOURCE, service);
  if (e < 0) return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage6(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  const endpoint = machines.tunnelEnd(quoted.outer, DESTINATION, service);
  if (endpoint < 0) return batch.drop(i, reasons.dropIcmpLoser);
  if (!isFinalOrWinners(state, batch, i, e, endpoint)) return;
  if (!quoted.outOfTunnel(batch, i)) return batch.drop(i, reasons.dropIcmpOuter);
  sumMessage6(batch, i);
  batch.pass(i, reasons.passIcmpRelayed);
}

/** About a packet that a server sent to a client: it is the sender's. */
function aboutServer(state: GatewayState, batch: Batch, i: number, service: ServiceNumber): void {
  const { flows } = state;
  const e = find(state, DESTINATION, service);
  if (e < 0 || flows.state[e] === UNDECIDED || flows.winner[e] <= ORIGIN_MACHINE)
    return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage6(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  if (state.machines.serviceMode[service] === TUNNEL)
    intoTunnel6(batch, i, quoted.addresses, DESTINATION, flows.target, 4 * e);
  else {
    quoted.rewrite(batch, SOURCE, flows.target, 4 * e, flows.targetPort[e]);
    setMessageDestination6(batch, i, flows.target, 4 * e);
    sumMessage6(batch, i);
  }
  batch.pass(i, reasons.passIcmpRelayed);
}

/**
 * Whether an error about the packet to a candidate concerns the client: because no other candidate is left, or the
 * candidate carries the flow. Else the message is decided.
 */
function isFinalOrWinners(
  state: GatewayState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  endpoint: EndpointNumber,
): boolean {
  const { flows, machines } = state;
  if (flows.state[e] !== UNDECIDED) {
    if (flows.winner[e] === machines.endpointMachine[endpoint]) return !isLost(state, batch, i, e, endpoint);
    batch.drop(i, reasons.dropIcmpLoser);
    return false;
  }
  if (quoted.seq(batch.view) === flows.isn[e] && refuse(state, e, endpoint)) {
    state.enter(e, CLOSING);
    return true;
  }
  batch.drop(i, reasons.dropIcmpRacing);
  return false;
}

/** As that of `relay-errors.ts`. */
function isLost(
  state: GatewayState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  endpoint: EndpointNumber,
): boolean {
  const service = state.machines.endpointService[endpoint];
  const isUnreachable = icmpv6.isUnreachable(batch.view, batch.l4[i]);
  if (!isUnreachable || !raceAnew(state, batch, e, service, quoted.seq(batch.view))) return false;
  batch.drop(i, reasons.dropIcmpRacing);
  return true;
}

/** @param client the quoted packet's end that is the client's */
function find(
  { flows, machines }: GatewayState,
  client: typeof SOURCE | typeof DESTINATION,
  service: ServiceNumber,
): FlowEntry {
  return quoted.flowOf(flows, client, machines.serviceWords, 4 * service, machines.servicePort[service]);
}
