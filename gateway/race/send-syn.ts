/**
 * The gateway's own races: the gateway itself sends the SYN, at one time, to every live candidate. Or, when it has
 * learned which candidate is nearest, it sends the SYN to that one alone, and to the others when no answer came in
 * time.
 *
 * Forms (see `test/integration/wire-table.test.ts`): to a replica `[C→R]` untagged in configuration A, `[C→R][C→S]`
 * tagged in B and C; to the origin `[C→S]` untagged.
 */
import {
  type CandidateNumber,
  type EndpointNumber,
  type FlowEntry,
  NO_ENDPOINT,
  type ServiceNumber,
} from '../../src/flow/numbers.js';
import { UNDECIDED } from '../../src/flow/states.js';
import { type Batch, DROP, EMIT } from '../../src/pipeline/batch.js';
import type { Due } from '../../src/pipeline/pipeline.js';
import { dnat } from '../../src/pipeline/translate.js';
import { intoTunnel, intoTunnel6 } from '../../src/pipeline/tunnel.js';
import { decode, decodeV6 } from '../../src/pipeline/validate.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import { COMPARE, RACE, RACE_AGAIN } from '../../src/proximity/learned.js';
import { ALONE, COMPARED, HEDGED, RACED, TRIED } from '../../src/race/record-layout.js';
import { isV6 } from '../../src/wire/ip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import * as tcp from '../../src/wire/tcp.js';
import { PROBE } from './path-probes.js';
import { clampSyn } from './path-sizes.js';
import { putTag } from './put-tag.js';
import { reasons } from './reasons.js';
import { type GatewayState, RACE_GATEWAY, TRANSLATE } from './state.js';

/**
 * Sends SYN `i` to every candidate whose bit is set. The packet itself goes to the last of them, the others get
 * copies.
 */
export function sendSyn(
  state: GatewayState,
  batch: Batch,
  i: number,
  candidates: number,
  reason: number,
): void {
  const { machines } = state;
  const endpoints = machines.serviceEndpoints[batch.service[i]];
  let last = NO_ENDPOINT;
  for (let k = 0; k < endpoints.length; k++) {
    const candidate = machines.endpointCandidate[endpoints[k]];
    if (((candidates >>> candidate) & 1) === 0) continue;
    if (candidate === ORIGIN || last < 0) {
      // The origin's SYN needs no change, so the packet itself goes to the origin; without an origin, to the first
      // candidate.
      if (last >= 0) copyTo(state, batch, i, last);
      last = endpoints[k];
    } else copyTo(state, batch, i, endpoints[k]);
  }
  // An ejected machine on trial is not among the endpoints that may be asked.
  if (last < 0 && candidates !== 0)
    last = machines.endpointOf(batch.service[i], (31 - Math.clz32(candidates)) as CandidateNumber);
  if (last >= 0) address(state, batch, i, last);
  batch.pass(i, reason);
}

function copyTo(state: GatewayState, batch: Batch, i: number, endpoint: EndpointNumber): void {
  address(state, batch, batch.emitCopy(i, reasons.emitSyn), endpoint);
}

/**
 * Sends the SYN of a race again to one endpoint, after an old connection there prevented the first from being
 * accepted.
 */
export function sendAgain(
  state: GatewayState,
  batch: Batch,
  i: number,
  e: FlowEntry,
  endpoint: EndpointNumber,
): void {
  const record = state.flows.record[e];
  const length = state.races.synLength(record);
  if (length === 0) return;
  const k = batch.emit(length, reasons.emitSynAgain);
  state.races.copySyn(record, batch.arena, batch.at[k]);
  batch.service[k] = batch.service[i];
  decodeSyn(batch, k);
  address(state, batch, k, endpoint);
}

/** Rewrites SYN `i` into the form that this endpoint expects. */
function address(state: GatewayState, batch: Batch, i: number, endpoint: EndpointNumber): void {
  const { machines } = state;
  if (machines.endpointCandidate[endpoint] === ORIGIN) return;
  const replica = machines.endpointV4(endpoint);
  if (state.pathsBack.size > 0) clampSyn(state, batch, i, machines.endpointService[endpoint], replica);
  if (machines.serviceMode[machines.endpointService[endpoint]] === TRANSLATE)
    return dnat(batch, i, machines.endpointWords, 4 * endpoint, machines.endpointPort[endpoint]);
  putTag(state, batch, i, machines.endpointKeys[endpoint]);
  if (batch.family[i] === 6) intoTunnel6(batch, i, batch.saddr, 4 * i, machines.endpointWords, 4 * endpoint);
  else intoTunnel(batch, i, state.tunnelIds, batch.saddrV4(i), replica);
}

/** How the candidates of the last {@link choose} are asked (`src/race/record.ts`). */
export const chosen = { manner: RACED };

/**
 * The candidates to ask for this new connection, one bit each: the learned winner alone, with a hedge queued; or
 * those that are too near to each other to be told apart yet; or as many as a race asks.
 */
