/** Puts this gateway's tag on a SYN (`src/wire/SPEC.md`). */
import type { At } from '../../src/flow/numbers.js';
import type { Batch } from '../../src/pipeline/batch.js';
import type { PairedKey } from '../../src/race/keyring.js';
import * as options from '../../src/wire/options.js';
import * as tag from '../../src/wire/tag.js';
import * as tcp from '../../src/wire/tcp.js';
import type { GatewayState } from './state.js';

/**
 * Requires well-formed options with room for the tag (`tag.fits`), no payload, and headroom.
 * @param pair the key that this gateway shares with the receiver; undefined for its own, which all receivers check
 */
export function putTag(state: GatewayState, batch: Batch, i: number, pair: PairedKey | undefined): void {
  const { view, arena } = batch;
  const at = batch.at[i];
  const l4 = batch.l4[i];
  const end = options.end(view, l4, tcp.dataOffset(view, l4));
  const { epoch, gatewayId } = state;
  const begin =
    pair === undefined
      ? tag.insert(view, arena, at, l4, end, state.key, state.keyId, epoch, gatewayId, state.tagVersion)
      : tag.insert(view, arena, at, l4, end, pair.key, pair.id, epoch, gatewayId, tag.PAIRED);
  batch.at[i] = begin as At;
  batch.l4[i] = (l4 - tag.LENGTH) as At;
  batch.length[i] += tag.LENGTH;
}
