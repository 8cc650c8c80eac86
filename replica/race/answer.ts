/**
 * Handles what the local server's kernel answers. In configuration B a SYN-ACK or RST leaves as `[S→C][R→C]`, so that
 * the gateway learns which replica answered, and data leaves unchanged. In configuration C every packet leaves as
 * `[R→C][S→C]`. The kernel's answer to a flow that is not in the table never leaves by itself.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [442, 462].
 *
 * reads: verdict, protocol, tcpFlags, the tuple. Sets: verdict; the source, or an outer header.
 */
import { advance } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { snatV4 } from '../../src/pipeline/translate.js';
import { intoTunnel, intoTunnel6 } from '../../src/pipeline/tunnel.js';
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
  const { flows } = state;
  if (batch.protocol[i] !== ipv4.PROTO_TCP) return batch.pass(i, reasons.passNotTcp);
  const service = state.services.ofSource(batch, i);
  if (service < 0 || state.serviceMode[service] === TRANSLATE) return batch.pass(i, reasons.passNotOurs);
  flows.keyOfAnswer(batch, i);
  const flow = flows.find();
  if (flow < 0) return batch.drop(i, reasons.dropAnswerNoFlow);

  const flags = batch.tcpFlags[i];
  const spoof = state.serviceMode[service] === SPOOF;
  advance(flows, flow, flags, false, state.nowTick, state.idle);
  if (tcp.isSynAck(flags)) state.pinEarly(flow, service);
  if (spoof && !tcp.isSynAck(flags) && (flags & tcp.RST) === 0) return batch.pass(i, reasons.passAnswerBare);
  if (batch.family[i] === 6) {
    intoTunnel6(batch, i, state.address6, 0, batch.daddr, 4 * i);
    return batch.pass(i, reasons.passAnswer);
  }
  const client = batch.daddrV4(i);
  const source = spoof ? state.serviceV4(service) : state.address;
  if (spoof) snatV4(batch, i, state.address, state.serviceLocalPort[service]);
  intoTunnel(batch, i, state.tunnelIds, source, client);
  batch.pass(i, reasons.passAnswer);
}
