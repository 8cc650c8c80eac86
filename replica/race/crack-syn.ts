/**
 * Decapsulates packets that are tunnelled to this replica: a SYN with a genuine tag, unless the replica is not up or
 * busy; in configuration C also the packets of a flow that such a SYN began. All other packets stay encapsulated.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". Here: [402–410].
 *
 * reads: verdict, protocol, the outer addresses. Sets: all columns that `validate` sets, to the inner packet's;
 * service; verdict.
 */
import type { FlowEntry } from '../../src/flow/numbers.js';
import { advance, ESTABLISHED, OPENING } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { dnatV4 } from '../../src/pipeline/translate.js';
import {
  INNER_MALFORMED,
  INNER_WHOLE,
  innerAt,
  isTunnel,
  lookInside,
  outOfTunnel,
} from '../../src/pipeline/tunnel.js';
import { FOREIGN, GENUINE, STALE } from '../../src/race/keyring.js';
import { stripTags } from '../../src/race/strip-tags.js';
import * as icmpv6 from '../../src/wire/icmpv6.js';
import { totalLength } from '../../src/wire/ip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tag from '../../src/wire/tag.js';
import * as tcp from '../../src/wire/tcp.js';
import { answerProbe } from './answer-probe.js';
import { reasons } from './reasons.js';
import { deliverError } from './relay-errors.js';
import { deliverError6 } from './relay-errors6.js';
import { type ReplicaFlows, TRANSLATE, TUNNEL } from './state.js';

export function crackSyn(state: ReplicaFlows): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && isTunnel(batch, i) && state.isToReplica(batch, i))
        crack(state, batch, i);
  };
}

/** The outer source of the packet in hand. */
const outer = new Int32Array(4);

function crack(state: ReplicaFlows, batch: Batch, i: number): void {
  const { flows } = state;
  for (let w = 0; w < 4; w++) outer[w] = batch.saddr[4 * i + w];
  const kind = lookInside(batch, i, ipv4.PROTO_TCP);
  if (kind === INNER_MALFORMED) return batch.drop(i, reasons.dropMalformed);
  if (kind !== INNER_WHOLE) {
    if (batch.family[i] === 6) {
      if (lookInside(batch, i, icmpv6.PROTO) === INNER_WHOLE) return deliverError6(state, batch, i);
      return batch.pass(i, reasons.passTunnelNotOurs);
    }
    if (lookInside(batch, i, ipv4.PROTO_ICMP) === INNER_WHOLE) return deliverError(state, batch, i);
    if (lookInside(batch, i, ipv4.PROTO_UDP) === INNER_WHOLE) return answerProbe(state, batch, i, outer[3]);
    return batch.pass(i, reasons.passTunnelNotOurs);
  }
  const service = state.services.ofDestination(batch, i);
  if (service < 0) return batch.pass(i, reasons.passTunnelNotOurs);

  flows.keyOf(batch, i);
  const flow = flows.find();
  const isSyn = tcp.isSyn(batch.tcpFlags[i]);
  const p = isSyn ? tag.find(batch.view, batch.l4[i]) : -1;
  batch.service[i] = service;
  if (p >= 0) return onTaggedSyn(state, batch, i, p, flow);

  // Not a tagged SYN: a packet of a flow in configuration C, whose outer and inner source are the client.
  if (state.serviceMode[service] !== TUNNEL || (flow < 0 && isSyn))
    return batch.drop(i, isSyn ? reasons.dropUntagged : reasons.dropTunnelInner);
  if (flow < 0) return batch.drop(i, reasons.dropTunnelNoFlow);
  for (let w = 0; w < 4; w++)
    if (outer[w] !== batch.saddr[4 * i + w]) return batch.drop(i, reasons.dropTunnelForged);
  if (!outOfTunnel(batch, i)) return;
  if (!isSyn) {
    advance(flows, flow, batch.tcpFlags[i], true, state.nowTick, state.idle);
    state.pin(flow, service);
  }
  batch.pass(i, reasons.passOpened);
}

/** @param p offset of the SYN's tag */
function onTaggedSyn(state: ReplicaFlows, batch: Batch, i: number, p: number, flow: FlowEntry): void {
  const { view } = batch;
  const inner = innerAt(batch, i);
  const l4 = batch.l4[i];
  // [404] dead or inactive: the SYN is ignored. [408] busy: it is dropped.
  if (state.state === 'busy') return batch.drop(i, reasons.dropBusy);
  if (state.state === 'draining') return batch.drop(i, reasons.dropDraining);
  if (state.state !== 'up') return batch.drop(i, reasons.dropInactive);
  const verdict = state.keyring.check(view, inner, l4, p, batch.service[i]);
  if (verdict === FOREIGN) return batch.drop(i, reasons.dropTagForeign);
  if (verdict === STALE) return batch.drop(i, reasons.dropTagStale);
  if (verdict !== GENUINE) return batch.drop(i, reasons.dropTagForged);
  if (inner + totalLength(view, inner) > l4 + tcp.dataOffset(view, l4))
    return batch.drop(i, reasons.dropSynPayload);
  if (!state.admits()) return batch.drop(i, reasons.dropOverRate);
  if (!state.opened.admits(view, p, state.nowTick)) return batch.drop(i, reasons.dropTagSeen);

  const service = batch.service[i];
  const mode = state.serviceMode[service];
  // In configuration A the server answers from the replica's own address, and no later packet passes here.
  if (mode !== TRANSLATE && !begin(state, batch, flow, tcp.seq(view, l4)))
    return batch.drop(i, reasons.dropTableFull);
  if (!outOfTunnel(batch, i)) return;
  stripTags(batch, i, p);
  if (mode === TRANSLATE) dnatV4(batch, i, state.address, state.serviceLocalPort[service]);
  // Between idle and busy the acknowledgement is delayed a little, so that replicas at nearly equal distances share
  // connections.
  if (state.penaltyUs > 0) {
    const { arena, at, length } = batch;
    if (state.hold.pushIn(arena, at[i], length[i], state.clock, state.penaltyUs, 0) >= 0)
      return batch.hold(i, reasons.holdLoaded);
  }
  batch.pass(i, reasons.passCracked);
}

/** Begins the flow's entry. An existing entry is kept, because the kernel itself answers a second SYN. */
function begin(state: ReplicaFlows, batch: Batch, known: FlowEntry, isn: number): boolean {
  const { flows } = state;
  const e = known >= 0 ? known : state.take(batch);
  if (e < 0) return false;
  // Takes over what the kernel has seen of the flow meanwhile.
  if (e === known) state.pins?.refresh(e);
  // A late copy of the SYN that began this flow: an established flow stays established.
  if (e === known && flows.isn[e] === isn && flows.state[e] === ESTABLISHED) return true;
  state.pins?.release(e);
  flows.isn[e] = isn;
  flows.state[e] = OPENING;
  flows.marks[e] = 0;
  flows.expiresAt[e] = state.nowTick + state.idle[OPENING];
  return true;
}
