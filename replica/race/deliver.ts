/**
 * Configuration B, inbound: the client's packets are addressed to R, and the local server's address is S.
 *
 * reads: verdict, protocol, tcpFlags, the tuple. Sets: verdict; the destination, to the service's.
 */
import { advance } from '../../src/flow/states.js';
import { OPEN, type Stage } from '../../src/pipeline/batch.js';
import { dnatV4 } from '../../src/pipeline/translate.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import type { ReplicaFlows } from './state.js';

export function deliver(state: ReplicaFlows): Stage {
  const { flows } = state;
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN || batch.family[i] !== 4 || batch.protocol[i] !== ipv4.PROTO_TCP)
        continue;
      const service = state.endpoints.ofDestination(batch, i);
      if (service < 0) continue;
      flows.keyForService(batch, i, true, state.serviceWords, service, state.servicePort[service]);
      const flow = flows.find();
      // Without a flow of a race it is an ordinary connection to R itself.
      if (flow < 0) {
        batch.pass(i, reasons.passDirect);
        continue;
      }
      if (!tcp.isSyn(batch.tcpFlags[i])) {
        advance(flows, flow, batch.tcpFlags[i], true, state.nowTick, state.idle);
        state.pin(flow, service);
      }
      dnatV4(batch, i, state.serviceV4(service), state.servicePort[service]);
      batch.pass(i, reasons.passDelivered);
    }
  };
}
