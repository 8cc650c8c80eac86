/**
 * Relays ICMPv6 errors (RFC 4443), as `relay-errors.ts` does those of ICMP. Over IPv6 no router fragments, so "packet too big" is
 * what transfers depend on; every error quotes enough to be told to whom it concerns, so no path's MTU is remembered here.
 *
 *   about a tunnel of this router    quoted as the packet inside, less the tunnel's bytes (RFC 2473, 8), to its client
 *   about a server's packet          `[S→C]`, addressed to the virtual host: in a tunnel to where the flow goes
 *
 * reads: verdict, protocol, the addresses. Sets: verdict; the packet.
 */
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
import * as icmpv6 from '../../src/wire/icmpv6.js';
import { reasons } from './reasons.js';
import { toServer } from './relay-errors.js';
import type { SlrState } from './state.js';

export function relayErrors6(state: SlrState): Stage {
  const quoted = new Quotation6();
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.family[i] === 6 && batch.protocol[i] === icmpv6.PROTO)
        relay(state, batch, i, quoted);
  };
}

function relay(state: SlrState, batch: Batch, i: number, q: Quotation6): void {
  const kind = q.read(batch, i, true);
  if (kind === OTHER) {
    // Nothing but errors comes in a tunnel.
    if (batch.side[i] !== 0) return batch.drop(i, reasons.dropTunnelInner);
    return batch.pass(i, reasons.passUnmatched);
  }
  // An error goes to the sender of what it quotes.
  for (let w = 0; w < 4; w++)
    if (q.outer[w] !== batch.daddr[4 * i + w]) return batch.pass(i, reasons.passUnmatched);
  if (kind === IN_TUNNEL) return aboutTunnel(state, batch, i, q);
  if (state.hosts.ofWords(q.addresses, SOURCE, q.sport, q.protocol) < 0)
    return batch.pass(i, reasons.passUnmatched);
  aboutServer(state, batch, i, q);
}

function aboutTunnel(state: SlrState, batch: Batch, i: number, q: Quotation6): void {
  if (state.hosts.ofWords(q.addresses, DESTINATION, q.dport, q.protocol) < 0)
    return batch.pass(i, reasons.passUnmatched);
  if (!isWholeMessage6(batch, i)) return batch.drop(i, reasons.dropErrorChecksum);
  if (!q.outOfTunnel(batch, i)) return batch.drop(i, reasons.dropErrorOuter);
  setMessageDestination6(batch, i, q.addresses, SOURCE);
  sumMessage6(batch, i);
  batch.pass(i, reasons.passErrorRelayed);
}

function aboutServer(state: SlrState, batch: Batch, i: number, q: Quotation6): void {
  const { flows } = state;
  for (let w = 0; w < 4; w++) {
    flows.key[w] = q.addresses[DESTINATION + w];
    flows.key[4 + w] = q.addresses[SOURCE + w];
  }
  flows.setPorts(q.dport, q.sport, q.protocol);
  toServer(state, batch, i, flows.find());
}
