/** The states of a flow at a gateway or a replica, and how long a flow may be idle in each. */

import * as tcp from '../wire/tcp.js';
import type { FlowEntry } from './numbers.js';
import type { FlowTable } from './table.js';

/** The first packet was sent; the machine that carries the flow is not decided yet (SYN-SENT). */
export const UNDECIDED = 1;
/** The machine is decided; the client has not answered it yet (SYN-RECEIVED at the machine). */
export const OPENING = 2;
export const ESTABLISHED = 3;
/** Both sides sent FIN. */
export const CLOSING = 4;
/**
 * One side sent RST. It may have been spoofed, or outside the receiver's window (RFC 5961), and then the connection
 * goes on: a later packet of the same side shows it, because a side that has sent a RST sends nothing after it.
 */
export const RESET_BY_CLIENT = 5;
export const RESET_BY_SERVER = 6;
/** A hook saw the RST, and tells when the connection goes on. */
export const RESET_IN_KERNEL = 7;
/** A flow of a protocol without connections, whose sender has sent more than one datagram. */
export const DATAGRAMS = 8;
/** Whether the flow has ended, as far as was seen. */
export const isClosing = (state: number): boolean => state >= CLOSING && state !== DATAGRAMS;

/** Marks: events that the flow has seen. */
export const CLIENT_FIN = 1;
export const SERVER_FIN = 2;
/** The SYN was retransmitted once. */
export const RETRANSMITTED = 4;
/** The SYN was retransmitted again, without a tag, because the path may drop tagged SYNs. */
export const UNTAGGED = 8;
/** The client has sent data (REQUESTED); the server has sent data (ANSWERED). */
export const REQUESTED = 16;
export const ANSWERED = 32;
/** The kernel carries the flow (`src/fastpath/`). */
export const PINNED = 64;
/** The machine that carries the flow has failed to answer the client's first data. */
export const FAILED = 128;

/** A client's first data that is not answered for this long has failed, in µs. */
export const STANDS_US = 3e6;

export interface FlowTimeouts {
  /** RFC 7857: transitory while opening. */
  openingTimeoutMs: number;
  /** RFC 5382, REQ-5: at least 2 h 4 min. */
  establishedTimeoutMs: number;
  /** RFC 5382, REQ-5: transitory while closing, at least 4 min. */
  closingTimeoutMs: number;
  /** RFC 4787, REQ-5: at least 2 min; the default here for a program that has no key for it. */
  datagramTimeoutMs?: number;
}

const DATAGRAM_TIMEOUT_MS = 300_000;

/** The kernel's clock of a flow wraps after 52 days, so it can measure an idle time of up to half of that, 25 days. */
const MOST_IDLE_MS = 25 * 86_400_000;

/** Idle timeouts in ticks, indexed by state. Timeouts longer than {@link MOST_IDLE_MS} are reduced to it. */
export function idleTicks(timeouts: FlowTimeouts, tickMs: number): Int32Array {
  const ticks = (ms: number): number => Math.ceil(Math.min(ms, MOST_IDLE_MS) / tickMs);
  const opening = ticks(timeouts.openingTimeoutMs);
  const closing = ticks(timeouts.closingTimeoutMs);
  return Int32Array.of(
    0,
    opening,
    opening,
    ticks(timeouts.establishedTimeoutMs),
    closing,
    closing,
    closing,
    closing,
    ticks(timeouts.datagramTimeoutMs ?? DATAGRAM_TIMEOUT_MS),
  );
}

/** Updates a flow's state by the TCP flags of one packet (not a SYN) and renews its expiry time. */
export function advance(
  flows: FlowTable,
  e: FlowEntry,
  tcpFlags: number,
  fromClient: boolean,
  nowTick: number,
  idle: Int32Array,
): void {
  let state = flows.state[e];
  const own = fromClient ? RESET_BY_CLIENT : RESET_BY_SERVER;
  if ((tcpFlags & tcp.RST) !== 0) state = state === CLOSING ? CLOSING : own;
  else {
    if (state === own) state = ESTABLISHED;
    if ((tcpFlags & tcp.FIN) !== 0) flows.marks[e] |= fromClient ? CLIENT_FIN : SERVER_FIN;
    if ((flows.marks[e] & (CLIENT_FIN | SERVER_FIN)) === (CLIENT_FIN | SERVER_FIN)) state = CLOSING;
    else if (state === OPENING && fromClient && (tcpFlags & tcp.ACK) !== 0) state = ESTABLISHED;
  }
  flows.state[e] = state;
  flows.expiresAt[e] = nowTick + idle[state];
}
