/** B, inbound: the client's packets come addressed to R; the local server knows itself as S. */
import { advance } from '../../src/flow/states.js';
import { OPEN, type Stage } from '../../src/pipeline/batch.js';
import { dnat } from '../../src/pipeline/translate.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import type { ReplicaFlows } from './state.js';

export function deliver(state: ReplicaFlows): Stage {
  return (batch) => {
    const { view } = batch;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN || batch.protocol[i] !== ipv4.PROTO_TCP) continue;
      const at = batch.at[i];
      const l4 = batch.l4[i];
      const service = state.endpoints.getV4(ipv4.daddr(view, at), tcp.dport(view, l4));
      if (service < 0) continue;
      const address = state.serviceAddress[service];
      const port = state.servicePort[service];
      state.flows.keyV4(ipv4.saddr(view, at), tcp.sport(view, l4), address, port);
      const flow = state.flows.find();
      // Nobody raced for it: an ordinary connection to R itself.
      if (flow < 0) {
        batch.pass(i, reasons.passDirect);
        continue;
      }
      if (!tcp.isSyn(batch.tcpFlags[i])) {
        advance(state.flows, flow, batch.tcpFlags[i], true, state.nowTick, state.idle);
        state.pin(flow, service);
      }
      dnat(batch, i, address, port);
      batch.pass(i, reasons.passDelivered);
    }
  };
}
