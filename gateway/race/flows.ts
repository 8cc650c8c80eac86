/** The gateway's translation table: flows that are raced, and who won them. */
import { type CandidateNumber, NO_CANDIDATE } from '../../src/flow/numbers.js';
import { SynFlows } from '../../src/race/flows.js';

export class RaceFlows extends SynFlows {
  /** Candidate that won, or -1. */
  readonly winner = this.column<CandidateNumber>(Int32Array, NO_CANDIDATE);
  /** Candidates that refused, a bit each. */
  readonly refused = this.column<number>(Int32Array, 0);
  /** Number of the flow's race record (`src/race/record.ts`), or -1. */
  readonly record = this.column<number>(Int32Array, -1);
}
