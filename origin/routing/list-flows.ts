/** Lists a router's flows for an operator. */
import { clientIn, idleMs, type Listed, listPart, type Part, serviceIn } from '../../src/flow/listing.js';
import type { FlowEntry } from '../../src/flow/numbers.js';
import { PINNED } from '../../src/flow/states.js';
import { type Address, format, formatEndpoint } from '../../src/wire/address.js';
import { ruleOf, stateOf } from './answer.js';
import { NONE } from './flows.js';
import type { MemberNumber } from './snapshot.js';
import type { SlrState } from './state.js';

export interface ListQuestion extends Part {
  /** Only flows of this member. */
  member?: MemberNumber;
}

export interface FlowRow {
  /** ADDRESS:PORT. */
  client: string;
  service: string;
  protocol: 'tcp' | 'udp';
  /** The member's number; null where a router beside told the flow. */
  member: number | null;
  /** Where its packets go. */
  target: string;
  state: string;
  rule: string;
  /** Time without a packet, ms, as far as it is known here: the kernel's flows are read every few seconds. */
  idleMs: number;
  /** Of IP, from the client, as far as the kernel carried them. */
  bytes: number;
  isPinned: boolean;
}

export function listFlows(state: SlrState, q: ListQuestion): Listed<FlowRow> {
  const { member } = state.flows;
  const isWanted = (e: FlowEntry): boolean => q.member === undefined || member[e] === q.member;
  return listPart(state.flows, q, isWanted, (e) => rowOf(state, e));
}

function rowOf(state: SlrState, e: FlowEntry): FlowRow {
  const { flows } = state;
  const { client, clientPort } = clientIn(flows, e);
  const { service, servicePort } = serviceIn(flows, e);
  return {
    client: formatEndpoint(client, clientPort),
    service: formatEndpoint(service, servicePort),
    protocol: flows.isTcp(e) ? 'tcp' : 'udp',
    member: flows.member[e] === NONE ? null : flows.member[e],
    target: format([0, 1, 2, 3].map((w) => flows.target[4 * e + w]) as unknown as Address),
    state: stateOf(state, e),
    rule: ruleOf(state, e),
    idleMs: idleMs(flows, state.idle, state.nowTick, e),
    bytes: state.pins?.bytes(e) ?? 0,
    isPinned: (flows.marks[e] & PINNED) !== 0,
  };
}
