/**
 * Handles a client's SYN: begins an entry in the translation table, tags the SYN and lets it pass to the origin; or,
 * in a gateway's own race, sends it to the candidates (`send-syn.ts`). A SYN that cannot be raced passes to the
 * origin unchanged, and is counted; no SYN is refused here.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [204–214].
 *
 * reads: verdict, side, service, tcpFlags, the tuple. Sets: flow, verdict; emits copies.
 */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { isClosing, RETRANSMITTED, UNDECIDED, UNTAGGED } from '../../src/flow/states.js';
import { type Batch, forgetFlow, moveFlow, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { ALONE, RACED } from '../../src/race/record-layout.js';
import * as options from '../../src/wire/options.js';
import * as tag from '../../src/wire/tag.js';
import * as tcp from '../../src/wire/tcp.js';
import { clampForAll, clampSyn } from './path-sizes.js';
import { putTag } from './put-tag.js';
import { reasons } from './reasons.js';
import { askOthers, choose, chooseOne, chosen, sendSyn } from './send-syn.js';
import { CLIENT, type GatewayState, RACE_ORIGIN, SPOOF, TRANSLATE } from './state.js';

export function tagSyn(state: GatewayState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.side[i] === CLIENT && tcp.isSyn(batch.tcpFlags[i]))
        onSyn(state, batch, i);
  };
}

function onSyn(state: GatewayState, batch: Batch, i: number): void {
  const { flows } = state;
  // Looked up again, because an earlier SYN of this batch may have begun or ended the entry.
  const e = lookUp(state, batch, i);
  batch.flow[i] = e;
  // A flow that the kernel carries may have ended there. A flow that is closing already stays so.
  if (e >= 0 && !isClosing(flows.state[e])) state.pinning?.pins.refresh(e);
  if (e >= 0 && !isClosing(flows.state[e])) {
    const again = flows.isn[e] === tcp.seq(batch.view, batch.l4[i]);
    // Once there is a winner, it answers every SYN of this tuple: `carry.ts`.
    if (flows.state[e] !== UNDECIDED) return;
    // A client that was told of an old connection by a challenge ACK resets it, and repeats its SYN at once (RFC 5961, 4.2):
    // that counts, once.
    if (again && flows.cleared[e] === 1) flows.cleared[e] = 2;
    else if (again && isEarly(state, e)) return batch.drop(i, reasons.dropSynEarly);
    if (again) return onRetransmission(state, batch, i, e);
  }
  // This SYN begins a new connection, so the entry's connection has ended.
  if (e >= 0) {
    state.pinning?.pins.release(e);
    flows.remove(e);
  }
  const refusal = whyNotRaced(state, batch, i);
  if (refusal >= 0 && e >= 0) forgetFlow(batch, e);
  if (refusal >= 0) return batch.pass(i, refusal);
  begin(state, batch, i, e);
}

/**
 * A client repeats its SYN after a second (RFC 6298, 2.1). What comes within 200 ms was copied on the way, or is there to be
 * copied: it is asked for nothing, and is no evidence against a machine.
 */
const EARLY_TICKS = 2;

/** Whether the SYN before, of the same race, came just now. */
function isEarly({ flows, idle, nowTick }: GatewayState, e: FlowEntry): boolean {
  return ((nowTick - flows.expiresAt[e] + idle[UNDECIDED]) | 0) < EARLY_TICKS;
}

function lookUp(state: GatewayState, batch: Batch, i: number): FlowEntry {
  state.flows.keyOf(batch, i);
  return state.flows.find();
}

/** Tags the first retransmission only, because the path may drop unknown options. */
function onRetransmission(state: GatewayState, batch: Batch, i: number, e: FlowEntry): void {
  // If the kernel sent the SYN first, the flow is raced from here on like any other.
  state.pinning?.pins.release(e);
  state.enter(e, UNDECIDED);
  state.races.repeated(state.flows.record[e]);
  if (state.race !== RACE_ORIGIN) {
    state.flows.marks[e] |= RETRANSMITTED;
    const refusal = whyNotRaced(state, batch, i);
    if (refusal >= 0) return batch.pass(i, refusal);
    askOthers(state, batch, i, e);
    makeRoom(state, batch, i);
    // Those that were asked before, and others; all where the record was overwritten.
    const live = state.machines.serviceLive[batch.service[i]];
    const asked = state.races.asking(state.flows.record[e]) & live;
    return sendSyn(state, batch, i, asked === 0 ? live : asked, reasons.passSynAgain);
  }
  if ((state.flows.marks[e] & RETRANSMITTED) !== 0) {
    state.flows.marks[e] |= UNTAGGED;
    return batch.pass(i, reasons.passSynRepeated);
  }
  state.flows.marks[e] |= RETRANSMITTED;
  const refusal = whyNotRaced(state, batch, i);
  if (refusal >= 0) return batch.pass(i, refusal);
  makeRoom(state, batch, i);
  putTag(state, batch, i, state.machines.serviceKeys[batch.service[i]]);
  batch.pass(i, reasons.passSynRetagged);
}

