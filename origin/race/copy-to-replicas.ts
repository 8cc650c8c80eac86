/**
 * [312] Sends the tagged SYN, encapsulated, to every live replica, each at its own time: `[O→R][C→S]`,
 * the tag kept, for the replica to check.
 */
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import type { OriginState } from './state.js';

export function copyToReplicas(state: OriginState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) if (batch.verdict[i] === OPEN) copy(state, batch, i);
  };
}

function copy(state: OriginState, batch: Batch, i: number): void {
  const { copies, replicable, remote } = state.plans[batch.service[i]];
  const race = record(state, batch, i);
  // Of one that is not replicable, its remote server alone gets the SYN.
  const server = replicable ? -1 : state.remoteServer(batch, i, batch.service[i]);
  if (server >= 0) {
    state.races.leaves(race, remote!.servers[server].candidate, 0);
    emitCopy(state, batch, i, remote!.servers[server].address[3]);
    return;
  }
  for (let r = 0; r < copies.length; r++) {
    state.races.leaves(race, copies[r].candidate, copies[r].delayUs);
    const k = emitCopy(state, batch, i, copies[r].address[3]);
    if (copies[r].delayUs <= 0) continue;
    const { clock, arena } = batch;
    // A full queue sends it now: too early is better than never.
    if (state.hold.pushIn(arena, batch.at[k], batch.length[k], clock, copies[r].delayUs, r) < 0)
      batch.counters[reasons.lateHoldFull]++;
    else {
      batch.takeBack(k, reasons.emitCopy);
      batch.counters[reasons.holdCopy]++;
    }
  }
}

/** @returns its place in the batch */
function emitCopy(state: OriginState, batch: Batch, i: number, replica: number): number {
  const length = batch.length[i];
  const k = batch.emit(length, reasons.emitCopy);
  // The virtio header travels along: it says whether the checksum is still open.
  batch.arena.copyWithin(batch.at[k] - 10, batch.at[i] - 10, batch.at[i] + length);
  batch.at[k] = ipip.encapsulate(batch.view, batch.at[k], state.address, replica, state.ipId++ & 0xffff);
  batch.length[k] = length + ipip.OVERHEAD;
  return k;
}

/** The origin's account of this race: to whom a copy went, and when. */
function record(state: OriginState, batch: Batch, i: number): number {
  const { view } = batch;
  const plan = state.plans[batch.service[i]];
  state.held.keyV4(
    ipv4.saddr(view, batch.at[i]),
    tcp.sport(view, batch.l4[i]),
    ipv4.daddr(view, batch.at[i]),
    tcp.dport(view, batch.l4[i]),
  );
  const port = tcp.sport(view, batch.l4[i]);
  const n = state.races.begin(state.held.key, port, batch.service[i], plan.candidates);
  state.races.leaves(n, ORIGIN, plan.serverDelayUs);
  return n;
}