export function choose(state: GatewayState, batch: Batch, i: number, e: FlowEntry): number {
  const { learned, machines } = state;
  const service = batch.service[i];
  const live = machines.serviceLive[service];
  const entry = learned.entry(service, batch.saddr, 4 * i);
  chosen.manner = TRIED;
  if (state.trials[service] !== 0) return tryEjected(state, batch, i, e, entry);
  chosen.manner = RACED;
  // Random per connection, and the same for every SYN of it.
  const hash = mix(state.flows.isn[e]);
  // A suspect must be compared with another machine, so one connection in four avoids it. Not where the origin alone
  // is left: of two machines none is ejected.
  const suspects = machines.serviceSuspects[service];
  const others = live & ~suspects;
  const spares = suspects !== 0 && (hash >>> 24) % 4 === 0 && (others & ~(1 << ORIGIN)) !== 0;
  if (state.race === RACE_GATEWAY) return race(state, entry, spares ? others : live);
  let one = racesAgain(hash) ? RACE : learned.choose(entry, live, machines.serviceLoads[service], mix(hash));
  if (one >= 0 && spares && ((suspects >>> one) & 1) !== 0)
    one = learned.best(entry, others & ~(1 << ORIGIN));
  if (one === RACE) one = unlessFull(state, batch, entry, live);
  if (one !== RACE) {
    const waitUs = learned.hedgeUs(entry, one >= 0 ? one : learned.best(entry, live));
    if (state.hold.pushIn(batch.arena, batch.at[i], batch.length[i], batch.clock, waitUs, e) >= 0) {
      batch.counters[reasons.queuedHedge]++;
      chosen.manner = one === COMPARE ? COMPARED : ALONE;
      if (one === COMPARE) return learned.compare(entry, live);
      lease(state, batch, i, entry, one as CandidateNumber);
      return 1 << one;
    }
    // No room for its hedge.
    if (one >= 0 && !state.flows.halfOpen.mayRace()) {
      chosen.manner = ALONE;
      return 1 << one;
    }
  }
  return race(state, entry, live);
}

/** Lets the kernel send the next SYNs of this prefix to the winner by itself, where no other may be asked instead. */
function lease(state: GatewayState, batch: Batch, i: number, entry: number, one: CandidateNumber): void {
  const { learned, machines } = state;
  const service = batch.service[i];
  const isPlain = machines.serviceSuspects[service] === 0 && machines.serviceMode[service] === TRANSLATE;
  if (isPlain && learned.isClear(entry, machines.serviceLive[service], one) && !isNarrow(state, service, one))
    state.pinning?.lease(service, batch.saddr, 4 * i, one);
}

/**
 * Where half-open connections fill their part of the table, a race of each SYN would cost the machines a multiple of the
 * flood, and the answers would come too late for anyone: the nearest that is known is asked alone, but for some a second.
 * @returns that machine, or `RACE`
 */
function unlessFull({ learned, flows }: GatewayState, batch: Batch, entry: number, live: number): number {
  const best = learned.best(entry, live);
  if (best < 0 || flows.halfOpen.mayRace()) return RACE;
  batch.counters[reasons.limitRaceFull]++;
  return best;
}

/** The candidates that a race of these asks. */
function race({ learned, raceWidth }: GatewayState, entry: number, live: number): number {
  const asked = learned.shortList(entry, live, raceWidth);
  learned.raced(entry, live, asked);
  return asked;
}

/**
 * The only machine that a source with many unconfirmed connections is sent to: the nearest that is known, or the origin. A
 * flood then costs one SYN for one. If that machine does not answer, the client's repetition asks the others.
 */
export function chooseOne(state: GatewayState, batch: Batch, i: number): number {
  const { learned, machines } = state;
  const service = batch.service[i];
  const entry = learned.entry(service, batch.saddr, 4 * i);
  const best = learned.best(entry, machines.serviceLive[service]);
  batch.counters[reasons.limitRace]++;
  // An office behind one address has many connections too, and in the kernel each costs least.
  if (best >= 0 && state.race !== RACE_GATEWAY) lease(state, batch, i, entry, best as CandidateNumber);
  return 1 << (best >= 0 ? best : ORIGIN);
}

/** Whether the path to a machine is known to be narrow: then a SYN's MSS must be lowered, which the kernel does not. */
function isNarrow(state: GatewayState, service: ServiceNumber, candidate: CandidateNumber): boolean {
  const { paths, pathsBack, machines } = state;
  if (paths.size === 0 && pathsBack.size === 0) return false;
  const endpoint = machines.endpointOf(service, candidate);
  if (endpoint < 0) return false;
  const address = machines.endpointV4(endpoint);
  return paths.to(address) !== 0 || pathsBack.to(address) !== 0;
}

