/** The life of a flow as a gateway or a replica sees it, and how long each part of it may be idle. */

import * as tcp from '../wire/tcp.js';
import type { FlowEntry } from './numbers.js';
import type { FlowTable } from './table.js';

/** The first packet went out; which machine carries the flow is open (SYN-SENT). */
export const UNDECIDED = 1;
/** The machine is known; the client has not answered it yet (SYN-RECEIVED at the machine). */
export const OPENING = 2;
export const ESTABLISHED = 3;
/** Both sides sent FIN, or one sent RST. */
export const CLOSING = 4;

/** Marks: what has been seen. */
export const CLIENT_FIN = 1;
export const SERVER_FIN = 2;
/** The SYN was sent again, once. */
export const RETRANSMITTED = 4;
/** And again, untagged: the path may drop the tag. */
export const UNTAGGED = 8;
/** The client has sent data; the server has. */
export const REQUESTED = 16;
export const ANSWERED = 32;
/** The kernel carries it (`src/fastpath/`). */
export const PINNED = 64;

export interface FlowTimeouts {
  /** RFC 7857: transitory while opening. */
  openingTimeoutMs: number;
  /** RFC 5382, REQ-5: at least 2 h 4 min. */
  establishedTimeoutMs: number;
  /** RFC 5382, REQ-5: transitory while closing, at least 4 min. */
  closingTimeoutMs: number;
}

/** The kernel's clock of a flow wraps after 52 days: it can tell an idle time of up to half of that, 25 days. */
const MOST_IDLE_MS = 25 * 86_400_000;

/** Idle timeouts in ticks, indexed by state. Longer ones than the kernel can tell are {@link MOST_IDLE_MS}. */
export function idleTicks(timeouts: FlowTimeouts, tickMs: number): Int32Array {
  const ticks = (ms: number): number => Math.ceil(Math.min(ms, MOST_IDLE_MS) / tickMs);
  const opening = ticks(timeouts.openingTimeoutMs);
  return Int32Array.of(
    0,
    opening,
    opening,
    ticks(timeouts.establishedTimeoutMs),
    ticks(timeouts.closingTimeoutMs),
  );
}

/** Moves a flow on by one packet's TCP flags (not a SYN's) and renews its time. */
export function advance(
  flows: FlowTable,
  e: FlowEntry,
  tcpFlags: number,
  fromClient: boolean,
  nowTick: number,
  idle: Int32Array,
): void {
  let state = flows.state[e];
  if ((tcpFlags & tcp.RST) !== 0) state = CLOSING;
  else {
    if ((tcpFlags & tcp.FIN) !== 0) flows.marks[e] |= fromClient ? CLIENT_FIN : SERVER_FIN;
    if ((flows.marks[e] & (CLIENT_FIN | SERVER_FIN)) === (CLIENT_FIN | SERVER_FIN)) state = CLOSING;
    else if (state === OPENING && fromClient && (tcpFlags & tcp.ACK) !== 0) state = ESTABLISHED;
  }
  flows.state[e] = state;
  flows.expiresAt[e] = nowTick + idle[state];
}
