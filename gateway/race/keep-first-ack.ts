/**
 * Keeps the first acknowledgement of a race, and resets every other acknowledgement at once, for as long as they
 * come. A refusal (RST) is not passed to the client while another candidate may still answer.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [502–516].
 *
 * reads: verdict, side, flow, service, endpoint, tcpFlags. Sets: verdict; the source, to the service's; emits resets.
 */
import type { CandidateNumber, EndpointNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { CLOSING, OPENING, RETRANSMITTED, UNDECIDED, UNTAGGED } from '../../src/flow/states.js';
import { type Batch, forgetFlow, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { snat } from '../../src/pipeline/translate.js';
import { ORIGIN, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { add } from '../../src/wire/sequence.js';
import * as tcp from '../../src/wire/tcp.js';
import { evidence } from './evidence.js';
import { measured } from './lateness.js';
import { clampAnswer } from './path-sizes.js';
import { reasons } from './reasons.js';
import { emitReset } from './reset.js';
import { sendAgain } from './send-syn.js';
import { type GatewayState, RACE_ORIGIN, SERVER } from './state.js';

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
  const machine = machines.endpointMachine[batch.endpoint[i]];
  if (e < 0 && state.near.acknowledged(batch, i, machine, state.isCatchingUp())) {
    emitReset(state, batch, i, batch.at[i], reasons.emitProbeReset);
    return batch.drop(i, reasons.dropProbeAnswer);
  }
  if (e < 0) {
    // Outside a tunnel it may belong to the client's own connection to a replica. If it does not, the client's kernel
    // resets it with the exact sequence number. `crack-ack.ts` refuses a tunnelled one.
    return batch.pass(i, reasons.passNoFlow);
  }
  const racing = flows.state[e] === UNDECIDED;
  // The winner's acknowledgement passes whatever it acknowledges: it may answer a later SYN, which went to the winner
  // alone (`carry.ts`).
  if (!racing && flows.winner[e] === machine) {
    deliver(state, batch, i, e);
    return batch.pass(i, reasons.passWinnerAgain);
  }
  // A SYN with payload is never raced, so an acknowledgement of this race acknowledges ISN + 1.
  if (tcp.ackSeq(batch.view, batch.l4[i]) !== add(flows.isn[e], 1)) {
    emitReset(state, batch, i, batch.at[i], reasons.emitLoserReset);
    return batch.drop(i, reasons.dropAckOutside);
  }
  measure(state, batch, i, e, candidate);
  if (racing) return onFirst(state, batch, i, e, candidate);
  if (!state.races.hasReplied(flows.record[e], candidate))
    state.evidence.add(batch.service[i], candidate, evidence.answered);
  state.races.reset(flows.record[e], candidate);
  emitReset(state, batch, i, batch.at[i], reasons.emitLoserReset);
  batch.drop(i, reasons.dropLoser);
}

/** Every acknowledgement measures a time; in a gateway's own race a round trip, including a loser's. */
function measure(
  state: GatewayState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  candidate: CandidateNumber,
): void {
  if (state.isCatchingUp()) {
    // Without a time of it, a farther machine would look like the nearest.
    if (state.race !== RACE_ORIGIN)
      state.learned.missed(state.learned.entry(batch.service[i], batch.daddr, 4 * i), candidate);
    return;
  }
  const took = state.races.roundTripUs(state.flows.record[e], candidate);
  if (took >= 0) state.evidence.replied(batch.service[i], candidate, took);
  if (state.race === RACE_ORIGIN) return;
  measured(state, e, batch.service[i], batch.daddr, 4 * i, candidate, took);
  const entry = state.learned.entry(batch.service[i], batch.daddr, 4 * i);
  if (state.flows.state[e] === UNDECIDED) state.learned.won(entry, candidate);
}

/**
 * [506–512] Stores the winner's address in the entry. [516] An origin's entry stays too, so that losers are
 * recognized.
 */
function onFirst(
  state: GatewayState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  candidate: CandidateNumber,
): void {
  const { flows } = state;
  const machine = state.machines.endpointMachine[batch.endpoint[i]];
  state.decide(e, batch.service[i], batch.endpoint[i], machine);
  flows.irs[e] = tcp.seq(batch.view, batch.l4[i]);
  // If a replica answers, the path did not drop the tag, even if the answer came late.
  const untagged = candidate === ORIGIN && (flows.marks[e] & UNTAGGED) !== 0;
  state.tagPaths.judge(batch.service[i], untagged, state.nowTick);
  state.races.won(flows.record[e], candidate, machine);
  if (state.pinning?.pins.isLate === false) state.pinning.pin(e, batch.service[i]);
  deliver(state, batch, i, e);
  batch.pass(i, candidate === ORIGIN ? reasons.passWonByOrigin : reasons.passWonByReplica);
}

/** [512, 542, 564] Rewrites the acknowledgement as the service's own. */
function deliver(state: GatewayState, batch: Batch, i: number, e: FlowEntry): void {
  const { flows } = state;
  clampAnswer(
    state,
    batch,
    i,
    batch.service[i],
    flows.winner[e] === ORIGIN_MACHINE ? 0 : flows.target[4 * e + 3],
  );
  if (flows.winner[e] !== ORIGIN_MACHINE) asService(state, batch, i);
}

function onRefusal(state: GatewayState, batch: Batch, i: number): void {
  const { flows, machines } = state;
  const e = batch.flow[i];
  const candidate = machines.endpointCandidate[batch.endpoint[i]];
  if (tcp.ackSeq(batch.view, batch.l4[i]) !== add(flows.isn[e], 1))
    return batch.drop(i, reasons.dropAckOutside);
  if (!refuse(state, e, batch.endpoint[i])) return batch.drop(i, reasons.dropRefusedPending);
  if (candidate !== ORIGIN) asService(state, batch, i);
  state.enter(e, CLOSING);
  batch.pass(i, reasons.passRefused);
}

const client = new Int32Array(4);

/**
 * Notes that a candidate, or its path, refused the SYN of an undecided flow.
 * @returns whether the client is to be told, because no other candidate may still answer
 */
export function refuse(state: GatewayState, e: FlowEntry, endpoint: EndpointNumber): boolean {
  const { flows, machines } = state;
  const service = machines.endpointService[endpoint];
  const candidate = machines.endpointCandidate[endpoint];
  if (candidate >= 0 && ((flows.refused[e] >>> candidate) & 1) === 0)
    state.evidence.add(service, candidate, evidence.refused);
  if (flows.trial[e] === machines.endpointMachine[endpoint]) state.requests.trialLost(e, service);
  // Candidates without a bit in the word are not waited for either (`serviceLive`).
  if (candidate >= 0) flows.refused[e] |= 1 << candidate;
  state.races.refused(flows.record[e], candidate);
  if (state.race !== RACE_ORIGIN) {
    flows.clientOf(e, client);
    state.forget(service, client, 0, candidate);
  }
  const pending = machines.serviceLive[service] & ~flows.refused[e];
  // After a retransmission the origin's refusal is final even if a replica stays silent, so that no client waits for
  // ever.
  return pending === 0 || (candidate === ORIGIN && (flows.marks[e] & RETRANSMITTED) !== 0);
}

/**
 * Takes back the decision of a race whose winner, or its path, refuses the SYN before the client has confirmed the
 * acknowledgement: that was lost. The client's next SYN begins a race anew.
 * @param isn the number of the SYN that was refused. That of a predecessor's SYN is not known: then any is believed
 * @returns whether it was taken back; then the flow is removed, and the client must not be told of the refusal
 */
export function raceAnew(
  state: GatewayState,
  batch: Batch,
  e: FlowEntry,
  service: ServiceNumber,
  isn: number,
): boolean {
  const { flows, machines, pinning } = state;
  if (flows.isn[e] !== 0 && flows.isn[e] !== isn) return false;
  pinning?.pins.refresh(e);
  const machine = flows.winner[e];
  if (flows.state[e] !== OPENING || machine < 0 || machines.serviceRaced[service] === 0) return false;
  const candidate = machines.candidateOf(service, machine);
  state.requests.trialLost(e, service);
  if (candidate >= 0) {
    state.evidence.add(service, candidate, evidence.refused);
    if (state.race !== RACE_ORIGIN) {
      flows.clientOf(e, client);
      state.forget(service, client, 0, candidate);
    }
  }
  pinning?.pins.release(e);
  forgetFlow(batch, e);
  flows.remove(e);
  return true;
}

/** Each machine of a race may have an old connection. */
const MOST_AGAIN = 32;

/**
 * An acknowledgement with another number before there is a winner: the challenge ACK of an old connection (RFC 5961).
 * The gateway answers a replica's for the client, with the exact reset; the client itself answers the origin's.
 */
function onStray(state: GatewayState, batch: Batch, i: number): void {
  const endpoint = batch.endpoint[i];
  if (state.machines.endpointCandidate[endpoint] === ORIGIN) return batch.pass(i, reasons.passRacing);
  emitReset(state, batch, i, batch.at[i], reasons.emitLoserReset);
  // The reset clears the old connection. In a gateway's own race the SYN is sent again at once after it; who forges such
  // acknowledgements does not get two packets for each.
  const e = batch.flow[i];
  if (state.race !== RACE_ORIGIN && state.flows.again[e] < MOST_AGAIN) {
    state.flows.again[e]++;
    sendAgain(state, batch, i, e, endpoint);
  }
  batch.drop(i, reasons.dropAckOutside);
}

/** Rewrites the source of a replica's packet to the service's. In configuration C it is the service's already. */
export function asService(state: GatewayState, batch: Batch, i: number): void {
  const service = batch.service[i];
  const { serviceWords, servicePort } = state.machines;
  snat(batch, i, serviceWords, 4 * service, servicePort[service]);
}
