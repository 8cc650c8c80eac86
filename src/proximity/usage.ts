/**
 * Which candidates flows still have for their winner: the data plane walks its table, a part at each tick, and notes in
 * shared memory in which walk it last met each candidate. The control plane gives a number to another machine only when
 * whole walks have not met it.
 */
import { type CandidateNumber, type Column, type FlowEntry, NO_CANDIDATE } from '../flow/numbers.js';
import type { FlowTable } from '../flow/table.js';
import { layoutOf } from '../layout.js';

/** The most candidates that are told apart. */
export const MOST_CANDIDATES = 65_536;
/** In doubles. */
const words = layoutOf({
  /** Walks that were finished. */
  walks: 1,
  /** By candidate: one more than the walk in which a flow of it was met last; 0 for never. */
  met: MOST_CANDIDATES,
});
/** Walks that must pass without meeting a candidate: the one under way may have begun before its last flow. */
const WALKS_WITHOUT = 2;

export const usageBytes = words.stride * 8;

/** The data plane's side. One writer. */
export class UsageWriter {
  #hand = 0;

  /** @param table empty where the program does not ask */
  constructor(
    readonly table: Float64Array,
    readonly flows: FlowTable & { readonly winner: Column<CandidateNumber> },
  ) {}

  /** Walks on by this many entries. */
  walk(budget: number): void {
    const { table, flows } = this;
    if (table.length === 0) return;
    for (let k = 0; k < budget; k++) {
      const e = this.#hand as FlowEntry;
      if (flows.state[e] !== 0) {
        const c = flows.winner[e];
        if (c !== NO_CANDIDATE && c < MOST_CANDIDATES) table[words.met + c] = table[words.walks] + 1;
      }
      if (++this.#hand < flows.capacity) continue;
      this.#hand = 0;
      table[words.walks]++;
      return;
    }
  }
}

/** Walks finished so far. */
export const walksOf = (table: Float64Array): number => table[words.walks];

/**
 * Whether no flow has this candidate for its winner.
 * @param goneSince walks finished when it was last a candidate that could win
 */
export function isUnused(table: Float64Array, candidate: CandidateNumber, goneSince: number): boolean {
  const walks = table[words.walks];
  if (candidate >= MOST_CANDIDATES || walks < goneSince + WALKS_WITHOUT) return false;
  return table[words.met + candidate] <= walks - WALKS_WITHOUT;
}
