/**
 * Sends a copy of the tagged SYN, encapsulated, to every live replica, each at its own time: `[O→R][C→S]`. The copy
 * keeps the tag, which the replica checks; in its version 3 the origin makes it anew for each.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [312].
 *
 * reads: verdict, service, the tuple. Emits or holds copies.
 */
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { intoTunnel } from '../../src/pipeline/tunnel.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import type { PairedKey } from '../../src/race/keyring.js';
import * as tag from '../../src/wire/tag.js';
import { reasons } from './reasons.js';
import type { Copy, OriginState } from './state.js';

export function copyToReplicas(state: OriginState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) if (batch.verdict[i] === OPEN) copy(state, batch, i);
  };
}

function copy(state: OriginState, batch: Batch, i: number): void {
  const { copies, replicable, remote } = state.plans[batch.service[i]];
  const race = record(state, batch, i);
  // For a service that is not replicable only its remote server gets the SYN.
  const server = replicable ? -1 : state.remoteServer(batch, i, batch.service[i]);
  if (server >= 0) {
    state.races.leaves(race, remote!.servers[server].candidate, 0);
    emitCopy(state, batch, i, remote!.servers[server]);
    return;
  }
  for (let r = 0; r < copies.length; r++) {
    state.races.leaves(race, copies[r].candidate, copies[r].delayUs);
    const k = emitCopy(state, batch, i, copies[r]);
    if (copies[r].delayUs <= 0) continue;
    const { clock, arena } = batch;
    // When the queue is full the copy is sent now, because an early copy is better than none.
    if (state.hold.pushIn(arena, batch.at[k], batch.length[k], clock, copies[r].delayUs, r) < 0)
      batch.counters[reasons.lateHoldFull]++;
    else {
      batch.takeBack(k, reasons.emitCopy);
      batch.counters[reasons.holdCopy]++;
    }
  }
}

/** @returns the copy's index in the batch */
function emitCopy(state: OriginState, batch: Batch, i: number, to: Pick<Copy, 'address' | 'key'>): number {
  const k = batch.emitCopy(i, reasons.emitCopy);
  if (to.key !== undefined) relayTag(state, batch, k, to.key);
  intoTunnel(batch, k, state.tunnelIds, state.address, to.address[3]);
  return k;
}

/** A gateway's tag of version 3 is for this origin alone: the replica gets the origin's own. */
function relayTag(state: OriginState, batch: Batch, k: number, { id, key }: PairedKey): void {
  const { view } = batch;
  const p = tag.find(view, batch.l4[k]);
  if (tag.version(view, p) !== tag.PAIRED) return;
  tag.relay(view, batch.at[k], batch.l4[k], p, key, id, state.keyring.epoch);
}

/** Writes the origin's record of this race: the machines to which a copy is sent, and when. */
function record(state: OriginState, batch: Batch, i: number): number {
  const plan = state.plans[batch.service[i]];
  state.held.keyOf(batch, i);
  const n = state.races.begin(state.held.key, batch.sport[i], batch.service[i], plan.candidates);
  state.races.leaves(n, ORIGIN, plan.serverDelayUs);
  return n;
}
