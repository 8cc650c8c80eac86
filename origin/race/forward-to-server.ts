/**
 * Lets the SYN pass to the origin's own server, without its tag, at the time at which its copies arrive at the
 * replicas. Where there are several adjacent servers, the kernel chooses one by a hash of the connection.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [314].
 *
 * reads: verdict, service. Sets: verdict.
 */
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { stripTags } from '../../src/race/strip-tags.js';
import * as tag from '../../src/wire/tag.js';
import { forget } from './admit-syn.js';
import { reasons } from './reasons.js';
import type { OriginState } from './state.js';

export function forwardToServer(state: OriginState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) if (batch.verdict[i] === OPEN) forward(state, batch, i);
  };
}

function forward(state: OriginState, batch: Batch, i: number): void {
  const { serverDelayUs } = state.plans[batch.service[i]];
  // The copy to the remote server has been emitted, so the SYN itself is dropped.
  if (state.remoteServer(batch, i, batch.service[i]) >= 0) return batch.drop(i, reasons.dropServedRemotely);
  const p = tag.find(batch.view, batch.l4[i]);
  stripTags(batch, i, p);
  if (serverDelayUs <= 0) return batch.pass(i, reasons.passAtOnce);
  if (state.hold.pushIn(batch.arena, batch.at[i], batch.length[i], batch.clock, serverDelayUs, -1) < 0) {
    batch.counters[reasons.lateHoldFull]++;
    forget(state, batch, i);
    return batch.pass(i, reasons.passAtOnce);
  }
  batch.hold(i, reasons.holdServer);
}
