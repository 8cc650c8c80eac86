/**
 * Relays ICMP errors about the packets of flows, each in the terms of the machine that it goes to (RFC 5508):
 *
 *   about a client's packet    `[C→R]` on the WAN          quoted as `[C→S]`, to the client
 *                              `[C→R][C→S]` on the WAN     quoted as `[C→S]`, less the tunnel's bytes (RFC 2003)
 *   about a server's packet    `[S→C]` on the LAN          to the machine that carries the flow: quoted as `[R→C]` in
 *                                                          configuration A; in B and C as it is, in the tunnel
 *
 * An error about the SYN of a race is the loss of the candidate whose SYN it was, and of no other. Where the winner cannot be
 * reached before the client has confirmed its acknowledgement, the client's next SYN begins a race anew. No other error removes
 * a flow. An error about another machine than the flow's is dropped.
 *
 * reads: verdict, protocol, the addresses. Sets: verdict, service, flow; the packet.
 */
import type { EndpointNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { CLOSING, UNDECIDED } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  isWholeMessage,
  outOfQuotedTunnel,
  Quotation,
  setMessageDestination,
  sumMessage,
} from '../../src/pipeline/quotation.js';
import { intoTunnel } from '../../src/pipeline/tunnel.js';
import { ORIGIN, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import * as icmp from '../../src/wire/icmp.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { raceAnew, refuse } from './keep-first-ack.js';
import { reasons } from './reasons.js';
import { type GatewayState, TRANSLATE } from './state.js';

export function relayErrors(state: GatewayState): Stage {
  const quoted = new Quotation();
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.family[i] === 4 && batch.protocol[i] === ipv4.PROTO_ICMP)
        relay(state, batch, i, quoted);
  };
}

function relay(state: GatewayState, batch: Batch, i: number, q: Quotation): void {
  if (!q.read(batch, i)) return batch.pass(i, reasons.passNotTcp);
  if (q.protocol === ipv4.PROTO_IPIP) return aboutTunnel(state, batch, i, q);
  if (state.probes.isOwn(q)) return aboutProbe(state, batch, i, q.daddr);
  if (q.protocol !== ipv4.PROTO_TCP) return batch.pass(i, reasons.passIcmp);
  const { machines } = state;
  const endpoint = machines.endpoints.getV4(q.daddr, q.dport);
  if (endpoint >= 0 && q.saddr === batch.daddrV4(i)) return aboutClient(state, batch, i, q, endpoint);
  const service = machines.services.getV4(q.saddr, q.sport);
  if (service >= 0 && q.saddr === batch.daddrV4(i)) return aboutServer(state, batch, i, q, service);
  batch.pass(i, reasons.passIcmp);
}

/** About a packet to the origin, or to a replica outside a tunnel. */
function aboutClient(
  state: GatewayState,
  batch: Batch,
  i: number,
  q: Quotation,
  endpoint: EndpointNumber,
): void {
  const { flows, machines } = state;
  const service = machines.endpointService[endpoint];
  const candidate = machines.endpointCandidate[endpoint];
  const e = find(state, q.saddr, q.sport, service);
  // The client's own connection to a replica, say.
  if (e < 0) return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  const { view } = batch;
  if (flows.state[e] === UNDECIDED) {
    if (!isFinal(state, batch, i, q, e, endpoint)) return;
  } else if (candidate !== ORIGIN && !isTarget(state, e, q.daddr, q.dport))
    return batch.drop(i, reasons.dropIcmpLoser);
  else if (candidate === ORIGIN && flows.winner[e] !== ORIGIN_MACHINE) {
    // This host's own answer to a packet that is too large, in the client's terms already.
    if (icmp.isFragmentationNeeded(view, batch.l4[i])) return batch.pass(i, reasons.passIcmp);
    return batch.drop(i, reasons.dropIcmpLoser);
  } else if (isLost(state, batch, i, q, e, service)) return;
  if (candidate === ORIGIN) return batch.pass(i, reasons.passIcmp);
  state.paths.learn(q.daddr, batch.view, batch.l4[i], state.nowTick);
  q.setDestination(view, machines.serviceV4(service), machines.servicePort[service]);
  sumMessage(batch, i);
  batch.pass(i, reasons.passIcmpRelayed);
}

