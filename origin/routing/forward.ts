/**
 * Puts each packet of a flow into a tunnel to where it goes, and gives the flow to the kernel.
 *
 * reads: verdict, service, flow, side. Sets: at, length; verdict.
 */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { intoTunnel } from '../../src/pipeline/tunnel.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { NONE } from './flows.js';
import { reasons } from './reasons.js';
import type { SlrState } from './state.js';
import { tellUpper } from './tell-upper.js';

export function forward(state: SlrState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.service[i] >= 0) forwardOne(state, batch, i);
  };
}

function forwardOne(state: SlrState, batch: Batch, i: number): void {
  const { flows } = state;
  const e = batch.flow[i];
  // What came in a tunnel was not counted as a hop of the inner packet.
  if (batch.side[i] !== 0 && !ipv4.hop(batch.view, batch.at[i])) return batch.drop(i, reasons.dropExpired);
  const source = state.sourceOf(batch, i);
  if (e < 0) {
    const member = state.members.get(state.choose(batch, i, batch.service[i]));
    if (member === undefined) return batch.drop(i, reasons.dropNoMember);
    intoTunnel(batch, i, state.tunnelIds, source, member.address[3]);
    return batch.pass(i, reasons.passTableFull);
  }
  if (flows.member[e] === NONE && flows.isShort[e] === 0) return batch.drop(i, reasons.dropNoMember);
  if (flows.upper[e] !== 0) tellAgain(state, batch, e);
  state.pin(e);
  intoTunnel(batch, i, state.tunnelIds, source, flows.target[4 * e + 3]);
  batch.pass(i, reasons.passRouted);
}

/** At once, and then at most ten times a second while packets of the flow still come. */
function tellAgain(state: SlrState, batch: Batch, e: FlowEntry): void {
  const { flows } = state;
  if (flows.told[e] === 0 || flows.toldAt[e] !== state.nowTick) tellUpper(state, batch, e);
}
