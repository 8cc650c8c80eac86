/**
 * Carries every other packet of a raced flow: to and from the winner, in the form of the configuration; to and from
 * the origin unchanged.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [602–658].
 *
 * reads: verdict, flow, side, service, endpoint, tcpFlags. Sets: verdict; addresses and ports, or an outer header.
 */
import { ANSWERED, advance, isClosing, REQUESTED, UNDECIDED } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { dnat } from '../../src/pipeline/translate.js';
import { intoTunnel, intoTunnel6 } from '../../src/pipeline/tunnel.js';
import { ORIGIN, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { add } from '../../src/wire/sequence.js';
import * as tcp from '../../src/wire/tcp.js';
import { asService, raceAnew } from './keep-first-ack.js';
import { clampSyn, refuseTooLarge } from './path-sizes.js';
import { reasons } from './reasons.js';
import { CLIENT, type GatewayState, SERVER, SPOOF, TUNNEL } from './state.js';

export function carry(state: GatewayState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN) continue;
      if (batch.flow[i] < 0) {
        batch.pass(i, reasons.passNoFlow);
        continue;
      }
      state.flows.bytes[batch.flow[i]] += batch.length[i];
      if (state.pinning?.pins.isLate === true) state.pinning.pinLate(batch.flow[i], batch.service[i]);
      if (batch.side[i] === CLIENT) fromClient(state, batch, i);
      else if (batch.side[i] === SERVER) fromServer(state, batch, i);
    }
  };
}

function fromClient(state: GatewayState, batch: Batch, i: number): void {
  const { flows, machines } = state;
  const e = batch.flow[i];
  if (flows.state[e] === UNDECIDED) {
    if ((batch.tcpFlags[i] & tcp.RST) !== 0 && flows.cleared[e] === 0) flows.cleared[e] = 1;
    return batch.pass(i, reasons.passRacing);
  }
  // All candidates refused the connection: no machine carries it.
  if (flows.winner[e] < 0) return batch.pass(i, reasons.passNoFlow);
  // The winner answers a SYN on a decided flow; the SYN changes nothing here.
  const syn = tcp.isSyn(batch.tcpFlags[i]);
  if (!syn) advance(flows, e, batch.tcpFlags[i], true, state.nowTick, state.idle);
  if ((flows.marks[e] & REQUESTED) === 0) {
    if (carriesData(batch, i)) state.requests.begin(e, state.nowTick);
  } else if ((flows.marks[e] & ANSWERED) === 0 && acknowledgesData(state, batch, i))
    state.requests.answered(e);
  if (isClosing(flows.state[e])) state.requests.ended(e);
  if (flows.winner[e] === ORIGIN_MACHINE) return batch.pass(i, reasons.passToOrigin);
  const target = flows.target[e * 4 + 3];
  if (state.paths.size > 0 && refuseTooLarge(state, batch, i, target)) return;
  if (machines.serviceMode[batch.service[i]] !== TUNNEL) {
    dnat(batch, i, flows.target, 4 * e, flows.targetPort[e]);
    return batch.pass(i, reasons.passToReplica);
  }
  if (syn) clampSyn(state, batch, i, batch.service[i], target);
  // [656] The outer source is the client.
  if (batch.family[i] === 6) intoTunnel6(batch, i, batch.saddr, 4 * i, flows.target, 4 * e);
  else intoTunnel(batch, i, state.tunnelIds, batch.saddrV4(i), target);
  batch.pass(i, reasons.passToReplica);
}

/** Whether the packet comes from where the flow's packets go: its machine may have another id by now. */
function isTarget({ flows, machines }: GatewayState, batch: Batch, i: number): boolean {
  const [e, endpoint] = [batch.flow[i], batch.endpoint[i]];
  for (let w = 0; w < 4; w++)
    if (machines.endpointWords[4 * endpoint + w] !== flows.target[4 * e + w]) return false;
  return machines.endpointPort[endpoint] === flows.targetPort[e];
}

function fromServer(state: GatewayState, batch: Batch, i: number): void {
  const { flows, machines } = state;
  const e = batch.flow[i];
  const candidate = machines.endpointCandidate[batch.endpoint[i]];
  const winner = flows.winner[e];
  // In configuration B the winner's own packets look like the origin's. A RST outside a tunnel is never the winner's.
  const spoofed =
    machines.serviceMode[batch.service[i]] === SPOOF &&
    candidate === ORIGIN &&
    winner !== ORIGIN_MACHINE &&
    (batch.tcpFlags[i] & tcp.RST) === 0;
  if (machines.endpointMachine[batch.endpoint[i]] !== winner && !spoofed && !isTarget(state, batch, i))
    return batch.drop(i, reasons.dropNotWinner);
  if ((batch.tcpFlags[i] & tcp.RST) !== 0) {
    const refused = add(tcp.ackSeq(batch.view, batch.l4[i]), -1);
    if (answersSyn(batch, i) && raceAnew(state, batch, e, batch.service[i], refused))
      return batch.drop(i, reasons.dropRefusedPending);
    state.requests.resetByServer(e);
  }
  advance(flows, e, batch.tcpFlags[i], false, state.nowTick, state.idle);
  if ((flows.marks[e] & ANSWERED) === 0) {
    if (carriesData(batch, i)) state.requests.answered(e);
    else if (isClosing(flows.state[e])) state.requests.ended(e);
  }
  if (candidate === ORIGIN && !spoofed) return batch.pass(i, reasons.passFromOrigin);
  if (!spoofed) asService(state, batch, i);
  batch.pass(i, reasons.passFromReplica);
}

/** Whether a RST answers a SYN, as that of a host without a connection and a listener does (RFC 9293, 3.10.7.1). */
const answersSyn = ({ view, l4 }: Batch, i: number): boolean => tcp.seq(view, l4[i]) === 0;

/**
 * Whether the client acknowledges data of its server, which itself does not pass here: in configuration B without the
 * fast path, and from the origin. The number after the SYN-ACK's may be the server's FIN, so one byte is no proof.
 */
function acknowledgesData({ flows }: GatewayState, batch: Batch, i: number): boolean {
  const irs = flows.irs[batch.flow[i]];
  if (irs === 0 || (batch.tcpFlags[i] & tcp.ACK) === 0) return false;
  return ((tcp.ackSeq(batch.view, batch.l4[i]) - irs) | 0) > 2;
}

function carriesData(batch: Batch, i: number): boolean {
  return batch.at[i] + batch.length[i] > batch.l4[i] + tcp.dataOffset(batch.view, batch.l4[i]);
}
