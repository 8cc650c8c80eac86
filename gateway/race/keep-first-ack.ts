/**
 * Keeps the first acknowledgement of a race and resets every other, at once, for as long as it comes. Refusals (RST) are
 * kept from the client while another candidate may still answer.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [502–516].
 *
 * reads: verdict, side, flow, service, endpoint, tcpFlags. Sets: verdict; the source, to the service's; emits resets.
 */
import type { CandidateNumber, FlowEntry } from '../../src/flow/numbers.js';
import { CLOSING, RETRANSMITTED, UNDECIDED, UNTAGGED } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { snat } from '../../src/pipeline/translate.js';
import { MOST_RACED, ORIGIN } from '../../src/proximity/candidates.js';
import * as mss from '../../src/wire/mss.js';
import { add } from '../../src/wire/sequence.js';
import * as tcp from '../../src/wire/tcp.js';
import * as virtio from '../../src/wire/virtio.js';
import { reasons } from './reasons.js';
import { emitReset } from './reset.js';
import { sendAgain } from './send-syn.js';
import { type GatewayState, RACE_ORIGIN, SERVER, TUNNEL } from './state.js';

export function keepFirstAck(state: GatewayState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN || batch.side[i] !== SERVER) continue;
      const flags = batch.tcpFlags[i];
      if (tcp.isSynAck(flags)) onSynAck(state, batch, i);
      else if (batch.flow[i] >= 0 && state.flows.state[batch.flow[i]] === UNDECIDED) {
        if ((flags & tcp.RST) !== 0) onRefusal(state, batch, i);
        else onStray(state, batch, i);
      }
    }
  };
}

function onSynAck(state: GatewayState, batch: Batch, i: number): void {
  const { flows, machines } = state;
  const e = batch.flow[i];
  const candidate = machines.endpointCandidate[batch.endpoint[i]];
  if (e < 0) {
    // Untunnelled it may as well belong to the client's own connection to a replica; if it does not, the
    // client's kernel refuses it, exactly. A tunnelled one is refused in `crack-ack.ts`.
    return batch.pass(i, reasons.passNoFlow);
  }
  const racing = flows.state[e] === UNDECIDED;
  // The winner's, whatever it acknowledges: it may answer a later SYN, which went to it alone (`carry.ts`).
  if (!racing && flows.winner[e] === candidate) {
    deliver(state, batch, i, e);
    return batch.pass(i, reasons.passWinnerAgain);
  }
  // A SYN with payload is never raced, so ISN + 1 is the only acknowledgement of this race.
  if (tcp.ackSeq(batch.view, batch.l4[i]) !== add(flows.isn[e], 1)) {
    emitReset(state, batch, i, batch.at[i], reasons.emitLoserReset);
    return batch.drop(i, reasons.dropAckOutside);
  }
  measure(state, batch, i, e, candidate);
  if (racing) return onFirst(state, batch, i, e, candidate);
  state.races.reset(flows.record[e], candidate);
  emitReset(state, batch, i, batch.at[i], reasons.emitLoserReset);
  batch.drop(i, reasons.dropLoser);
}

/** In a race of the gateway's own every acknowledgement, a loser's too, measures a round trip. */
function measure(
  state: GatewayState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  candidate: CandidateNumber,
): void {
  if (state.race === RACE_ORIGIN) return;
  const took = state.races.roundTripUs(state.flows.record[e], candidate);
  const entry = state.learned.entry(batch.service[i], batch.daddrV4(i));
  if (took >= 0) state.learned.note(entry, candidate, took);
  if (state.flows.state[e] === UNDECIDED) state.learned.won(entry, candidate);
}

/** [506–512] The winner's address goes into the entry; [516] the origin's entry stays, to know losers by. */
function onFirst(
  state: GatewayState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  candidate: CandidateNumber,
): void {
  const { flows } = state;
  state.decide(e, batch.endpoint[i], candidate);
  // A replica that answers did get a tag, late as it may be.
  const untagged = candidate === ORIGIN && (flows.marks[e] & UNTAGGED) !== 0;
  state.tagPaths.judge(batch.service[i], untagged, state.nowTick);
  state.races.won(flows.record[e], candidate);
  if (state.pinning?.pins.isLate === false) state.pinning.pin(e, batch.service[i]);
  deliver(state, batch, i, e);
  batch.pass(i, candidate === ORIGIN ? reasons.passWonByOrigin : reasons.passWonByReplica);
}

/** [512, 542, 564] Makes it the service's own acknowledgement. */
function deliver(state: GatewayState, batch: Batch, i: number, e: FlowEntry): void {
  const { view } = batch;
  if (state.machines.serviceMode[batch.service[i]] === TUNNEL)
    mss.clamp(view, batch.l4[i], state.tunnelMss, virtio.needsCsum(view, batch.at[i]));
  if (state.flows.winner[e] !== ORIGIN) asService(state, batch, i);
}

function onRefusal(state: GatewayState, batch: Batch, i: number): void {
  const { flows, machines } = state;
  const e = batch.flow[i];
  const candidate = machines.endpointCandidate[batch.endpoint[i]];
  if (tcp.ackSeq(batch.view, batch.l4[i]) !== add(flows.isn[e], 1))
    return batch.drop(i, reasons.dropAckOutside);
  // Candidates that a word of bits does not tell apart are not waited for either (`serviceLive`).
  if (candidate < MOST_RACED) flows.refused[e] |= 1 << candidate;
  state.races.refused(flows.record[e], candidate);
  if (state.race !== RACE_ORIGIN) {
    const client = batch.daddrV4(i);
    state.forget(batch.service[i], client, candidate);
  }
  const pending = machines.serviceLive[batch.service[i]] & ~flows.refused[e];
  // The origin's word counts on a retransmission even if a replica stays silent: no client waits for ever.
  const decided = pending === 0 || (candidate === ORIGIN && (flows.marks[e] & RETRANSMITTED) !== 0);
  if (!decided) return batch.drop(i, reasons.dropRefusedPending);
  if (candidate !== ORIGIN) asService(state, batch, i);
  state.enter(e, CLOSING);
  batch.pass(i, reasons.passRefused);
}

/**
 * Something else before there is a winner: an old connection's challenge ACK (RFC 5961). A replica's is
 * answered for the client, exactly; the origin's the client answers itself.
 */
function onStray(state: GatewayState, batch: Batch, i: number): void {
  const endpoint = batch.endpoint[i];
  if (state.machines.endpointCandidate[endpoint] === ORIGIN) return batch.pass(i, reasons.passRacing);
  emitReset(state, batch, i, batch.at[i], reasons.emitLoserReset);
  // The reset clears the old connection; in a race of the gateway's own the SYN follows it at once.
  if (state.race !== RACE_ORIGIN) sendAgain(state, batch, i, batch.flow[i], endpoint);
  batch.drop(i, reasons.dropAckOutside);
}

/** Gives a replica's packet the service's address and port. Under C it has them already. */
export function asService(state: GatewayState, batch: Batch, i: number): void {
  const service = batch.service[i];
  snat(batch, i, state.machines.serviceV4(service), state.machines.servicePort[service]);
}
