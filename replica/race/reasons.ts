/** The reasons for the replica's verdicts. */
import { defineReasons } from '../../src/pipeline/reasons.js';

export const reasons = defineReasons({
  passCracked: 'pass.syn-cracked',
  holdLoaded: 'hold.syn-under-load',
  passOpened: 'pass.opened',
  passDelivered: 'pass.delivered',
  passDirect: 'pass.direct',
  passAnswer: 'pass.answer-tunnelled',
  passAnswerBare: 'pass.answer-bare',
  passNotOurs: 'pass.not-ours',
  passTunnelNotOurs: 'pass.tunnel-not-ours',
  dropInactive: 'drop.inactive',
  dropBusy: 'drop.busy',
  dropDraining: 'drop.draining',
  dropOverRate: 'drop.over-rate',
  dropUntagged: 'drop.syn-untagged',
  dropTagForeign: 'drop.tag-foreign',
  dropTagStale: 'drop.tag-stale',
  dropTagForged: 'drop.tag-forged',
  dropSynPayload: 'drop.syn-with-payload',
  dropTableFull: 'drop.table-full',
  dropTunnelInner: 'drop.tunnel-inner',
  dropTunnelForged: 'drop.tunnel-forged',
  dropTunnelNoFlow: 'drop.tunnel-no-flow',
  dropAnswerNoFlow: 'drop.answer-no-flow',
});
