/** The counters of a server's pipeline in service-level routing. */
import { defineReasons } from '../../src/pipeline/reasons.js';

export const reasons = defineReasons({
  passOpened: 'pass.opened',
  passTunnelNotOurs: 'pass.tunnel-not-ours',
  dropTunnelInner: 'drop.tunnel-inner',
});
