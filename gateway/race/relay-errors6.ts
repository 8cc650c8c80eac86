/**
 * Relays ICMPv6 errors about the packets of flows (RFC 4443), as `relay-errors.ts` does those of ICMP. Over IPv6 no
 * router fragments, so "packet too big" is what transfers depend on.
 *
 *   about a client's packet    `[C→R]` on the WAN    quoted as `[C→S]`, to the client
 *   about a server's packet    `[S→C]` on the LAN    quoted as `[R→C]`, to the machine that carries the flow
 *
 * reads: verdict, family, protocol, the addresses. Sets: verdict; the packet.
 */
import type { CandidateNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { CLOSING, UNDECIDED } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import * as icmpv6 from '../../src/wire/icmpv6.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import * as tcp from '../../src/wire/tcp.js';
import { refuse } from './keep-first-ack.js';
import { reasons } from './reasons.js';
import type { GatewayState } from './state.js';

/** Bytes of a quoted TCP header up to its ports and sequence number, and up to its checksum. */
const QUOTED = 8;
const UP_TO_CHECKSUM = 18;

/** What message `i` quotes: addresses as words, source first; ports; places. Overwritten by each {@link read}. */
const quoted = { addresses: new Int32Array(8), sport: 0, dport: 0, at: 0, l4: 0, end: 0 };

/** @returns whether the message quotes a TCP packet, without extension headers, as far as its sequence number */
function read(batch: Batch, i: number): boolean {
  const { view } = batch;
  const end = batch.at[i] + batch.length[i];
  const at = batch.l4[i] + icmpv6.HEADER;
  const l4 = at + ipv6.HEADER;
  if (!icmpv6.isError(view, batch.l4[i], end - batch.l4[i]) || end < l4 + QUOTED) return false;
  if (view.getUint8(at) >>> 4 !== 6 || ipv6.nextHeader(view, at) !== ipv4.PROTO_TCP) return false;
  for (let w = 0; w < 8; w++) quoted.addresses[w] = view.getInt32(at + ipv6.SADDR + 4 * w);
  quoted.sport = tcp.sport(view, l4);
  quoted.dport = tcp.dport(view, l4);
  quoted.at = at;
  quoted.l4 = l4;
  quoted.end = end;
  return true;
}

export function relayErrors6(state: GatewayState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.family[i] === 6 && batch.protocol[i] === icmpv6.PROTO)
        relay(state, batch, i);
  };
}

function relay(state: GatewayState, batch: Batch, i: number): void {
  const { machines } = state;
  if (!read(batch, i)) return batch.pass(i, reasons.passNotTcp);
  // An error goes to the sender of what it quotes.
  for (let w = 0; w < 4; w++)
    if (quoted.addresses[w] !== batch.daddr[4 * i + w]) return batch.pass(i, reasons.passIcmp);
  const endpoint = machines.endpoints.ofWords(quoted.addresses, 4, quoted.dport);
  if (endpoint >= 0) {
    const candidate = machines.endpointCandidate[endpoint];
    return aboutClient(state, batch, i, machines.endpointService[endpoint], candidate);
  }
  const service = machines.services.ofWords(quoted.addresses, 0, quoted.sport);
  if (service >= 0) return aboutServer(state, batch, i, service);
  batch.pass(i, reasons.passIcmp);
}

function aboutClient(
  state: GatewayState,
  batch: Batch,
  i: number,
  service: ServiceNumber,
  candidate: CandidateNumber,
): void {
  const { flows, machines } = state;
  const { view } = batch;
  const e = find(state, 0, quoted.sport, service);
  if (e < 0 || candidate === ORIGIN) return batch.pass(i, reasons.passIcmp);
  if (!isSound(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  if (flows.state[e] === UNDECIDED) {
    const isOurs = tcp.seq(view, quoted.l4) === flows.isn[e];
    if (!isOurs || !refuse(state, e, service, candidate)) return batch.drop(i, reasons.dropIcmpRacing);
    state.enter(e, CLOSING);
  } else if (flows.winner[e] !== candidate) return batch.drop(i, reasons.dropIcmpLoser);
  rewriteQuoted(batch, ipv6.DADDR, 4, machines.serviceWords, 4 * service);
  setQuotedPort(batch, false, machines.servicePort[service]);
  sumAgain(batch, i);
  batch.pass(i, reasons.passIcmpRelayed);
}

/** About a packet that a server sent to a client: it is the sender's. */
function aboutServer(state: GatewayState, batch: Batch, i: number, service: ServiceNumber): void {
  const { flows } = state;
  const e = find(state, 4, quoted.dport, service);
  if (e < 0 || flows.state[e] === UNDECIDED || flows.winner[e] <= ORIGIN)
    return batch.pass(i, reasons.passIcmp);
  if (!isSound(batch, i)) return batch.drop(i, reasons.dropIcmpChecksum);
  rewriteQuoted(batch, ipv6.SADDR, 0, flows.target, 4 * e);
  setQuotedPort(batch, true, flows.targetPort[e]);
  for (let w = 0; w < 4; w++) {
    batch.daddr[4 * i + w] = flows.target[4 * e + w];
    batch.view.setInt32(batch.at[i] + ipv6.DADDR + 4 * w, flows.target[4 * e + w]);
  }
  sumAgain(batch, i);
  batch.pass(i, reasons.passIcmpRelayed);
}

/** @param client where the client's address begins among the quoted ones */
function find(state: GatewayState, client: number, port: number, service: ServiceNumber): FlowEntry {
  const { flows, machines } = state;
  const { key } = flows;
  for (let w = 0; w < 4; w++) {
    key[w] = quoted.addresses[client + w];
    key[4 + w] = machines.serviceWords[4 * service + w];
  }
  flows.setPorts(port, machines.servicePort[service]);
  return flows.find();
}

const hasChecksum = (): boolean => quoted.end >= quoted.l4 + UP_TO_CHECKSUM;

function rewriteQuoted(batch: Batch, field: number, from: number, words: Int32Array, at: number): void {
  for (let w = 0; w < 4; w++) {
    batch.view.setInt32(quoted.at + field + 4 * w, words[at + w]);
    if (hasChecksum())
      tcp.updateForAddress(batch.view, quoted.l4, quoted.addresses[from + w], words[at + w], false);
  }
}

function setQuotedPort(batch: Batch, isSource: boolean, port: number): void {
  const { view } = batch;
  if (!hasChecksum()) view.setUint16(quoted.l4 + (isSource ? 0 : 2), port);
  else if (isSource) tcp.setSport(view, quoted.l4, port, false);
  else tcp.setDport(view, quoted.l4, port, false);
}

const isSound = (batch: Batch, i: number): boolean =>
  icmpv6.isSound(batch.view, batch.at[i], batch.l4[i], batch.at[i] + batch.length[i] - batch.l4[i]);

const sumAgain = (batch: Batch, i: number): void =>
  icmpv6.setCheck(batch.view, batch.at[i], batch.l4[i], batch.at[i] + batch.length[i] - batch.l4[i]);
