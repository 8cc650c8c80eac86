/**
 * Finds the virtual host and the flow of each packet. Packets for no virtual host are passed on.
 *
 * reads: verdict, addresses, ports, protocol. Sets: service (the place of the virtual host), flow; verdict.
 */
import { type FlowEntry, NO_FLOW, type ServiceNumber } from '../../src/flow/numbers.js';
import { type Batch, forgetFlow, OPEN, type Stage } from '../../src/pipeline/batch.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import type { SlrState } from './state.js';

export function findFlow(state: SlrState): Stage {
  const { flows } = state;
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN) continue;
      const protocol = batch.protocol[i];
      if (protocol !== ipv4.PROTO_TCP && protocol !== ipv4.PROTO_UDP) continue;
      batch.service[i] = state.hosts.of(batch, i) as ServiceNumber;
      if (batch.service[i] < 0) continue;
      flows.keyOf(batch, i);
      batch.flow[i] = known(state, batch);
    }
  };
}

/** The flow of the table's key. One that a predecessor pinned may be none any more (`Pins.isForgotten`). */
function known({ flows, pins }: SlrState, batch: Batch): FlowEntry {
  const e = flows.find();
  if (e < 0 || flows.isn[e] !== 0 || pins?.isForgotten(e) !== true) return e;
  forgetFlow(batch, e);
  flows.remove(e);
  return NO_FLOW;
}