/** About a packet in the tunnel to a replica. */
function aboutTunnel(state: GatewayState, batch: Batch, i: number, q: Quotation): void {
  const { flows, machines } = state;
  const replica = q.daddr;
  if (q.saddr !== batch.daddrV4(i)) return batch.pass(i, reasons.passIcmp);
  if (!q.open(batch.view)) {
    // Too little is quoted to know the flow. What it tells of the path is told to the next packet that is too large.
    if (!machines.isTunnelEnd(replica)) return batch.pass(i, reasons.passIcmp);
    if (isWholeMessage(batch, i)) state.paths.learn(replica, batch.view, batch.l4[i], state.nowTick);
    return batch.drop(i, reasons.dropIcmpShort);
  }
  if (state.probes.isOwn(q)) return aboutProbe(state, batch, i, replica);
  const service = q.protocol === ipv4.PROTO_TCP ? machines.services.getV4(q.daddr, q.dport) : -1;
  const e = service < 0 ? -1 : find(state, q.saddr, q.sport, service as ServiceNumber);
  if (e < 0) return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  const flow = e as FlowEntry;
  if (flows.state[flow] === UNDECIDED) {
    const endpoint = machines.endpointAt(service as ServiceNumber, replica);
    if (endpoint < 0) return batch.drop(i, reasons.dropIcmpLoser);
    if (!isFinal(state, batch, i, q, flow, endpoint)) return;
  } else if (flows.target[4 * flow + 3] !== replica) return batch.drop(i, reasons.dropIcmpLoser);
  else if (isLost(state, batch, i, q, flow, service as ServiceNumber)) return;
  state.paths.learn(replica, batch.view, batch.l4[i], state.nowTick);
  if (!outOfQuotedTunnel(batch, i, q)) return batch.drop(i, reasons.dropIcmpOuter);
  batch.pass(i, reasons.passIcmpRelayed);
}

/** About a path probe: no host has its source, and it tells of the path at once. */
function aboutProbe(state: GatewayState, batch: Batch, i: number, replica: number): void {
  if (isWholeMessage(batch, i)) state.paths.learn(replica, batch.view, batch.l4[i], state.nowTick);
  batch.drop(i, reasons.dropIcmpProbe);
}

/** About a packet that a server sent to a client: it is the sender's, which is not always the origin's server. */
function aboutServer(
  state: GatewayState,
  batch: Batch,
  i: number,
  q: Quotation,
  service: ServiceNumber,
): void {
  const { flows, machines } = state;
  const e = find(state, q.daddr, q.dport, service);
  if (e < 0 || flows.state[e] === UNDECIDED || flows.winner[e] === ORIGIN_MACHINE)
    return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  const target = flows.target[4 * e + 3];
  if (machines.serviceMode[service] === TRANSLATE) {
    q.setSource(batch.view, target, flows.targetPort[e]);
    setMessageDestination(batch, i, target);
    sumMessage(batch, i);
  } else intoTunnel(batch, i, state.tunnelIds, q.daddr, target);
  batch.pass(i, reasons.passIcmpRelayed);
}

/**
 * Notes that a candidate's path refused the SYN of a race. Only an error that quotes this race's SYN counts.
 * @returns whether no candidate is left, so that the client is told; else the packet is decided
 */
function isFinal(
  state: GatewayState,
  batch: Batch,
  i: number,
  q: Quotation,
  e: FlowEntry,
  endpoint: EndpointNumber,
): boolean {
  if (q.seq(batch.view) === state.flows.isn[e] && refuse(state, e, endpoint)) {
    state.enter(e, CLOSING);
    return true;
  }
  batch.drop(i, reasons.dropIcmpRacing);
  return false;
}

/** Whether the winner is lost to a client that has not confirmed the connection. Then the packet is decided. */
function isLost(
  state: GatewayState,
  batch: Batch,
  i: number,
  q: Quotation,
  e: FlowEntry,
  service: ServiceNumber,
): boolean {
  const isUnreachable = icmp.isUnreachable(batch.view, batch.l4[i]);
  if (!isUnreachable || !raceAnew(state, batch, e, service, q.seq(batch.view))) return false;
  batch.drop(i, reasons.dropIcmpRacing);
  return true;
}

function find(state: GatewayState, client: number, port: number, service: ServiceNumber): FlowEntry {
  const { flows, machines } = state;
  flows.keyV4(client, port, machines.serviceV4(service), machines.servicePort[service]);
  return flows.find();
}

function isTarget({ flows }: GatewayState, e: FlowEntry, address: number, port: number): boolean {
  return flows.target[4 * e + 3] === address && flows.targetPort[e] === port;
}
