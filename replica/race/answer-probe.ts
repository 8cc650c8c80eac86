/**
 * Answers a gateway's path probe that came in a tunnel, `[P→R][P→R UDP]`, with `[R→P][R→P UDP]`, at once. Probes
 * outside a tunnel are answered by `src/probe/responder.ts`.
 *
 * reads: the inner packet's columns. Sets: verdict; emits the answer.
 */
import { type Batch, EXTRA_SLOT } from '../../src/pipeline/batch.js';
import { innerAt } from '../../src/pipeline/tunnel.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as probe from '../../src/wire/path-probe.js';
import type { SipKey } from '../../src/wire/siphash.js';
import * as udp from '../../src/wire/udp.js';
import { reasons } from './reasons.js';
import type { ReplicaFlows } from './state.js';

const TTL = 64;

/**
 * Requires `lookInside` to have found a whole UDP packet in packet `i`.
 * @param outerSource the tunnel's source, which must be the packet's own
 */
export function answerProbe(state: ReplicaFlows, batch: Batch, i: number, outerSource: number): void {
  const { view } = batch;
  const from = innerAt(batch, i);
  const length = udp.length(view, batch.l4[i]) - udp.HEADER;
  const payload = batch.l4[i] + udp.HEADER;
  const source = batch.saddrV4(i);
  const isProbe =
    batch.dport[i] === probe.PORT &&
    batch.daddrV4(i) === state.address &&
    probe.is(view, payload, length, probe.REQUEST);
  if (!isProbe) return batch.pass(i, reasons.passTunnelNotOurs);
  const key = keyOf(state, view, payload);
  const total = probe.replyLength(view, payload);
  const most = Math.min(ipv4.totalLength(view, from), EXTRA_SLOT - ipip.OVERHEAD);
  if (key === undefined || source !== outerSource || total < probe.LEAST || total > most)
    return batch.drop(i, reasons.dropProbeForged);
  const sport = batch.sport[i];
  const k = batch.emit(total, reasons.emitProbeAnswer);
  const at = batch.at[k];
  ipv4.write(view, at, 0, total, 0, true, TTL, ipv4.PROTO_UDP, state.address, source);
  udp.write(view, at + ipv4.MIN_HEADER, probe.PORT, sport, total - ipv4.MIN_HEADER);
  const to = at + probe.LEAST - probe.PAYLOAD;
  for (let b = 0; b < probe.PAYLOAD; b++) batch.arena[to + b] = batch.arena[payload + b];
  for (let b = at + probe.LEAST; b < at + total; b++) batch.arena[b] = 0;
  probe.toReply(view, to, key);
  batch.at[k] = ipip.encapsulate(view, at, state.address, source, 0) as typeof at;
  batch.length[k] += ipip.OVERHEAD;
  batch.drop(i, reasons.dropProbeAnswered);
}

/** The key with which a probe was made; undefined where none of the gateway's fits. */
function keyOf(state: ReplicaFlows, view: DataView, payload: number): SipKey | undefined {
  const gateway = probe.gatewayId(view, payload);
  const id = probe.keyId(view, payload);
  if (!probe.isPaired(view, payload)) {
    const key = state.keyring.keyOf(gateway, id);
    return key !== undefined && probe.isAuthentic(view, payload, key) ? key : undefined;
  }
  const pairs = state.keyring.pairsOf(gateway);
  for (let k = 0; k < pairs.length; k++)
    if (pairs[k].id === id && probe.isAuthentic(view, payload, pairs[k].key)) return pairs[k].key;
  return undefined;
}
