/** Lists flows for an operator, a part of the table at a time, so that no packet waits for the whole of it. */
import type { FlowEntry, MachineNumber, ServiceNumber } from '../../src/flow/numbers.js';
import {
  CLOSING,
  ESTABLISHED,
  OPENING,
  PINNED,
  RESET_BY_CLIENT,
  RESET_BY_SERVER,
  RESET_IN_KERNEL,
  UNDECIDED,
} from '../../src/flow/states.js';
import type { Address } from '../../src/wire/address.js';
import type { GatewayState } from './state.js';

/** Entries that one question looks at: a few milliseconds. */
const SCANNED = 32_768;

export interface FlowQuestion {
  /** The first entry to look at. */
  from: number;
  /** The most rows of the answer. */
  limit: number;
  /** Only flows of this client's address; undefined for all. */
  client?: Address;
  /** Only flows that this machine carries. */
  machine?: MachineNumber;
}

export interface FlowRow {
  client: Address;
  clientPort: number;
  /** -1 where no record names the service any more. */
  service: ServiceNumber;
  /** -1 while no machine carries the flow. */
  machine: MachineNumber;
  state: 'undecided' | 'opening' | 'established' | 'closing' | 'reset';
  /** Time without a packet, ms, as far as it is known here: the kernel's flows are read every few seconds. */
  idleMs: number;
  /** Time since its SYN, ms; null for a flow that was there before the gateway was started again. */
  ageMs: number | null;
  /** Of IP, both ways, as far as this process and the kernel saw them. */
  bytes: number;
  pinned: boolean;
}

export interface FlowAnswer {
  rows: FlowRow[];
  /** Where the next question goes on; -1 at the end of the table. */
  next: number;
}

const STATES: Record<number, FlowRow['state']> = {
  [UNDECIDED]: 'undecided',
  [OPENING]: 'opening',
  [ESTABLISHED]: 'established',
  [CLOSING]: 'closing',
  [RESET_BY_CLIENT]: 'reset',
  [RESET_BY_SERVER]: 'reset',
  [RESET_IN_KERNEL]: 'reset',
};
const TICK_MS = 100;

export function listFlows(state: GatewayState, q: FlowQuestion): FlowAnswer {
  const { flows } = state;
  const rows: FlowRow[] = [];
  const to = Math.min(flows.capacity, q.from + SCANNED);
  let e = q.from;
  for (; e < to && rows.length < q.limit; e++) {
    if (flows.state[e] === 0) continue;
    if (q.client?.some((word, w) => flows.keyWord(e, w) !== word)) continue;
    if (q.machine !== undefined && flows.winner[e] !== q.machine) continue;
    rows.push(rowOf(state, e as FlowEntry));
  }
  return { rows, next: e < flows.capacity ? e : -1 };
}

function rowOf(state: GatewayState, e: FlowEntry): FlowRow {
  const { flows, machines } = state;
  // Word 8 has the client's port and the service's.
  const ports = flows.keyWord(e, 8);
  const left = (flows.expiresAt[e] - state.nowTick) | 0;
  return {
    client: [0, 1, 2, 3].map((w) => flows.keyWord(e, w)) as unknown as Address,
    clientPort: ports >>> 16,
    service: machines.serviceOfFlow(flows, e),
    machine: flows.winner[e],
    state: STATES[flows.state[e]],
    idleMs: Math.max(0, state.idle[flows.state[e]] - left) * TICK_MS,
    ageMs: flows.born[e] === 0 ? null : ((state.nowTick - flows.born[e]) | 0) * TICK_MS,
    bytes: flows.bytes[e] + (state.pinning?.pins.bytes(e) ?? 0),
    pinned: (flows.marks[e] & PINNED) !== 0,
  };
}
