/**
 * Relays ICMP errors about the packets that the local server sends as the service to the server's own kernel, as if
 * they had been sent without a tunnel (RFC 2003, section 4):
 *
 *   to R, about the tunnel      `router→R` quotes `[R→C][S→C]`        becomes `router→S` quoting `[S→C]`
 *   in a tunnel to R            `[C→R]`, or from the origin `[O→R]`,  the message inside is delivered
 *                               around `router→S` quoting `[S→C]`
 *
 * Only errors about a flow of the table are delivered. The server's kernel checks the quoted sequence number, as it
 * does for every connection (RFC 5927, section 4.1).
 *
 * reads: verdict, protocol, the addresses. Sets: verdict; the packet.
 */
import type { FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { NO_FLOW } from '../../src/flow/numbers.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  isWholeMessage,
  outOfQuotedTunnel,
  Quotation,
  setMessageDestination,
  sumMessage,
} from '../../src/pipeline/quotation.js';
import { outOfTunnel } from '../../src/pipeline/tunnel.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { reasons } from './reasons.js';
import { type ReplicaFlows, TRANSLATE, TUNNEL } from './state.js';

const quoted = new Quotation();

export function relayErrors(state: ReplicaFlows): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.family[i] === 4 && batch.protocol[i] === ipv4.PROTO_ICMP)
        aboutTunnel(state, batch, i);
  };
}

function aboutTunnel(state: ReplicaFlows, batch: Batch, i: number): void {
  const q = quoted;
  if (!q.read(batch, i)) return batch.pass(i, reasons.passNotTcp);
  if (q.protocol !== ipv4.PROTO_IPIP || q.saddr !== state.address || !q.open(batch.view))
    return batch.pass(i, reasons.passIcmp);
  const e = flowOf(state, q);
  if (e < 0 || state.serviceMode[serviceOf(state, q)] !== TUNNEL) return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  if (!outOfQuotedTunnel(batch, i, q)) return batch.drop(i, reasons.dropIcmpOuter);
  setMessageDestination(batch, i, q.saddr);
  sumMessage(batch, i);
  batch.pass(i, reasons.passIcmpRelayed);
}

/**
 * Takes an ICMP error out of its tunnel, for the local server. Requires `lookInside` to have found a whole ICMP
 * message in packet `i`.
 */
export function deliverError(state: ReplicaFlows, batch: Batch, i: number): void {
  const q = quoted;
  if (!q.read(batch, i) || q.protocol !== ipv4.PROTO_TCP || q.saddr !== batch.daddrV4(i))
    return batch.pass(i, reasons.passTunnelNotOurs);
  const service = serviceOf(state, q);
  if (service < 0 || state.serviceMode[service] === TRANSLATE)
    return batch.pass(i, reasons.passTunnelNotOurs);
  if (flowOf(state, q) < 0) return batch.drop(i, reasons.dropTunnelNoFlow);
  if (!isWholeMessage(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  if (outOfTunnel(batch, i)) batch.pass(i, reasons.passIcmpRelayed);
}

function serviceOf(state: ReplicaFlows, q: Quotation): ServiceNumber {
  return state.services.getV4(q.saddr, q.sport);
}

/** The flow whose server sent the quoted packet, or -1. */
function flowOf(state: ReplicaFlows, q: Quotation): FlowEntry {
  if (q.protocol !== ipv4.PROTO_TCP || serviceOf(state, q) < 0) return NO_FLOW;
  state.flows.keyV4(q.daddr, q.dport, q.saddr, q.sport);
  return state.flows.find();
}
