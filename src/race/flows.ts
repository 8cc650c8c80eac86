/** Flows that begin with a SYN, with the column that every role of the race adds. */
import { FlowTable } from '../flow/table.js';

export class SynFlows extends FlowTable {
  /** The SYN's initial sequence number. */
  readonly isn = this.column<number>(Int32Array, 0);
}
