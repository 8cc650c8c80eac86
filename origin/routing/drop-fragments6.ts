/**
 * Drops fragments of IPv6 that go to a virtual host. They are not put together, so no member could be chosen for all of
 * them; as packets of any router's they would go round between this one and the network until their hop limit ends.
 *
 * reads: verdict. Sets: verdict.
 */
import { type Batch, PASS, type Stage } from '../../src/pipeline/batch.js';
import { common } from '../../src/pipeline/reasons.js';
import { isV6 } from '../../src/wire/ip.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import { reasons } from './reasons.js';
import type { SlrState } from './state.js';

const destination = new Int32Array(4);

export function dropFragments6(state: SlrState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === PASS && isToHost(state, batch, i)) {
        batch.counters[common.passFragment]--;
        batch.drop(i, reasons.dropFragment);
      }
  };
}

/** Whether packet `i`, which `validate` passed on, is a fragment of IPv6 to a virtual host. */
function isToHost({ hosts }: SlrState, { view, at }: Batch, i: number): boolean {
  const p = at[i];
  if (!isV6(view, p) || !ipv6.walk(view, p) || ipv6.found.fragment < 0) return false;
  for (let w = 0; w < 4; w++) destination[w] = view.getInt32(p + ipv6.DADDR + 4 * w);
  // Where a virtual host has ports, later fragments were not steered here: they have none.
  return hosts.ofWords(destination, 0, 0, ipv6.found.protocol) >= 0;
}
