/** Lists a router's flows for an operator, a part of the table at a time, so that no packet waits for the whole of it. */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { PINNED } from '../../src/flow/states.js';
import { type Address, format } from '../../src/wire/address.js';
import { ruleOf, stateOf } from './answer.js';
import { NONE } from './flows.js';
import type { MemberNumber } from './snapshot.js';
import type { SlrState } from './state.js';

/** Entries that one question looks at: a few milliseconds. */
const SCANNED = 32_768;
const TICK_MS = 100;
/** Words of a key: the ports, and the protocol (0 is TCP). */
const PORTS = 8;
const PROTOCOL = 9;

export interface ListQuestion {
  /** The first entry to look at. */
  from: number;
  /** The most rows of the answer. */
  limit: number;
  /** Only flows of this client's address. */
  client?: Address;
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

export interface ListAnswer {
  rows: FlowRow[];
  /** Where the next question goes on; -1 at the end of the table. */
  next: number;
}

export function listFlows(state: SlrState, q: ListQuestion): ListAnswer {
  const { flows } = state;
  const rows: FlowRow[] = [];
  const to = Math.min(flows.capacity, q.from + SCANNED);
  let e = q.from;
  for (; e < to && rows.length < q.limit; e++) {
    if (flows.state[e] === 0) continue;
    if (q.client?.some((word, w) => flows.keyWord(e, w) !== word)) continue;
    if (q.member !== undefined && flows.member[e] !== q.member) continue;
    rows.push(rowOf(state, e as FlowEntry));
  }
  return { rows, next: e < flows.capacity ? e : -1 };
}

function rowOf(state: SlrState, e: FlowEntry): FlowRow {
  const { flows } = state;
  const address = (at: number): string =>
    format([0, 1, 2, 3].map((w) => flows.keyWord(e, at + w)) as unknown as Address);
  const ports = flows.keyWord(e, PORTS);
  const left = (flows.expiresAt[e] - state.nowTick) | 0;
  return {
    client: `${address(0)}:${ports >>> 16}`,
    service: `${address(4)}:${ports & 0xffff}`,
    protocol: flows.keyWord(e, PROTOCOL) === 0 ? 'tcp' : 'udp',
    member: flows.member[e] === NONE ? null : flows.member[e],
    target: format([0, 1, 2, 3].map((w) => flows.target[4 * e + w]) as unknown as Address),
    state: stateOf(state, e),
    rule: ruleOf(state, e),
    idleMs: Math.max(0, state.idle[flows.state[e]] - left) * TICK_MS,
    bytes: state.pins?.bytes(e) ?? 0,
    isPinned: (flows.marks[e] & PINNED) !== 0,
  };
}
