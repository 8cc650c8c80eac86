/**
 * [514] The reset of a loser: seq is its SYN-ACK's ack, no ACK flag. Only this exact form clears
 * SYN-RECEIVED at once; an inexact one in the window draws a challenge ACK (RFC 5961).
 */
import type { Batch } from '../../src/pipeline/batch.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import { fold, pseudoHeader, sum } from '../../src/wire/checksum.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import { type GatewayState, TUNNEL } from './state.js';

const TTL = 64;
const LENGTH = ipv4.MIN_HEADER + tcp.MIN_HEADER;

/**
 * Emits the reset that answers the acknowledgement whose (inner) IP header is at `at`: `[C→R]`, under C
 * `[C→R][C→S]`, to a losing origin `[C→S]`.
 */
export function emitReset(
  state: GatewayState,
  batch: Batch,
  at: number,
  l4: number,
  endpoint: number,
  reason: number,
): void {
  const { view } = batch;
  const client = ipv4.daddr(view, at);
  const server = ipv4.saddr(view, at);
  const sport = tcp.dport(view, l4);
  const dport = tcp.sport(view, l4);
  const seq = tcp.ackSeq(view, l4);
  const k = batch.emit(LENGTH, reason);
  const p = batch.at[k];
  ipv4.write(view, p, 0, LENGTH, 0, true, TTL, ipv4.PROTO_TCP, client, server);
  const t = p + ipv4.MIN_HEADER;
  tcp.write(view, t, sport, dport, seq, 0, tcp.RST);
  const pseudo = pseudoHeader(client, server, ipv4.PROTO_TCP, tcp.MIN_HEADER);
  tcp.setCheck(view, t, ~fold(sum(view, t, tcp.MIN_HEADER, pseudo)) & 0xffff);
  const tunnelled =
    state.serviceMode[state.endpointService[endpoint]] === TUNNEL &&
    state.endpointCandidate[endpoint] !== ORIGIN;
  if (!tunnelled) return;
  batch.at[k] = ipip.encapsulate(view, p, client, state.endpointAddress[endpoint], 0);
  batch.length[k] += ipip.OVERHEAD;
}

/** The reset for an acknowledgement whose entry has gone: stateless, exact, rate-limited. */
export function emitLateReset(
  state: GatewayState,
  batch: Batch,
  at: number,
  l4: number,
  endpoint: number,
): void {
  if (state.lateResets <= 0) {
    batch.counters[reasons.limitLateReset]++;
    return;
  }
  state.lateResets--;
  emitReset(state, batch, at, l4, endpoint, reasons.emitLateReset);
}
