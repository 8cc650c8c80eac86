/**
 * Decides which SYNs may go to replicas: SYNs with a genuine tag, to a service that is replicable or whose server for
 * this connection is remote. All other SYNs pass to the server at once, without any tag.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [302–310].
 *
 * reads: verdict, protocol, tcpFlags, the tuple. Sets: verdict, or service.
 */
import { tickOf } from '../../src/flow/table.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { FOREIGN, FORGED, GENUINE, STALE } from '../../src/race/keyring.js';
import { stripTags } from '../../src/race/strip-tags.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as options from '../../src/wire/options.js';
import * as tag from '../../src/wire/tag.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import type { OriginState } from './state.js';

export function admitSyn(state: OriginState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) if (batch.verdict[i] === OPEN) admit(state, batch, i);
  };
}

/** Leaves a SYN that is to be raced undecided, and sets its service; decides all other packets. */
function admit(state: OriginState, batch: Batch, i: number): void {
  const { view } = batch;
  const at = batch.at[i];
  const l4 = batch.l4[i];
  if (batch.protocol[i] !== ipv4.PROTO_TCP) return batch.pass(i, reasons.passNotTcp);
  const service = state.services.ofDestination(batch, i);
  if (service < 0) return batch.pass(i, reasons.passNotOurs);
  if (!tcp.isSyn(batch.tcpFlags[i])) return batch.pass(i, reasons.passNotSyn);
  const p = tag.find(view, l4);
  if (p === options.MALFORMED) {
    batch.counters[reasons.tagMalformed]++;
    return batch.pass(i, reasons.passUntagged);
  }
  if (p < 0) return batch.pass(i, reasons.passUntagged);

  const verdict = state.keyring.check(view, at, l4, p, service);
  const payload = at + batch.length[i] > l4 + tcp.dataOffset(view, l4);
  count(batch, verdict);
  const wanted = state.plans[service].replicable || state.remoteServer(batch, i, service) >= 0;
  const isSeen =
    verdict === GENUINE && !payload && wanted && !state.opened.admits(view, p, tickOf(batch.clock.nowUs));
  if (isSeen) batch.counters[reasons.tagSeen]++;
  if (verdict !== GENUINE || payload || !wanted || isSeen) {
    stripTags(batch, i, p);
    return batch.pass(i, reasons.passStripped);
  }
  if (isHeld(state, batch, i)) return batch.drop(i, reasons.dropHeldAlready);
  // Before its copies are made, because the same SYN may come again in this batch.
  const { serverDelayUs } = state.plans[service];
  if (serverDelayUs > 0) remember(state, batch, i, serverDelayUs);
  batch.service[i] = service;
}

function count(batch: Batch, verdict: number): void {
  if (verdict === GENUINE) batch.counters[reasons.tagGenuine]++;
  else if (verdict === FOREIGN) batch.counters[reasons.tagForeign]++;
  else if (verdict === STALE) batch.counters[reasons.tagStale]++;
  else if (verdict === FORGED) batch.counters[reasons.tagForged]++;
}

/** Whether copies of the same SYN are still waiting for their release. Sets the table's key. */
function isHeld(state: OriginState, batch: Batch, i: number): boolean {
  const { held } = state;
  const e = state.lookUp(batch, i);
  if (e < 0) return false;
  const fresh = ((held.expiresAt[e] - tickOf(batch.clock.nowUs)) | 0) >= 0;
  if (fresh && held.isn[e] === tcp.seq(batch.view, batch.l4[i])) return true;
  held.remove(e);
  return false;
}

/**
 * Remembers a held SYN, so that a retransmission in the meantime is not copied again. Best effort: the table may be
 * full.
 */
function remember(state: OriginState, batch: Batch, i: number, delayUs: number): void {
  const e = state.held.insert();
  if (e < 0) return;
  state.held.isn[e] = tcp.seq(batch.view, batch.l4[i]);
  state.held.expiresAt[e] = tickOf(batch.clock.nowUs + delayUs);
}

/** Reverts {@link remember}, because the SYN was not held after all. */
export function forget(state: OriginState, batch: Batch, i: number): void {
  const e = state.lookUp(batch, i);
  if (e >= 0) state.held.remove(e);
}
