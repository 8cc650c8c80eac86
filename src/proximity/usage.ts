/**
 * Which machines flows still have as their winner, and which services flows belong to. The data plane walks its flow
 * table, a part at each tick, and writes to shared memory in which walk it last met each of them. The control plane
 * gives a number to another machine or service only after whole walks that did not meet it.
 */
import {
  type Column,
  type FlowEntry,
  type MachineNumber,
  NO_MACHINE,
  type ServiceNumber,
} from '../flow/numbers.js';
import type { FlowTable } from '../flow/table.js';
import { layoutOf } from '../layout.js';

/** The number of machines that can be told apart. */
export const MOST_MACHINES = 65_536;
/** The number of services that can be told apart. */
export const MOST_SERVICES = 4096;
/** Layout in doubles. */
const words = layoutOf({
  /** The number of finished walks. */
  walks: 1,
  /** By machine: one more than the number of the last walk that met a flow of it; 0 for never. */
  met: MOST_MACHINES,
  /** By service, the same. */
  metService: MOST_SERVICES,
});
/** Walks that must pass without meeting a number: the walk in progress may have begun before its last flow. */
const WALKS_WITHOUT = 2;

export const usageBytes = words.stride * 8;

/** The data plane's side. One writer. */
export class UsageWriter {
  #hand = 0;

  /**
   * @param table empty where the program does not use it
   * @param serviceOf the service of a flow; -1 where that is not needed
   */
  constructor(
    readonly table: Float64Array,
    readonly flows: FlowTable & { readonly winner: Column<MachineNumber> },
    readonly serviceOf: (e: FlowEntry) => ServiceNumber,
  ) {}

  /** Continues the walk by this many entries. */
  walk(budget: number): void {
    const { table, flows } = this;
    if (table.length === 0) return;
    const present = table[words.walks] + 1;
    for (let k = 0; k < budget; k++) {
      const e = this.#hand as FlowEntry;
      if (flows.state[e] !== 0) {
        const c = flows.winner[e];
        if (c !== NO_MACHINE && c < MOST_MACHINES) table[words.met + c] = present;
        const s = this.serviceOf(e);
        if (s >= 0 && s < MOST_SERVICES) table[words.metService + s] = present;
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
 * Whether no flow has this machine as its winner.
 * @param goneSince the number of finished walks when it last could win
 */
export function isUnused(table: Float64Array, machine: MachineNumber, goneSince: number): boolean {
  return machine < MOST_MACHINES && isUnmet(table, words.met + machine, goneSince);
}

/**
 * Whether no flow belongs to this service.
 * @param goneSince the number of finished walks when it was last in the registry
 */
export function isServiceUnused(table: Float64Array, service: ServiceNumber, goneSince: number): boolean {
  return isUnmet(table, words.metService + service, goneSince);
}

function isUnmet(table: Float64Array, word: number, goneSince: number): boolean {
  const walks = table[words.walks];
  return walks >= goneSince + WALKS_WITHOUT && table[word] <= walks - WALKS_WITHOUT;
}
