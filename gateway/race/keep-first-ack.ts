/**
 * [502–516] Keeps the first acknowledgement of a race and resets every other, at once, for as long as it
 * comes. Refusals (RST) are kept from the client while another candidate may still answer.
 */
import { CLOSING, RACING, RETRANSMITTED, UNTAGGED } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { snat } from '../../src/pipeline/translate.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import { RECORDED } from '../../src/race/record.js';
import * as ipv4 from '../../src/wire/ipv4.js';
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
      else if (batch.flow[i] >= 0 && state.flows.state[batch.flow[i]] === RACING) {
        if ((flags & tcp.RST) !== 0) onRefusal(state, batch, i);
        else onStray(state, batch, i);
      }
    }
  };
}

function onSynAck(state: GatewayState, batch: Batch, i: number): void {
  const { flows } = state;
  const e = batch.flow[i];
  const endpoint = batch.candidate[i];
  const candidate = state.endpointCandidate[endpoint];
  if (e < 0) {
    // Untunnelled it may as well belong to the client's own connection to a replica; if it does not, the
    // client's kernel refuses it, exactly. A tunnelled one is refused in `crack-ack.ts`.
    return batch.pass(i, reasons.passNoFlow);
  }
  const racing = flows.state[e] === RACING;
  // The winner's, whatever it acknowledges: it may answer a later SYN, which went to it alone (`carry.ts`).
  if (!racing && flows.winner[e] === candidate) {
    deliver(state, batch, i, e);
    return batch.pass(i, reasons.passWinnerAgain);
  }
  // A SYN with payload is never raced, so ISN + 1 is the only acknowledgement of this race.
  if (tcp.ackSeq(batch.view, batch.l4[i]) !== add(flows.isn[e], 1)) {
    emitReset(state, batch, batch.at[i], batch.l4[i], endpoint, reasons.emitLoserReset);
    return batch.drop(i, reasons.dropAckOutside);
  }
  measure(state, batch, i, e, candidate);
  if (racing) return onFirst(state, batch, i, e, candidate);
  state.races.reset(flows.record[e], candidate);
  emitReset(state, batch, batch.at[i], batch.l4[i], endpoint, reasons.emitLoserReset);
  batch.drop(i, reasons.dropLoser);
}

/** In a race of the gateway's own every acknowledgement, a loser's too, measures a round trip. */
function measure(state: GatewayState, batch: Batch, i: number, e: number, candidate: number): void {
  if (state.race === RACE_ORIGIN) return;
  const took = state.races.roundTripUs(state.flows.record[e], candidate);
  const entry = state.learned.entry(batch.service[i], ipv4.daddr(batch.view, batch.at[i]));
  if (took >= 0) state.learned.note(entry, candidate, took);
  if (state.flows.state[e] === RACING) state.learned.won(entry, candidate);
}

/** [506–512] The winner's address goes into the entry; [516] the origin's entry stays, to know losers by. */
function onFirst(state: GatewayState, batch: Batch, i: number, e: number, candidate: number): void {
  const { flows } = state;
  const endpoint = batch.candidate[i];
  state.decide(e, endpoint, candidate);
  // A replica that answers did get a tag, late as it may be.
  state.judgePath(batch.service[i], candidate === ORIGIN && (flows.marks[e] & UNTAGGED) !== 0);
  state.races.won(flows.record[e], candidate);
  if (state.pins?.isLate === false) state.pin(e, batch.service[i]);
  deliver(state, batch, i, e);
  batch.pass(i, candidate === ORIGIN ? reasons.passWonByOrigin : reasons.passWonByReplica);
}

/** [512, 542, 564] Makes it the service's own acknowledgement. */
function deliver(state: GatewayState, batch: Batch, i: number, e: number): void {
  const { view } = batch;
  if (state.serviceMode[batch.service[i]] === TUNNEL)
    mss.clamp(view, batch.l4[i], state.tunnelMss, virtio.needsCsum(view, batch.at[i]));
  if (state.flows.winner[e] !== ORIGIN) asService(state, batch, i);
}

function onRefusal(state: GatewayState, batch: Batch, i: number): void {
  const { flows } = state;
  const e = batch.flow[i];
  const candidate = state.endpointCandidate[batch.candidate[i]];
  if (tcp.ackSeq(batch.view, batch.l4[i]) !== add(flows.isn[e], 1))
    return batch.drop(i, reasons.dropAckOutside);
  // Candidates beyond those that a word of bits tells apart are not waited for either (`serviceLive`).
  if (candidate < RECORDED) flows.refused[e] |= 1 << candidate;
  state.races.refused(flows.record[e], candidate);
  if (state.race !== RACE_ORIGIN) {
    const client = ipv4.daddr(batch.view, batch.at[i]);
    state.forget(batch.service[i], client, candidate);
  }
  const pending = state.serviceLive[batch.service[i]] & ~flows.refused[e];
  // The origin's word counts on a retransmission even if a replica stays silent: nobody waits for ever.
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
  const endpoint = batch.candidate[i];
  if (state.endpointCandidate[endpoint] === ORIGIN) return batch.pass(i, reasons.passRacing);
  emitReset(state, batch, batch.at[i], batch.l4[i], endpoint, reasons.emitLoserReset);
  // The reset clears the old connection; in a race of the gateway's own the SYN follows it at once.
  if (state.race !== RACE_ORIGIN) sendAgain(state, batch, i, batch.flow[i], endpoint);
  batch.drop(i, reasons.dropAckOutside);
}

/** Gives a replica's packet the service's address and port. Under C it has them already. */
export function asService(state: GatewayState, batch: Batch, i: number): void {
  const service = batch.service[i];
  snat(batch, i, state.serviceAddress[service], state.servicePort[service]);
}
