/** The flows of a service-level router. */

import { SynFlows } from '../../src/flow/syn-flows.js';
import type { MemberNumber } from './snapshot.js';

/** No member; no router above. */
export const NONE = 0xffff as MemberNumber;

/** A guess that seems to be right. If it is given back all the same, another member is looked for. */
export const SURE = 2;

export class SlrFlows extends SynFlows {
  /** The member that was chosen. */
  readonly member = this.column<MemberNumber>(Uint16Array, NONE);
  /** One more than the place of the router above from whose tunnel the flow came; 0 for none. */
  readonly upper = this.column<number>(Uint8Array, 0);
  /** How often the router above was told where this flow goes. */
  readonly told = this.column<number>(Uint8Array, 0);
  /** When it was told last, in ticks; of a guess when that was made. */
  readonly toldAt = this.column<number>(Int32Array, 0);
  /** 1: the target is one that the member told. */
  readonly isShort = this.column<number>(Uint8Array, 0);
  /** 1: a neighbour told it, and no packet of it has come here. */
  readonly isTold = this.column<number>(Uint8Array, 0);
  /** 1: it began here in its middle, so where it goes is a guess by its slot; {@link SURE}: nothing has come back since. */
  readonly isGuess = this.column<number>(Uint8Array, 0);
  /** How many members have given it back. */
  readonly tries = this.column<number>(Uint16Array, 0);
}
