/**
 * The replica's stages in a race, in order, as in figures 4A, 4B and 4C of the source.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
 */
import { writePins } from '../../src/fastpath/pins.js';
import type { Pipeline, PipelineContext } from '../../src/pipeline/pipeline.js';
import { Reassembler } from '../../src/pipeline/reassemble.js';
import { validateBoth } from '../../src/pipeline/validate.js';
import { answer } from './answer.js';
import { crackSyn } from './crack-syn.js';
import { deliver } from './deliver.js';
import { reasons } from './reasons.js';
import { relayErrors } from './relay-errors.js';
import { relayErrors6 } from './relay-errors6.js';
import { gauges, ReplicaFlows, type ReplicaPipelineOptions, type ReplicaSnapshot } from './state.js';

export { rehearse } from './rehearsal.js';

export function createPipeline(context: PipelineContext<ReplicaPipelineOptions>): Pipeline<ReplicaSnapshot> {
  const state = new ReplicaFlows(context);
  return {
    reasons: reasons.names,
    gauges: gauges.names,
    load: (snapshot) => state.load(snapshot),
    allowPinning: (allowed) => {
      if (state.pins !== undefined) state.pins.allowed = allowed;
    },
    tick: () => state.tick(context.clock.nowUs),
    stages: [
      validateBoth(new Reassembler(context.clock)),
      relayErrors(state), // ICMP errors about tunnels
      relayErrors6(state), // the same of ICMPv6
      crackSyn(state), // 402–410
      deliver(state), //  inbound, configuration B
      answer(state), //   442, 462: outbound, configurations B and C
      ...(state.pins === undefined ? [] : [writePins(state.pins)]), // the kernel carries later packets
    ],
  };
}
