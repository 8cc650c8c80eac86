/**
 * Takes back what a member gives back: a packet in the middle of a connection that the member does not know. Where this
 * router had only guessed, the next member is tried, and the packet goes there; when all have given it back, the router above
 * gets it back in turn, and the client a reset where there is none. So a connection whose state all routers
 * lost is found again, one member after another, while its client waits a moment.
 *
 * reads: verdict, side, endpoint, flow, service, protocol. Sets: flow; verdict; the packet.
 */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { advance, ESTABLISHED, SERVER_FIN } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { intoTunnel, intoTunnel6 } from '../../src/pipeline/tunnel.js';
import { fold, sum } from '../../src/wire/checksum.js';
import * as ip from '../../src/wire/ip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import * as tcp from '../../src/wire/tcp.js';
import { tunnelTo } from './into-tunnel.js';
import { reasons } from './reasons.js';
import type { MemberNumber } from './snapshot.js';
import { RETURNED, type SlrState } from './state.js';

const TTL = 64;

export function takeBack(state: SlrState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN || batch.side[i] !== RETURNED) continue;
      // Only packets of TCP are given back.
      if (batch.service[i] < 0 || batch.protocol[i] !== ipv4.PROTO_TCP)
        batch.drop(i, reasons.dropTunnelInner);
      else take(state, batch, i);
    }
  };
}

function take(state: SlrState, batch: Batch, i: number): void {
  const { flows } = state;
  flows.keyOf(batch, i);
  let e = flows.find();
  if (e < 0) e = begin(state, batch, i);
  // Where its server is was not looked for: its client sends it again, and is told nothing.
  if (e < 0) return batch.drop(i, reasons.dropSearchBound);
  if (flows.isGuess[e] === 0 && flows.isShort[e] === 0) return refuse(state, batch, i);
  if (flows.isShort[e] === 1 && !mayHaveTried(state, e, memberOf(batch, i)))
    return sendAgain(state, batch, i, e);
  if (state.searches < 1) return batch.drop(i, reasons.dropSearchBound);
  state.searches--;
  // Routers beside may know it.
  if (flows.tries[e] === 0) state.neighbours.ask(batch, state.address, e);
  state.pins?.release(e);
  flows.isGuess[e] = 1;
  flows.toldAt[e] = state.nowTick;
  // A second packet of the flow may have gone to the same member meanwhile: then another one is tried already.
  const isCurrent = flows.isShort[e] === 1 || flows.member[e] === memberOf(batch, i);
  if (flows.isShort[e] === 1) flows.member[e] = memberOf(batch, i);
  if (isCurrent) flows.tries[e]++;
  if (flows.tries[e] < state.memberNumbers.length) {
    if (isCurrent) state.assign(e, next(state, e));
    tunnelTo(state, batch, i, flows.target, 4 * e);
    return batch.pass(i, reasons.passTriedNext);
  }
  if (!giveBack(state, batch, i, Math.max(0, flows.upper[e] - 1))) return refuse(state, batch, i);
  batch.pass(i, reasons.passGivenBack);
}

/** Sends a packet back to the router above at this place. @returns false where there is none, or none that it reaches */
function giveBack(state: SlrState, batch: Batch, i: number, place: number): boolean {
  const upper = state.uppers[place];
  if (upper === undefined || upper.address === 0) return false;
  if (batch.family[i] === 4) intoTunnel(batch, i, state.tunnelIds, state.address, upper.address);
  else if (upper.address6 === undefined) return false;
  else intoTunnel6(batch, i, state.address6, 0, upper.address6, 0);
  return true;
}

const memberOf = (batch: Batch, i: number): MemberNumber => batch.endpoint[i] as number as MemberNumber;

/** Whether a flow's target is a member, or is below it. */
const mayHaveTried = ({ members, flows }: SlrState, e: FlowEntry, member: MemberNumber): boolean =>
  (members.get(member)?.targets.find(flows.target, 4 * e) ?? -1) >= 0;

/**
 * The kernel has sent the packet by its slot, before this router could look: its flow goes elsewhere. It counts as a hop, so that
 * no packet goes round for ever.
 */
function sendAgain(state: SlrState, batch: Batch, i: number, e: FlowEntry): void {
  if (!ip.hop(batch.view, batch.at[i])) return batch.drop(i, reasons.dropExpired);
  tunnelTo(state, batch, i, state.flows.target, 4 * e);
  batch.pass(i, reasons.passRouted);
}

/** A flow that this router does not know either. */
function begin(state: SlrState, batch: Batch, i: number): FlowEntry {
  const { flows } = state;
  const e = state.take(batch);
  if (e < 0) return e;
  flows.state[e] = ESTABLISHED;
  flows.marks[e] = SERVER_FIN;
  flows.isGuess[e] = 1;
  state.assign(e, memberOf(batch, i));
  advance(flows, e, batch.tcpFlags[i], true, state.nowTick, state.idle);
  return e;
}

/** The member after the flow's that its tunnels reach, in the order of their numbers, whether it may get new connections or not. */
function next(state: SlrState, e: FlowEntry): MemberNumber {
  const { flows, memberNumbers } = state;
  const at = memberNumbers.indexOf(flows.member[e]);
  for (let k = 1; k < memberNumbers.length; k++) {
    const member = memberNumbers[(at + k) % memberNumbers.length];
    if (state.addressOf(member, flows.isV4(e)) !== undefined) return member;
  }
  return flows.member[e];
}

/** No server, or not the one that was chosen here, knows the connection: its client is told, as a server would. */
function refuse(state: SlrState, batch: Batch, i: number): void {
  const { view } = batch;
  const l4 = batch.l4[i];
  if ((batch.tcpFlags[i] & tcp.ACK) !== 0 && state.resets > 0) {
    state.resets--;
    const header = batch.family[i] === 4 ? ipv4.MIN_HEADER : ipv6.HEADER;
    const at = batch.at[batch.emit(header + tcp.MIN_HEADER, reasons.emitReset)];
    writeReturn(batch, i, at, header + tcp.MIN_HEADER);
    const t = at + header;
    tcp.write(view, t, batch.dport[i], batch.sport[i], tcp.ackSeq(view, l4), 0, tcp.RST);
    const pseudo = ip.pseudoHeader(view, at, ipv4.PROTO_TCP, tcp.MIN_HEADER);
    tcp.setCheck(view, t, ~fold(sum(view, t, tcp.MIN_HEADER, pseudo)) & 0xffff);
  }
  batch.drop(i, reasons.dropNoMemberHas);
}

const ends = new Int32Array(8);

/** Writes the IP header of a packet of TCP from the virtual host to the client of packet `i`. */
function writeReturn(batch: Batch, i: number, at: number, total: number): void {
  const { view } = batch;
  if (batch.family[i] === 4)
    return ipv4.write(view, at, 0, total, 0, true, TTL, ipv4.PROTO_TCP, batch.daddrV4(i), batch.saddrV4(i));
  for (let w = 0; w < 4; w++) {
    ends[w] = batch.daddr[4 * i + w];
    ends[4 + w] = batch.saddr[4 * i + w];
  }
  ipv6.write(view, at, 0, total, TTL, ipv4.PROTO_TCP, ends, 0, 4);
}
