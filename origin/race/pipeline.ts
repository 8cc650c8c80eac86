/**
 * The origin's stages in a race, in order, as in figure 3 of the source.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
 */
import type { Pipeline, PipelineContext } from '../../src/pipeline/pipeline.js';
import { validate } from '../../src/pipeline/validate.js';
import { admitSyn } from './admit-syn.js';
import { copyToReplicas } from './copy-to-replicas.js';
import { forwardToServer } from './forward-to-server.js';
import { reasons } from './reasons.js';
import { relayErrors } from './relay-errors.js';
import { gauges, type OriginPipelineOptions, type OriginSnapshot, OriginState } from './state.js';

export { rehearse } from './rehearsal.js';

export function createPipeline(context: PipelineContext<OriginPipelineOptions>): Pipeline<OriginSnapshot> {
  const state = new OriginState(context);
  return {
    reasons: reasons.names,
    gauges: gauges.names,
    load: (snapshot) => state.load(snapshot),
    tick: () => state.tick(context.clock.nowUs),
    stages: [
      validate,
      relayErrors(state), //     ICMP errors about replicas' packets
      admitSyn(state), //        302–310
      copyToReplicas(state), //  312
      forwardToServer(state), // 314
    ],
  };
}
