/**
 * Decapsulates the acknowledgement that a replica tunnelled: in configuration B `[S→C][R→C]`, in C `[R→C][S→C]`. Only
 * for a flow that is being raced or carried, only from a registered replica of its service, only one deep. All other
 * packets stay encapsulated.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [535, 554].
 *
 * reads: verdict, protocol, the outer addresses. Sets: all columns that `validate` sets, to the inner packet's;
 * service, endpoint, side, flow; verdict.
 */
import { type EndpointNumber, NO_ENDPOINT } from '../../src/flow/numbers.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  INNER_MALFORMED,
  INNER_WHOLE,
  innerAt,
  isTunnel,
  lookInside,
  outOfTunnel,
} from '../../src/pipeline/tunnel.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { TUNNELLED } from '../../src/wire/path-probe.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import { emitLateReset } from './reset.js';
import { type GatewayState, SERVER, SPOOF, TUNNEL } from './state.js';

/** The outer source and destination of the packet in hand, four words each. */
const outer = new Int32Array(8);

export function crackAck(state: GatewayState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && isTunnel(batch, i)) crack(state, batch, i);
  };
}

function crack(state: GatewayState, batch: Batch, i: number): void {
  const { flows, machines } = state;
  for (let w = 0; w < 4; w++) {
    outer[w] = batch.saddr[4 * i + w];
    outer[4 + w] = batch.daddr[4 * i + w];
  }
  const kind = lookInside(batch, i, ipv4.PROTO_TCP);
  if (kind === INNER_MALFORMED) return batch.drop(i, reasons.dropMalformed);
  if (kind !== INNER_WHOLE) {
    const isUdp = batch.family[i] === 4 && lookInside(batch, i, ipv4.PROTO_UDP) === INNER_WHOLE;
    if (isUdp && state.probes.take(batch, i, TUNNELLED)) return;
    return batch.pass(i, reasons.passTunnelNotOurs);
  }

  const endpoint = sender(state, batch, i);
  if (endpoint === NOT_OURS) return batch.pass(i, reasons.passTunnelNotOurs);
  if (endpoint === FORGED) return batch.drop(i, reasons.dropTunnelForged);

  const service = machines.endpointService[endpoint];
  const flags = batch.tcpFlags[i];
  // In configuration B only the SYN-ACK, and a RST in its place or after it, come in a tunnel.
  if (machines.serviceMode[service] === SPOOF && !tcp.isSynAck(flags) && (flags & tcp.RST) === 0)
    return batch.drop(i, reasons.dropTunnelInner);

  flows.keyForService(batch, i, false, machines.serviceWords, service, machines.servicePort[service]);
  const flow = flows.find();
  batch.service[i] = service;
  batch.endpoint[i] = endpoint;
  if (flow < 0) {
    if (!tcp.isSynAck(flags)) return batch.drop(i, reasons.dropTunnelNoFlow);
    emitLateReset(state, batch, i, innerAt(batch, i));
    return batch.drop(i, reasons.dropLoserLate);
  }
  if (!outOfTunnel(batch, i)) return;
  batch.side[i] = SERVER;
  batch.flow[i] = flow;
}

const NOT_OURS = NO_ENDPOINT;
const FORGED = -2 as EndpointNumber;

/**
 * The endpoint of the registered replica that sent tunnelled packet `i`, whose inner header is in the columns; or the
 * reason why there is none.
 */
function sender({ machines }: GatewayState, batch: Batch, i: number): EndpointNumber {
  const sameClient = areEqual(outer, 4, batch.daddr, 4 * i);
  // C: the inner source is the service, and the outer source tells the replica.
  const service = machines.services.ofSource(batch, i);
  if (service >= 0) {
    if (machines.serviceMode[service] !== TUNNEL || !sameClient) return FORGED;
    const endpoint = machines.tunnelEnd(outer, 0, service);
    return endpoint >= 0 ? endpoint : FORGED;
  }
  // B: the outer source is the service, and the inner source tells the replica.
  const endpoint = machines.endpointFrom(batch, i);
  if (endpoint < 0 || machines.endpointCandidate[endpoint] === ORIGIN) return NOT_OURS;
  const spoofed = machines.endpointService[endpoint];
  if (machines.serviceMode[spoofed] !== SPOOF || !sameClient) return FORGED;
  return areEqual(outer, 0, machines.serviceWords, 4 * spoofed) ? endpoint : FORGED;
}

function areEqual(a: Int32Array, i: number, b: Int32Array, j: number): boolean {
  return a[i + 3] === b[j + 3] && a[i + 2] === b[j + 2] && a[i + 1] === b[j + 1] && a[i] === b[j];
}
