/** Answers what the control half asks a service-level router's data half, between two batches of packets. */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { CLOSING, DATAGRAMS, ESTABLISHED, OPENING, PINNED } from '../../src/flow/states.js';
import { type Address, format, isV4, parse } from '../../src/wire/address.js';
import { PROTO_TCP, PROTO_UDP } from '../../src/wire/ipv4.js';
import { NONE } from './flows.js';
import { type ListQuestion, listFlows } from './list-flows.js';
import type { SlrState } from './state.js';

/** A flow by its ends, both of one family: ADDRESS:PORT, or [ADDRESS]:PORT of IPv6. */
export interface FlowQuestion {
  client: string;
  service: string;
  protocol: 'tcp' | 'udp';
}
export type Question = 'slots' | FlowQuestion | { list: ListQuestion };

/** What a router knows of one flow. */
export interface FlowAnswer {
  /** Whether it is in the flow table. */
  isKnown: boolean;
  state: string;
  /** The member's number; null where a router beside told the flow, or there is none. */
  member: number | null;
  /** Where its packets go. */
  target: string;
  /** The rule by which they go there. */
  rule: string;
  /** Whether the kernel carries it. */
  isPinned: boolean;
  /** The member that its slot stands for now; null for none. */
  slotMember: number | null;
  /** Whether it came in a tunnel of a router above, and how often that was told where it goes. */
  fromAbove: boolean;
  told: number;
}

const STATES: Readonly<Record<number, string>> = {
  [OPENING]: 'opening',
  [ESTABLISHED]: 'open',
  [DATAGRAMS]: 'datagrams',
};

export function answer(state: SlrState, question: Question): unknown {
  if (question === 'slots') return state.hosts.slots();
  return 'list' in question ? listFlows(state, question.list) : flowOf(state, question);
}

/** @returns undefined for ends that are none */
function flowOf(state: SlrState, { client, service, protocol }: FlowQuestion): FlowAnswer | undefined {
  const [from, to] = [endOf(client), endOf(service)];
  if (from === undefined || to === undefined || isV4(from.address) !== isV4(to.address)) return undefined;
  const { flows } = state;
  const number = protocol === 'tcp' ? PROTO_TCP : PROTO_UDP;
  flows.key.set([...from.address, ...to.address]);
  flows.setPorts(from.port, to.port, number);
  const e = flows.find();
  const slot = state.hosts.memberOf(flows.key);
  const slotMember = slot === NONE ? null : slot;
  const bySlot = state.addressOf(slot, isV4(to.address));
  if (e < 0)
    return {
      ...{
        isKnown: false,
        state: 'unknown',
        member: slotMember,
        target: bySlot === undefined ? '' : textOf(bySlot, 0),
        isPinned: false,
        slotMember,
      },
      ...{ rule: 'not known: its next packet would go by its slot', fromAbove: false, told: 0 },
    };
  state.pins?.refresh(e);
  return {
    isKnown: true,
    state: stateOf(state, e),
    member: flows.member[e] === NONE ? null : flows.member[e],
    target: textOf(flows.target, 4 * e),
    rule: ruleOf(state, e),
    isPinned: (flows.marks[e] & PINNED) !== 0,
    slotMember,
    fromAbove: flows.upper[e] !== 0,
    told: flows.told[e],
  };
}

/** A flow's state in a word. */
export function stateOf({ flows }: SlrState, e: FlowEntry): string {
  const state = flows.state[e];
  return state >= CLOSING && state !== DATAGRAMS ? 'ended' : (STATES[state] ?? 'opening');
}

/** The rule by which a flow's packets go where they go. */
export function ruleOf({ flows }: SlrState, e: FlowEntry): string {
  if (flows.isGuess[e] === 1)
    return flows.tries[e] === 0
      ? 'it began here in its middle: guessed by its slot'
      : `looked for: ${flows.tries[e]} ${flows.tries[e] === 1 ? 'member' : 'members'} gave it back`;
  if (flows.isTold[e] === 1) return 'a router beside told it; no packet of it has come here';
  if (flows.isShort[e] === 1)
    return flows.member[e] === NONE ? 'a router beside told it' : 'a shortcut: its member told where it goes';
  return 'chosen by its first packet';
}

/** The address in four words from `at` on. */
const textOf = (words: Int32Array, at: number): string =>
  format([...words.subarray(at, at + 4)] as unknown as Address);

function endOf(text: string): { address: Address; port: number } | undefined {
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const address = parse(parts?.[1] ?? parts?.[2] ?? '');
  return address === undefined ? undefined : { address, port: Number(parts![3]) };
}
