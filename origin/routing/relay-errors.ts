/**
 * Relays ICMP errors (RFC 5508), each in the terms of who must know it:
 *
 *   about a tunnel of this router    quoted as the packet inside, less the tunnel's bytes (RFC 2003), to its client
 *   about a server's packet          `[S→C]`, addressed to the virtual host: in a tunnel to where the flow goes
 *
 * An error tells enough by itself, so it is relayed at whichever router it arrives, known flow or not.
 *
 * reads: verdict, protocol, the addresses. Sets: verdict; the packet.
 */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  isWholeMessage,
  outOfQuotedTunnel,
  Quotation,
  setMessageDestination,
} from '../../src/pipeline/quotation.js';
import * as ip from '../../src/wire/ip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { NONE } from './flows.js';
import { tunnelTo } from './into-tunnel.js';
import { reasons } from './reasons.js';
import type { SlrState } from './state.js';

export function relayErrors(state: SlrState): Stage {
  const quoted = new Quotation();
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.family[i] === 4 && batch.protocol[i] === ipv4.PROTO_ICMP)
        relay(state, batch, i, quoted);
  };
}

function relay(state: SlrState, batch: Batch, i: number, q: Quotation): void {
  if (!q.read(batch, i)) {
    // Nothing but errors comes in a tunnel.
    if (batch.side[i] !== 0) return batch.drop(i, reasons.dropTunnelInner);
    return batch.pass(i, reasons.passUnmatched);
  }
  if (q.protocol === ipv4.PROTO_IPIP) return aboutTunnel(state, batch, i, q);
  if (q.saddr !== batch.daddrV4(i) || state.hosts.at(q.saddr, q.sport, q.protocol) < 0)
    return batch.pass(i, reasons.passUnmatched);
  aboutServer(state, batch, i, q);
}

function aboutTunnel(state: SlrState, batch: Batch, i: number, q: Quotation): void {
  const target = q.daddr;
  if (q.saddr !== batch.daddrV4(i)) return batch.pass(i, reasons.passUnmatched);
  if (!isWholeMessage(batch, i)) return batch.drop(i, reasons.dropErrorChecksum);
  state.paths.learn(target, batch.view, batch.l4[i], state.nowTick);
  // What it tells of the path is told to the next packet that is too large.
  if (!q.open(batch.view)) return batch.drop(i, reasons.dropErrorShort);
  if (state.hosts.at(q.daddr, q.dport, q.protocol) < 0) return batch.drop(i, reasons.dropErrorShort);
  const client = q.saddr;
  if (!outOfQuotedTunnel(batch, i, q)) return batch.drop(i, reasons.dropErrorOuter);
  setMessageDestination(batch, i, client);
  batch.pass(i, reasons.passErrorRelayed);
}

function aboutServer(state: SlrState, batch: Batch, i: number, q: Quotation): void {
  const { flows } = state;
  flows.keyV4(q.daddr, q.dport, q.saddr, q.sport, q.protocol);
  const e = flows.find();
  toServer(state, batch, i, e);
}

/**
 * Sends an error about a server's packet to where its flow goes, whose key the flow table has.
 * @param e its entry, or -1
 */
export function toServer(state: SlrState, batch: Batch, i: number, e: FlowEntry): void {
  const { flows } = state;
  const isPlaced = e >= 0 && (flows.member[e] !== NONE || flows.isShort[e] === 1);
  const isV4 = batch.family[i] === 4;
  const bySlot = isPlaced ? undefined : state.addressOf(state.hosts.memberOf(flows.key), isV4);
  if (!isPlaced && bySlot === undefined) return batch.drop(i, reasons.dropNoMember);
  if (!ip.hop(batch.view, batch.at[i])) return batch.drop(i, reasons.dropExpired);
  if (bySlot === undefined) tunnelTo(state, batch, i, flows.target, 4 * e);
  else tunnelTo(state, batch, i, bySlot, 0);
  batch.pass(i, reasons.passErrorRelayed);
}
