/** Lists a gateway's flows for an operator. */
import { clientIn, idleMs, type Listed, listPart, type Part } from '../../src/flow/listing.js';
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

export interface FlowQuestion extends Part {
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

export type FlowAnswer = Listed<FlowRow>;

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
  const { winner } = state.flows;
  const isWanted = (e: FlowEntry): boolean => q.machine === undefined || winner[e] === q.machine;
  return listPart(state.flows, q, isWanted, (e) => rowOf(state, e));
}

function rowOf(state: GatewayState, e: FlowEntry): FlowRow {
  const { flows, machines } = state;
  return {
    ...clientIn(flows, e),
    service: machines.serviceOfFlow(flows, e),
    machine: flows.winner[e],
    state: STATES[flows.state[e]],
    idleMs: idleMs(flows, state.idle, state.nowTick, e),
    ageMs: flows.born[e] === 0 ? null : ((state.nowTick - flows.born[e]) | 0) * TICK_MS,
    bytes: flows.bytes[e] + (state.pinning?.pins.bytes(e) ?? 0),
    pinned: (flows.marks[e] & PINNED) !== 0,
  };
}
