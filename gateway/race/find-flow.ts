/**
 * Finds a packet's service, the side from which it comes, and its entry in the flow table.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [606].
 *
 * reads: verdict, side, protocol, saddr, daddr, sport, dport. Sets: side, service, endpoint, flow; verdict where the
 * packet belongs to no service.
 */
import { type FlowEntry, NO_FLOW } from '../../src/flow/numbers.js';
import { type Batch, forgetFlow, OPEN, type Stage } from '../../src/pipeline/batch.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { PLAIN } from '../../src/wire/path-probe.js';
import { reasons } from './reasons.js';
import { CLIENT, type GatewayState, SERVER } from './state.js';

export function findFlow(state: GatewayState): Stage {
  const { flows, machines } = state;
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN || batch.side[i] !== 0) continue;
      if (batch.protocol[i] !== ipv4.PROTO_TCP) {
        const isUdp = batch.family[i] === 4 && batch.protocol[i] === ipv4.PROTO_UDP;
        const isProbe = isUdp && state.probes.take(batch, i, PLAIN);
        if (!isProbe) batch.pass(i, reasons.passNotTcp);
        continue;
      }
      const service = machines.serviceFor(batch, i);
      if (service >= 0) {
        batch.side[i] = CLIENT;
        batch.service[i] = service;
        flows.keyOf(batch, i);
        batch.flow[i] = known(state, batch);
        continue;
      }
      const endpoint = machines.endpointFrom(batch, i);
      if (endpoint < 0) {
        batch.pass(i, reasons.passNotOurs);
        continue;
      }
      const served = machines.endpointService[endpoint];
      batch.side[i] = SERVER;
      batch.service[i] = served;
      batch.endpoint[i] = endpoint;
      flows.keyForService(batch, i, false, machines.serviceWords, served, machines.servicePort[served]);
      batch.flow[i] = known(state, batch);
    }
  };
}

/** The flow of the table's key. One that a predecessor pinned may be none any more (`Pins.isForgotten`). */
function known(state: GatewayState, batch: Batch): FlowEntry {
  const { flows, pinning } = state;
  const e = flows.find();
  if (e < 0 || flows.isn[e] !== 0 || pinning?.pins.isForgotten(e) !== true) return e;
  forgetFlow(batch, e);
  flows.remove(e);
  return NO_FLOW;
}
