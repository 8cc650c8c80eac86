/** [606] Which service a packet belongs to, from which side it comes, and its entry in the table. */
import { OPEN, type Stage } from '../../src/pipeline/batch.js';
import * as icmp from '../../src/wire/icmp.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import { CLIENT, type GatewayState, SERVER } from './state.js';

export function findFlow(state: GatewayState): Stage {
  return (batch) => {
    const { view } = batch;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN || batch.side[i] !== 0) continue;
      const at = batch.at[i];
      const l4 = batch.l4[i];
      if (batch.protocol[i] !== ipv4.PROTO_TCP) {
        const error =
          batch.protocol[i] === ipv4.PROTO_ICMP && icmp.isError(view, l4, at + batch.length[i] - l4);
        batch.pass(i, error ? reasons.passIcmp : reasons.passNotTcp);
        continue;
      }
      const saddr = ipv4.saddr(view, at);
      const daddr = ipv4.daddr(view, at);
      const sport = tcp.sport(view, l4);
      const dport = tcp.dport(view, l4);
      const service = state.services.getV4(daddr, dport);
      if (service >= 0) {
        batch.side[i] = CLIENT;
        batch.service[i] = service;
        state.flows.keyV4(saddr, sport, daddr, dport);
        batch.flow[i] = state.flows.find();
        continue;
      }
      const endpoint = state.endpoints.getV4(saddr, sport);
      if (endpoint < 0) {
        batch.pass(i, reasons.passNotOurs);
        continue;
      }
      const served = state.endpointService[endpoint];
      batch.side[i] = SERVER;
      batch.service[i] = served;
      batch.candidate[i] = endpoint;
      state.flows.keyV4(daddr, dport, state.serviceAddress[served], state.servicePort[served]);
      batch.flow[i] = state.flows.find();
    }
  };
}
