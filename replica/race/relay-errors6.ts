/**
 * Relays ICMPv6 errors about the packets that the local server sends as the service, as `relay-errors.ts` does those of
 * ICMP (RFC 2473, section 8):
 *
 *   to R, about the tunnel    `router→R` quotes `[R→C][S→C]`    becomes `router→S` quoting `[S→C]`
 *   in a tunnel to R          `[C→R]` around `router→S` quoting `[S→C]`    the message inside is delivered
 *
 * reads: verdict, family, protocol, the addresses. Sets: verdict; the packet.
 */
import { NO_FLOW } from '../../src/flow/numbers.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  DESTINATION,
  IN_TUNNEL,
  isWholeMessage6,
  PLAIN,
  Quotation6,
  SOURCE,
  setMessageDestination6,
  sumMessage6,
} from '../../src/pipeline/quotation6.js';
import { outOfTunnel } from '../../src/pipeline/tunnel.js';
import * as icmpv6 from '../../src/wire/icmpv6.js';
import { reasons } from './reasons.js';
import type { ReplicaFlows } from './state.js';

const quoted = new Quotation6();

export function relayErrors6(state: ReplicaFlows): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.family[i] === 6 && batch.protocol[i] === icmpv6.PROTO)
        aboutTunnel(state, batch, i);
  };
}

function aboutTunnel(state: ReplicaFlows, batch: Batch, i: number): void {
  if (quoted.read(batch, i) !== IN_TUNNEL || !isOwn(state) || !isOfFlow(state))
    return batch.pass(i, reasons.passIcmp);
  if (!isWholeMessage6(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  if (!quoted.outOfTunnel(batch, i)) return batch.drop(i, reasons.dropIcmpOuter);
  setMessageDestination6(batch, i, quoted.addresses, SOURCE);
  sumMessage6(batch, i);
  batch.pass(i, reasons.passIcmpRelayed);
}

/**
 * Takes an ICMPv6 error out of its tunnel, for the local server. Requires `lookInside` to have found a whole message in
 * packet `i`.
 */
export function deliverError6(state: ReplicaFlows, batch: Batch, i: number): void {
  // The message ends where the packet ends, with an outer header or without.
  const isAbout = quoted.read(batch, i) === PLAIN;
  for (let w = 0; isAbout && w < 4; w++)
    if (quoted.addresses[w] !== batch.daddr[4 * i + w]) return batch.pass(i, reasons.passTunnelNotOurs);
  if (!isAbout || serviceOf(state) < 0) return batch.pass(i, reasons.passTunnelNotOurs);
  if (!isOfFlow(state)) return batch.drop(i, reasons.dropTunnelNoFlow);
  if (outOfTunnel(batch, i)) batch.pass(i, reasons.passIcmpRelayed);
}

/** Whether the quoted tunnel begins here. */
function isOwn({ address6 }: ReplicaFlows): boolean {
  for (let w = 0; w < 4; w++) if (quoted.outer[w] !== address6[w]) return false;
  return true;
}

const serviceOf = ({ services }: ReplicaFlows): number =>
  services.ofWords(quoted.addresses, SOURCE, quoted.sport);

/** Whether the server of a flow here sent the quoted packet. */
function isOfFlow(state: ReplicaFlows): boolean {
  const service = serviceOf(state);
  if (service < 0) return false;
  const { serviceWords, servicePort, flows } = state;
  return quoted.flowOf(flows, DESTINATION, serviceWords, 4 * service, servicePort[service]) !== NO_FLOW;
}
