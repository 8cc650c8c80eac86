/** Removes tags from a SYN, because no server may see a tag. */
import type { At } from '../flow/numbers.js';
import type { Batch } from '../pipeline/batch.js';
import * as tag from '../wire/tag.js';

/**
 * Removes the tag at `p` from packet `i`, and any other tags that a client added beside the gateway's. Malformed
 * options end the search.
 */
export function stripTags(batch: Batch, i: number, p: number): void {
  for (let q = p; q >= 0; q = tag.find(batch.view, batch.l4[i])) {
    batch.at[i] = tag.strip(batch.view, batch.arena, batch.at[i], batch.l4[i], q) as At;
    batch.l4[i] = (batch.l4[i] + tag.LENGTH) as At;
    batch.length[i] -= tag.LENGTH;
  }
}
