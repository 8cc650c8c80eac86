/**
 * [535, 554] Opens the acknowledgement that a replica tunnelled: under B `[S→C][R→C]`, under C
 * `[R→C][S→C]`. Only for a flow that is being raced or carried, only from a registered replica of its
 * service, only one deep; all else stays shut.
 */
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { INNER_MALFORMED, INNER_TCP, inspectInner } from '../../src/pipeline/validate.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import { emitLateReset } from './reset.js';
import { type GatewayState, SERVER, SPOOF, TUNNEL, tunnelPort } from './state.js';

export function crackAck(state: GatewayState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.protocol[i] === ipv4.PROTO_IPIP) crack(state, batch, i);
  };
}

function crack(state: GatewayState, batch: Batch, i: number): void {
  const { view } = batch;
  const outer = batch.at[i];
  const inner = batch.l4[i];
  const kind = inspectInner(view, outer, inner);
  if (kind === INNER_MALFORMED) return batch.drop(i, reasons.dropMalformed);
  if (kind !== INNER_TCP) return batch.pass(i, reasons.passTunnelNotOurs);

  const l4 = inner + ipv4.headerLength(view, inner);
  const endpoint = sender(state, view, outer, inner, l4);
  if (endpoint === NOT_OURS) return batch.pass(i, reasons.passTunnelNotOurs);
  if (endpoint === FORGED) return batch.drop(i, reasons.dropTunnelForged);

  const service = state.endpointService[endpoint];
  const flags = tcp.flags(view, l4);
  // Under B only the SYN-ACK, and a RST in its place or after it, travel in the tunnel.
  if (state.serviceMode[service] === SPOOF && !tcp.isSynAck(flags) && (flags & tcp.RST) === 0)
    return batch.drop(i, reasons.dropTunnelInner);

  state.flows.keyV4(
    ipv4.daddr(view, inner),
    tcp.dport(view, l4),
    state.serviceAddress[service],
    state.servicePort[service],
  );
  const flow = state.flows.find();
  batch.service[i] = service;
  batch.candidate[i] = endpoint;
  if (flow < 0) {
    if (!tcp.isSynAck(flags)) return batch.drop(i, reasons.dropTunnelNoFlow);
    emitLateReset(state, batch, inner, l4, endpoint);
    return batch.drop(i, reasons.dropLoserLate);
  }
  const opened = ipip.decapsulate(view, outer);
  if (opened === ipip.ECN_DROP) return batch.drop(i, reasons.dropEcn);
  batch.at[i] = opened;
  batch.opened[i] = 1;
  batch.length[i] = ipv4.totalLength(view, opened);
  batch.l4[i] = l4;
  batch.protocol[i] = ipv4.PROTO_TCP;
  batch.tcpFlags[i] = flags;
  batch.side[i] = SERVER;
  batch.flow[i] = flow;
}

const NOT_OURS = -1;
const FORGED = -2;

/** The registered replica endpoint that this tunnelled packet comes from, or why there is none. */
function sender(state: GatewayState, view: DataView, outer: number, inner: number, l4: number): number {
  const source = ipv4.saddr(view, inner);
  const port = tcp.sport(view, l4);
  const sameClient = ipv4.daddr(view, outer) === ipv4.daddr(view, inner);
  // C: the inner source is the service, the outer one tells which replica.
  const service = state.services.getV4(source, port);
  if (service >= 0) {
    if (state.serviceMode[service] !== TUNNEL || !sameClient) return FORGED;
    const endpoint = state.endpoints.getV4(ipv4.saddr(view, outer), tunnelPort(service));
    return endpoint >= 0 ? endpoint : FORGED;
  }
  // B: the outer source is the service, the inner one tells which replica.
  const endpoint = state.endpoints.getV4(source, port);
  if (endpoint < 0 || state.endpointCandidate[endpoint] === ORIGIN) return NOT_OURS;
  const spoofed = state.endpointService[endpoint];
  if (state.serviceMode[spoofed] !== SPOOF || !sameClient) return FORGED;
  return ipv4.saddr(view, outer) === state.serviceAddress[spoofed] ? endpoint : FORGED;
}
