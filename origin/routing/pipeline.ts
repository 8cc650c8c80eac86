/**
 * The stages of a service-level router, in order, as in figures 6 to 8 of the source.
 * Numbers in brackets: operations of the source "System, method and apparatus for network service load and reliability
 * management".
 */
import { writePins } from '../../src/fastpath/pins.js';
import type { Pipeline, PipelineContext } from '../../src/pipeline/pipeline.js';
import { Reassembler } from '../../src/pipeline/reassemble.js';
import { validateBoth } from '../../src/pipeline/validate.js';
import { answer, type Question } from './answer.js';
import { choose } from './choose.js';
import { dropFragments6 } from './drop-fragments6.js';
import { findFlow } from './find-flow.js';
import { forward } from './forward.js';
import { openTunnels } from './open-tunnels.js';
import { reasons } from './reasons.js';
import { relayErrors } from './relay-errors.js';
import { relayErrors6 } from './relay-errors6.js';
import type { SlrSnapshot } from './snapshot.js';
import { gauges, type SlrOptions, SlrState } from './state.js';
import { takeBack } from './take-back.js';
import { takeShortcuts } from './take-shortcuts.js';

export function createPipeline(context: PipelineContext<SlrOptions>): Pipeline<SlrSnapshot> {
  const state = new SlrState(context);
  return {
    reasons: reasons.names,
    gauges: gauges.names,
    load: (snapshot) => state.load(snapshot),
    allowPinning: (allowed) => {
      if (state.pins !== undefined) state.pins.allowed = allowed;
    },
    ask: (question) => answer(state, question as Question),
    tick: () => state.tick(context.clock.nowUs),
    stages: [
      validateBoth(new Reassembler(context.clock)),
      dropFragments6(state),
      takeShortcuts(state), // from the routers below
      openTunnels(state), // 6100, 7100, 8100: "the first header of the data packet is stripped"
      relayErrors(state), // of ICMP
      relayErrors6(state),
      findFlow(state), // 6200
      takeBack(state), // what a member does not know
      choose(state), // 6400–6500
      forward(state), // 6300, 6600: into a tunnel
      ...(state.pins === undefined ? [] : [writePins(state.pins)]), // the kernel carries later packets
    ],
  };
}