/** The hedge of a trial whose machine's round trip is not known here, µs. */
const TRIAL_HEDGE_US = 500_000;

/**
 * Asks an ejected machine alone, to see whether it serves again. The others are asked when it is late, or when the
 * client repeats its SYN.
 */
function tryEjected(state: GatewayState, batch: Batch, i: number, e: FlowEntry, entry: number): number {
  const { learned, hold } = state;
  const candidate = state.takeTrial(e, batch.service[i]);
  const isKnown = entry >= 0 && learned.samples(entry, candidate) > 0;
  const waitUs = isKnown ? learned.hedgeUs(entry, candidate) : TRIAL_HEDGE_US;
  if (hold.pushIn(batch.arena, batch.at[i], batch.length[i], batch.clock, waitUs, e) >= 0)
    batch.counters[reasons.queuedHedge]++;
  return 1 << candidate;
}

/** Whether a connection is raced again, by lot. The hooks' function `races_again` gives the same result. */
export function racesAgain(hash: number): boolean {
  return (hash >>> 1) % RACE_AGAIN === 0;
}

/** Spreads an initial sequence number over all bits. */
export function mix(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  // A signed result, because a number above 2^31 would be boxed.
  return h ^ (h >>> 16);
}

/** Fills the columns of a SYN that this gateway kept. */
function decodeSyn(batch: Batch, i: number): void {
  const at = batch.at[i];
  batch.protocol[i] = ipv4.PROTO_TCP;
  if (!isV6(batch.view, at)) return decode(batch, i, at);
  ipv6.walk(batch.view, at);
  decodeV6(batch, i, at, ipv6.found.l4);
}

/** How late a hedge may fire; a hedge waits at least ten milliseconds. */
const HEDGE_SLACK_US = 1000;

/** Handles queued SYNs whose time has come. Most of them have been answered long before. */
export function hedges(state: GatewayState, { counters }: Batch): Due {
  return {
    slackUs: HEDGE_SLACK_US,
    isSettled: (e) => {
      if (e === PROBE) return false;
      if (state.flows.state[e] === UNDECIDED) return false;
      counters[reasons.cancelHedge]++;
      return true;
    },
    decide: (batch, e) => {
      if (e === PROBE) sendProbe(batch);
      else hedge(state, batch, e);
    },
  };
}

/** A probe was made by this gateway, so it is no packet that was read and passed. */
function sendProbe(batch: Batch): void {
  batch.verdict[0] = EMIT;
  batch.counters[reasons.emitProbe]++;
}

/**
 * Fires the hedge: the candidate that was asked alone has not answered. The others are asked now, and it must be
 * measured in a race again.
 */
function hedge(state: GatewayState, batch: Batch, meta: number): void {
  const { flows, machines } = state;
  const { view } = batch;
  decodeSyn(batch, 0);
  const l4 = batch.l4[0];
  // The copies are emitted; the packet itself is dropped.
  batch.verdict[0] = DROP;
  const service = machines.serviceFor(batch, 0);
  flows.keyOf(batch, 0);
  const e = flows.find();
  if (service < 0 || e !== meta || flows.state[e] !== UNDECIDED || flows.isn[e] !== tcp.seq(view, l4)) {
    batch.counters[reasons.cancelHedge]++;
    return;
  }
  batch.service[0] = service;
  // A flood costs one SYN for one; a client repeats its SYN, and then the others are asked.
  if (flows.halfOpen.isSourceBusy() || !flows.halfOpen.mayRace()) {
    batch.counters[reasons.cancelHedge]++;
    return;
  }
  const others = askOthers(state, batch, 0, e);
  // After a retransmission of the SYN the others have been asked already.
  batch.counters[others === 0 ? reasons.cancelHedge : reasons.firedHedge]++;
  const endpoints = machines.serviceEndpoints[service];
  for (let k = 0; k < endpoints.length; k++) {
    const bit = 1 << machines.endpointCandidate[endpoints[k]];
    if ((others & bit) !== 0) copyTo(state, batch, 0, endpoints[k]);
  }
}

/**
 * Notes that others of the candidates that were not asked yet are asked now.
 * @returns one bit for each candidate that is asked now
 */
export function askOthers(state: GatewayState, batch: Batch, i: number, e: FlowEntry): number {
  const { learned, machines, races } = state;
  const record = state.flows.record[e];
  const service = batch.service[i];
  const live = machines.serviceLive[service];
  const asked = races.asking(record);
  if ((live & ~asked) === 0) return 0;
  const entry = learned.entry(service, batch.saddr, 4 * i);
  const others = learned.shortList(entry, live, state.raceWidth, asked);
  learned.raced(entry, live, asked | others);
  // The kernel asks it alone no more; whether it is late, or the line is, the others' answers tell (`lateness.ts`).
  state.pinning?.endLease(service, batch.saddr, 4 * i);
  races.asked(record, others, HEDGED);
  state.evidence.asked(service, others);
  return others;
}
