/**
 * The gateway's stages in a race, in order. They correspond to figures 2, 5 and 6 of the source.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
 */
import { writePins } from '../../src/fastpath/pins.js';
import type { Pipeline, PipelineContext } from '../../src/pipeline/pipeline.js';
import { Reassembler } from '../../src/pipeline/reassemble.js';
import { validateBoth } from '../../src/pipeline/validate.js';
import { carry } from './carry.js';
import { crackAck } from './crack-ack.js';
import { findFlow } from './find-flow.js';
import { Following, followOpenings } from './follow-openings.js';
import { gauges } from './gauges.js';
import { keepFirstAck } from './keep-first-ack.js';
import { type FlowQuestion, listFlows } from './list-flows.js';
import { reasons } from './reasons.js';
import { relayErrors } from './relay-errors.js';
import { relayErrors6 } from './relay-errors6.js';
import { hedges } from './send-syn.js';
import { type GatewayPipelineOptions, type GatewaySnapshot, GatewayState } from './state.js';
import { tagSyn } from './tag-syn.js';

export { rehearse } from './rehearsal.js';

export function createPipeline(context: PipelineContext<GatewayPipelineOptions>): Pipeline<GatewaySnapshot> {
  const state = new GatewayState(context);
  const { pinning } = state;
  const openings = pinning?.openings;
  const following = openings === undefined ? undefined : new Following(openings);
  return {
    reasons: reasons.names,
    gauges: gauges.names,
    load: (snapshot) => state.load(snapshot),
    allowPinning: (allowed) => pinning?.allow(allowed),
    ask: (question) => listFlows(state, question as FlowQuestion),
    tick: () => state.tick(context.clock.nowUs),
    poll: following === undefined ? undefined : () => following.poll(state, context.batch),
    due: hedges(state, context.batch),
    stages: [
      validateBoth(new Reassembler(context.clock)),
      ...(following === undefined ? [] : [followOpenings(state, following)]), // SYNs that the kernel sent by itself
      crackAck(state), //     535, 554
      relayErrors(state), //  ICMP errors about flows
      relayErrors6(state), // the same of ICMPv6
      findFlow(state), //     606
      tagSyn(state), //       204–214
      keepFirstAck(state), // 502–516
      carry(state), //        602–658
      ...(pinning === undefined ? [] : [writePins(pinning.pins)]), // the kernel carries later packets
    ],
  };
}
