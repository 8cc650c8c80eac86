/**
 * [442, 462] What the local server's kernel answers, outbound. Under B its SYN-ACK, and a RST, leave as
 * `[S→C][R→C]`, so that the gateway learns who answered; data leaves as it is. Under C everything leaves
 * as `[R→C][S→C]`. A kernel's bare answer to a flow that we do not know never leaves.
 */
import { advance } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { snat } from '../../src/pipeline/translate.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import { type ReplicaFlows, SPOOF, TRANSLATE } from './state.js';

export function answer(state: ReplicaFlows): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++) if (batch.verdict[i] === OPEN) send(state, batch, i);
  };
}

function send(state: ReplicaFlows, batch: Batch, i: number): void {
  const { view } = batch;
  const at = batch.at[i];
  const l4 = batch.l4[i];
  if (batch.protocol[i] !== ipv4.PROTO_TCP) return batch.pass(i, reasons.passNotTcp);
  const client = ipv4.daddr(view, at);
  const service = state.services.getV4(ipv4.saddr(view, at), tcp.sport(view, l4));
  if (service < 0 || state.serviceMode[service] === TRANSLATE) return batch.pass(i, reasons.passNotOurs);
  state.flows.keyV4(client, tcp.dport(view, l4), ipv4.saddr(view, at), tcp.sport(view, l4));
  const flow = state.flows.find();
  if (flow < 0) return batch.drop(i, reasons.dropAnswerNoFlow);

  const flags = batch.tcpFlags[i];
  const spoof = state.serviceMode[service] === SPOOF;
  advance(state.flows, flow, flags, false, state.nowTick, state.idle);
  if (tcp.isSynAck(flags)) state.pinEarly(flow, service);
  if (spoof && !tcp.isSynAck(flags) && (flags & tcp.RST) === 0) return batch.pass(i, reasons.passAnswerBare);
  let source = state.address;
  if (spoof) {
    snat(batch, i, state.address, state.serviceLocalPort[service]);
    source = state.serviceAddress[service];
  }
  const id = state.ipId & 0xffff;
  state.ipId = id + ipip.segments(view, at, l4);
  batch.at[i] = ipip.encapsulate(view, at, source, client, id);
  batch.length[i] += ipip.OVERHEAD;
  batch.pass(i, reasons.passAnswer);
}
