/** [314] The SYN goes on to the origin's own server, without its tag, when its copies arrive elsewhere. */
import { tickOf } from '../src/flow/table.js';
import { type Batch, OPEN, type Stage } from '../src/pipeline/batch.js';
import * as ipv4 from '../src/wire/ipv4.js';
import * as tag from '../src/wire/tag.js';
import * as tcp from '../src/wire/tcp.js';
import { strip } from './admit-syn.js';
import { reasons } from './reasons.js';
import type { OriginState } from './state.js';

export function forwardToServer(state: OriginState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) if (batch.verdict[i] === OPEN) forward(state, batch, i);
  };
}

function forward(state: OriginState, batch: Batch, i: number): void {
  const { serverDelayUs } = state.plans[batch.service[i]];
  const { view } = batch;
  const p = tag.find(view, batch.l4[i]);
  strip(batch, i, p);
  if (serverDelayUs <= 0) return batch.pass(i, reasons.passAtOnce);
  const due = batch.clock.nowUs + serverDelayUs;
  if (state.hold.push(batch.arena, batch.at[i], batch.length[i], due, -1) < 0) {
    batch.counters[reasons.lateHoldFull]++;
    return batch.pass(i, reasons.passAtOnce);
  }
  remember(state, batch, i, due);
  batch.hold(i, reasons.holdServer);
}

/** So that a retransmission meanwhile is not copied again (`admit-syn.ts`). Best effort: the table may be full. */
function remember(state: OriginState, batch: Batch, i: number, due: number): void {
  const { held } = state;
  const { view } = batch;
  const at = batch.at[i];
  const l4 = batch.l4[i];
  held.keyV4(ipv4.saddr(view, at), tcp.sport(view, l4), ipv4.daddr(view, at), tcp.dport(view, l4));
  const e = held.insert();
  if (e < 0) return;
  held.isn[e] = tcp.seq(view, l4);
  held.expiresAt[e] = tickOf(due);
}
