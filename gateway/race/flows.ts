/** The gateway's translation table: flows that are raced, and their winners. */
import { type FlowEntry, type MachineNumber, NO_MACHINE } from '../../src/flow/numbers.js';
import { SynFlows } from '../../src/flow/syn-flows.js';
import { ORIGIN_MACHINE } from '../../src/proximity/candidates.js';

export class RaceFlows extends SynFlows {
  /** The machine that won, or -1. */
  readonly winner = this.column<MachineNumber>(Int32Array, NO_MACHINE);
  /** One bit for each candidate that refused the connection. */
  readonly refused = this.column<number>(Int32Array, 0);
  /** Number of the flow's race record (`src/race/record.ts`), or -1. */
  readonly record = this.column<number>(Int32Array, -1);
  /** The sequence number of the winner's SYN-ACK; 0 where it is not known. */
  readonly irs = this.column<number>(Int32Array, 0);
  /** The tick at which the SYN came; 0 for a flow that this process took over from a former one. */
  readonly born = this.column<number>(Int32Array, 0);
  /** 1 once the client has reset an old connection on the tuple of this race, 2 once it has repeated its SYN after that. */
  readonly cleared = this.column<number>(Uint8Array, 0);
  /** How often a SYN of this race was sent again, after an old connection at a machine was cleared. */
  readonly again = this.column<number>(Uint8Array, 0);
  /** Bytes of IP that the process carried, both ways; those of a pinned flow are counted in the kernel. */
  readonly bytes = this.column<number>(Float64Array, 0);
  /** The ejected machine that is tried with this connection; 0 for none. */
  readonly trial = this.column<MachineNumber>(Int32Array, ORIGIN_MACHINE);

  /** The client's address as one number. */
  clientNumber(e: FlowEntry): number {
    let h = this.keyWord(e, 3);
    for (let w = 0; w < 3; w++) h ^= Math.imul(this.keyWord(e, w), 0x85ebca6b);
    return h;
  }
}
