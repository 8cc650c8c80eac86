/**
 * Chooses where a flow goes, by its first packet [6100–6600, 7100–7600, 8100–8600]: a member of the next lower level.
 * A packet in the middle of a flow that is not known goes by the same slots, which every router of this level has: most
 * often that is where the flow was.
 * Numbers in brackets: operations of the source "System, method and apparatus for network service load and reliability
 * management".
 *
 * reads: verdict, service, flow, side, protocol, tcpFlags. Sets: flow; verdict.
 */
import { type FlowEntry, NO_FLOW } from '../../src/flow/numbers.js';
import { advance, DATAGRAMS, isClosing, OPENING, SERVER_FIN } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import type { SlrFlows } from './flows.js';
import { reasons } from './reasons.js';
import type { SlrState } from './state.js';

export function choose(state: SlrState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.service[i] >= 0) chooseOne(state, batch, i);
  };
}

function chooseOne(state: SlrState, batch: Batch, i: number): void {
  const { flows } = state;
  const isTcp = batch.protocol[i] === ipv4.PROTO_TCP;
  const isSyn = isTcp && tcp.isSyn(batch.tcpFlags[i]);
  const known = batch.flow[i] >= 0 ? batch.flow[i] : findAgain(flows, batch, i);
  const isn = isTcp ? tcp.seq(batch.view, batch.l4[i]) : 0;
  if (known >= 0 && !(isSyn && mayMove(state, known, isn)))
    return follow(state, batch, i, known, isTcp, isSyn);
  const member = state.hosts.choose(batch, i, batch.service[i]);
  if (state.addressOf(member, batch.family[i] === 4) === undefined)
    return batch.drop(i, reasons.dropNoMember);
  const e = known >= 0 ? restart(state, known) : state.take(batch);
  batch.flow[i] = e;
  if (e === NO_FLOW) return;
  flows.isn[e] = isn;
  flows.state[e] = OPENING;
  // Answers pass another way: the client's FIN alone ends a flow here.
  flows.marks[e] = SERVER_FIN;
  flows.upper[e] = batch.side[i];
  flows.isTold[e] = 0;
  flows.isGuess[e] = isTcp && !isSyn ? 1 : 0;
  flows.toldAt[e] = state.nowTick;
  flows.tries[e] = 0;
  state.assign(e, member);
  flows.expiresAt[e] = state.nowTick + state.idle[OPENING];
  if (isTcp && !isSyn) {
    batch.counters[reasons.guessBySlot]++;
    advance(flows, e, batch.tcpFlags[i], true, state.nowTick, state.idle);
  }
}

/** An earlier packet of this batch may have begun the flow. Leaves its key for {@link SlrState.take}. */
function findAgain(flows: SlrFlows, batch: Batch, i: number): FlowEntry {
  flows.keyOf(batch, i);
  batch.flow[i] = flows.find();
  return batch.flow[i];
}

/**
 * Whether a SYN for a known flow begins another connection, or its member can serve it no more. A SYN alone moves no
 * flow that its client has confirmed here: anybody could send it.
 */
function mayMove(state: SlrState, e: FlowEntry, isn: number): boolean {
  const { flows } = state;
  state.pins?.refresh(e);
  const isAnother = flows.state[e] === OPENING && flows.isn[e] !== isn;
  return isClosing(flows.state[e]) || isAnother || !state.isUsable(flows.member[e]);
}

function restart(state: SlrState, e: FlowEntry): FlowEntry {
  const { flows } = state;
  state.pins?.release(e);
  flows.told[e] = 0;
  return e;
}

function follow(
  state: SlrState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  isTcp: boolean,
  isSyn: boolean,
): void {
  const { flows } = state;
  // The way by which it comes may be another one now.
  flows.upper[e] = batch.side[i];
  flows.isTold[e] = 0;
  if (isSyn) {
    flows.expiresAt[e] = state.nowTick + state.idle[flows.state[e]];
    return;
  }
  if (isTcp) return advance(flows, e, batch.tcpFlags[i], true, state.nowTick, state.idle);
  flows.state[e] = DATAGRAMS;
  flows.expiresAt[e] = state.nowTick + state.idle[DATAGRAMS];
}
