/**
 * Which candidates flows still have as their winner. The data plane walks its flow table, a part at each tick, and
 * writes to shared memory in which walk it last met each candidate. The control plane gives a number to another
 * machine only after whole walks that did not meet it.
 */
import { type CandidateNumber, type Column, type FlowEntry, NO_CANDIDATE } from '../flow/numbers.js';
import type { FlowTable } from '../flow/table.js';
import { layoutOf } from '../layout.js';

/** The number of candidates that can be told apart. */
export const MOST_CANDIDATES = 65_536;
/** Layout in doubles. */
const words = layoutOf({
  /** The number of finished walks. */
  walks: 1,
  /** By candidate: one more than the number of the last walk that met a flow of it; 0 for never. */
  met: MOST_CANDIDATES,
});
/**
 * Walks that must pass without meeting a candidate: the walk in progress may have begun before the candidate's last
 * flow.
 */
const WALKS_WITHOUT = 2;

export const usageBytes = words.stride * 8;

/** The data plane's side. One writer. */
export class UsageWriter {
  #hand = 0;

  /** @param table empty where the program does not use it */
  constructor(
    readonly table: Float64Array,
    readonly flows: FlowTable & { readonly winner: Column<CandidateNumber> },
  ) {}

  /** Continues the walk by this many entries. */
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

/** The number of walks finished so far. */
export const walksOf = (table: Float64Array): number => table[words.walks];

/**
 * Whether no flow has this candidate as its winner.
 * @param goneSince the number of finished walks when it last was a candidate that could win
 */
export function isUnused(table: Float64Array, candidate: CandidateNumber, goneSince: number): boolean {
  const walks = table[words.walks];
  if (candidate >= MOST_CANDIDATES || walks < goneSince + WALKS_WITHOUT) return false;
  return table[words.met + candidate] <= walks - WALKS_WITHOUT;
}
