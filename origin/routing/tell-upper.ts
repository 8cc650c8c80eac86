/** Tells the router above where a flow goes that came in its tunnel. */
import type { FlowEntry } from '../../src/flow/numbers.js';
import type { Batch } from '../../src/pipeline/batch.js';
import * as shortcut from '../../src/routing/shortcut.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as udp from '../../src/wire/udp.js';
import { reasons } from './reasons.js';
import type { SlrState } from './state.js';

const TTL = 64;
const MOST_TOLD = 255;

/** Emits a shortcut for an entry whose column `upper` is not 0. */
export function tellUpper(state: SlrState, batch: Batch, e: FlowEntry): void {
  const { flows } = state;
  const upper = state.uppers[flows.upper[e] - 1];
  if (upper === undefined || upper.address === 0) return;
  const total = ipv4.MIN_HEADER + udp.HEADER + shortcut.LENGTH;
  const k = batch.emit(total, reasons.emitShortcut);
  const { view } = batch;
  const at = batch.at[k];
  ipv4.write(view, at, 0, total, 0, true, TTL, ipv4.PROTO_UDP, state.address, upper.address);
  // Without a checksum: the MAC covers more.
  udp.write(
    view,
    at + ipv4.MIN_HEADER,
    shortcut.SHORTCUT_PORT,
    shortcut.SHORTCUT_PORT,
    udp.HEADER + shortcut.LENGTH,
  );
  shortcut.write(view, at + ipv4.MIN_HEADER + udp.HEADER, upper.next, flows, e, upper.key);
  upper.next = (upper.next + 1) | 0;
  flows.told[e] = Math.min(MOST_TOLD, flows.told[e] + 1);
  flows.toldAt[e] = state.nowTick;
}
