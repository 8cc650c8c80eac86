/**
 * The reset of a loser: its sequence number is the acknowledgement number of the loser's SYN-ACK, and it has no ACK
 * flag. Only this exact form clears SYN-RECEIVED at once; a reset with another number in the window is answered with
 * a challenge ACK (RFC 5961).
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [514].
 */
import type { At } from '../../src/flow/numbers.js';
import type { Batch } from '../../src/pipeline/batch.js';
import { intoTunnel6 } from '../../src/pipeline/tunnel.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import { fold, sum } from '../../src/wire/checksum.js';
import * as ip from '../../src/wire/ip.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import { type GatewayState, TUNNEL } from './state.js';

const TTL = 64;
/** The reset's source and destination, as words. */
const ends = new Int32Array(8);

/**
 * Emits the reset that answers acknowledgement `i`: `[C→R]`; in configuration C `[C→R][C→S]`; to a losing origin
 * `[C→S]`.
 * @param at the acknowledgement's own IP header, which is inside a tunnel where the packet is still encapsulated
 */
export function emitReset(state: GatewayState, batch: Batch, i: number, at: At, reason: number): void {
  const { view } = batch;
  const { machines } = state;
  const l4 = batch.l4[i];
  const v6 = batch.family[i] === 6;
  const header = v6 ? ipv6.HEADER : ipv4.MIN_HEADER;
  const length = header + tcp.MIN_HEADER;
  const k = batch.emit(length, reason);
  const p = batch.at[k];
  const client = v6 ? 0 : ipv4.daddr(view, at);
  if (v6) {
    for (let w = 0; w < 4; w++) {
      ends[w] = batch.daddr[4 * i + w];
      ends[4 + w] = batch.saddr[4 * i + w];
    }
    ipv6.write(view, p, 0, length, TTL, ipv4.PROTO_TCP, ends, 0, 4);
  } else ipv4.write(view, p, 0, length, 0, true, TTL, ipv4.PROTO_TCP, client, ipv4.saddr(view, at));
  const t = p + header;
  tcp.write(view, t, tcp.dport(view, l4), tcp.sport(view, l4), tcp.ackSeq(view, l4), 0, tcp.RST);
  const pseudo = ip.pseudoHeader(view, p, ipv4.PROTO_TCP, tcp.MIN_HEADER);
  tcp.setCheck(view, t, ~fold(sum(view, t, tcp.MIN_HEADER, pseudo)) & 0xffff);
  const endpoint = batch.endpoint[i];
  const tunnelled =
    machines.serviceMode[machines.endpointService[endpoint]] === TUNNEL &&
    machines.endpointCandidate[endpoint] !== ORIGIN;
  if (!tunnelled) return;
  if (v6) return intoTunnel6(batch, k, ends, 0, machines.endpointWords, 4 * endpoint);
  batch.at[k] = ipip.encapsulate(view, p, client, machines.endpointV4(endpoint), 0) as At;
  batch.length[k] += ipip.OVERHEAD;
}

/** The reset for acknowledgement `i` whose entry no longer exists: stateless, exact, rate-limited. */
export function emitLateReset(state: GatewayState, batch: Batch, i: number, at: At): void {
  if (state.lateResets <= 0) {
    batch.counters[reasons.limitLateReset]++;
    return;
  }
  state.lateResets--;
  emitReset(state, batch, i, at, reasons.emitLateReset);
}