/** The reason for which this SYN goes to the origin's server only, or -1. */
function whyNotRaced(state: GatewayState, batch: Batch, i: number): number {
  const { view } = batch;
  const l4 = batch.l4[i];
  const header = tcp.dataOffset(view, l4);
  if (state.machines.serviceRaced[batch.service[i]] === 0) return reasons.passSynNoReplicas;
  if (state.race === RACE_ORIGIN && state.tagPaths.dropTags(batch.service[i], state.nowTick))
    return reasons.passSynPathDropsTag;
  const mode = state.machines.serviceMode[batch.service[i]];
  const isPlain = state.race !== RACE_ORIGIN && mode === TRANSLATE;
  // Over IPv6 only a gateway's own races, and no spoofing.
  if (batch.family[i] === 6 && (state.race === RACE_ORIGIN || mode === SPOOF)) return reasons.passSynFamily;
  // TCP Fast Open: two servers that share a key would both execute the request.
  if (batch.at[i] + batch.length[i] > l4 + header) return reasons.passSynPayload;
  if (options.end(view, l4, header) < 0) return reasons.passSynOptions;
  if (options.find(view, l4, header, options.MD5) >= 0 || options.find(view, l4, header, options.AO) >= 0)
    return reasons.passSynAuthenticated;
  // In configuration A a gateway's own race needs no tag.
  if (isPlain) return -1;
  if (!tag.fits(view, l4) || batch.length[i] + tag.LENGTH > state.wanMtu) return reasons.passSynNoRoom;
  return -1;
}

/**
 * Begins an entry in state UNDECIDED. Requires that {@link lookUp} has set the key.
 * @param old the entry that was removed under the same key; -1 for none
 */
function begin(state: GatewayState, batch: Batch, i: number, old: FlowEntry): void {
  const { flows } = state;
  const { view } = batch;
  const l4 = batch.l4[i];
  const service = batch.service[i];
  if (flows.halfOpen.isSourceFull()) {
    if (old >= 0) forgetFlow(batch, old);
    return batch.pass(i, reasons.passSynSourceFull);
  }
  // Before this one counts.
  const isBusy = flows.halfOpen.isSourceBusy();
  if (isBusy && state.race === RACE_ORIGIN) {
    if (old >= 0) forgetFlow(batch, old);
    return batch.pass(i, reasons.passSynSourceBusy);
  }
  const e = state.take(batch);
  // Packets of this batch that belong to the connection before, under the same key, belong to this one.
  if (old >= 0 && old !== e) moveFlow(batch, old, e);
  if (e < 0) return batch.pass(i, reasons.passSynTableFull);
  flows.isn[e] = tcp.seq(view, l4);
  state.enter(e, UNDECIDED);
  // Before the SYN is copied into the queue for its hedge.
  makeRoom(state, batch, i);
  const candidates =
    state.race === RACE_ORIGIN
      ? state.machines.serviceLive[service]
      : isBusy
        ? chooseOne(state, batch, i)
        : choose(state, batch, i, e);
  // The key's first four words are the client's address.
  flows.record[e] = state.races.begin(flows.key, batch.sport[i], service, candidates);
  if (state.race === RACE_ORIGIN) {
    putTag(state, batch, i, state.machines.serviceKeys[service]);
    return batch.pass(i, reasons.passSynTagged);
  }
  state.evidence.asked(service, candidates);
  state.races.keepSyn(flows.record[e], batch.arena, batch.at[i], batch.length[i]);
  const manner = isBusy ? ALONE : chosen.manner;
  if (manner !== RACED) state.races.asked(flows.record[e], candidates, manner);
  sendSyn(state, batch, i, candidates, reasons.passSynRaced);
}

/**
 * Lowers the MSS to leave room for a tunnel's header. In an origin's race all replicas get this SYN: it leaves room
 * for the narrowest path.
 */
function makeRoom(state: GatewayState, batch: Batch, i: number): void {
  if (state.race === RACE_ORIGIN) clampForAll(state, batch, i, batch.service[i]);
  else clampSyn(state, batch, i, batch.service[i], 0);
}
