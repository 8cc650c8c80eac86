/**
 * Puts each packet of a flow into a tunnel to where it goes, and gives the flow to the kernel.
 *
 * reads: verdict, service, flow, side. Sets: at, length; verdict.
 */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { OPENING } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { emitTooBig } from '../../src/pipeline/too-big.js';
import * as ip from '../../src/wire/ip.js';
import { OVERHEAD } from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import * as virtio from '../../src/wire/virtio.js';
import { NONE } from './flows.js';
import { tunnelTo } from './into-tunnel.js';
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
  if (batch.side[i] !== 0 && !ip.hop(batch.view, batch.at[i])) return batch.drop(i, reasons.dropExpired);
  const isV4 = batch.family[i] === 4;
  if (e < 0) {
    const address = state.addressOf(state.hosts.choose(batch, i, batch.service[i]), isV4);
    if (address === undefined) return batch.drop(i, reasons.dropNoMember);
    tunnelTo(state, batch, i, address, 0);
    return batch.pass(i, reasons.passTableFull);
  }
  if (flows.member[e] === NONE && flows.isShort[e] === 0) return batch.drop(i, reasons.dropNoMember);
  if (state.isSure(e) && flows.upper[e] !== 0) tellAgain(state, batch, e);
  state.pin(e);
  // Over IPv6 every packet that is too large is answered by the router before the narrow link (`relay-errors6.ts`).
  if (isV4 && state.paths.size > 0 && refuseTooLarge(state, batch, i, flows.target[4 * e + 3])) return;
  const member = isRepeatedSyn(state, batch, i, e) ? state.addressOf(flows.member[e], isV4) : undefined;
  if (member === undefined) tunnelTo(state, batch, i, flows.target, 4 * e);
  else tunnelTo(state, batch, i, member, 0);
  batch.pass(i, reasons.passRouted);
}

/**
 * Whether a packet is a SYN that is repeated. It goes to the member, not by the shortcut: the server at its end may have died, and
 * the member then chooses another.
 */
function isRepeatedSyn({ flows }: SlrState, batch: Batch, i: number, e: FlowEntry): boolean {
  return (
    flows.isShort[e] === 1 &&
    flows.state[e] === OPENING &&
    batch.protocol[i] === ipv4.PROTO_TCP &&
    tcp.isSyn(batch.tcpFlags[i])
  );
}

/**
 * Answers a packet that is larger than the path of its tunnel carries, and may not be fragmented, with "fragmentation
 * needed". @returns whether it was; then the packet is decided
 */
function refuseTooLarge(state: SlrState, batch: Batch, i: number, target: number): boolean {
  const mtu = state.paths.to(target);
  const { view } = batch;
  const at = batch.at[i];
  if (mtu === 0 || !ipv4.dontFragment(view, at)) return false;
  const header = batch.l4[i] - at + (virtio.isGso(view, at) ? tcp.dataOffset(view, batch.l4[i]) : 0);
  const bytes = virtio.isGso(view, at) ? header + virtio.gsoSize(view, at) : batch.length[i];
  if (bytes + OVERHEAD <= mtu) return false;
  if (state.tooBigs > 0) {
    state.tooBigs--;
    emitTooBig(batch, i, mtu - OVERHEAD, reasons.emitTooBig);
  }
  batch.drop(i, reasons.dropTooBig);
  return true;
}

/** At once, and then at most ten times a second while packets of the flow still come. */
function tellAgain(state: SlrState, batch: Batch, e: FlowEntry): void {
  const { flows } = state;
  if (flows.told[e] === 0 || flows.toldAt[e] !== state.nowTick) tellUpper(state, batch, e);
}
