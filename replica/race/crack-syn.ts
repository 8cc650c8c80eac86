/**
 * [402–410] Opens what comes tunnelled to this replica: a SYN with a genuine tag, unless the replica is
 * dead or busy; under C also the packets of a flow that such a SYN began. All else stays shut.
 */
import { advance, ESTABLISHED, OPENING } from '../../src/flow/states.js';
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { dnat } from '../../src/pipeline/translate.js';
import { INNER_MALFORMED, INNER_TCP, inspectInner } from '../../src/pipeline/validate.js';
import { FOREIGN, GENUINE, STALE } from '../../src/race/keyring.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tag from '../../src/wire/tag.js';
import * as tcp from '../../src/wire/tcp.js';
import { reasons } from './reasons.js';
import { type ReplicaFlows, TRANSLATE, TUNNEL } from './state.js';

export function crackSyn(state: ReplicaFlows): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (
        batch.verdict[i] === OPEN &&
        batch.protocol[i] === ipv4.PROTO_IPIP &&
        ipv4.daddr(batch.view, batch.at[i]) === state.address
      )
        crack(state, batch, i);
  };
}

function crack(state: ReplicaFlows, batch: Batch, i: number): void {
  const { view } = batch;
  const outer = batch.at[i];
  const inner = batch.l4[i];
  const kind = inspectInner(view, outer, inner);
  if (kind === INNER_MALFORMED) return batch.drop(i, reasons.dropMalformed);
  if (kind !== INNER_TCP) return batch.pass(i, reasons.passTunnelNotOurs);
  const l4 = inner + ipv4.headerLength(view, inner);
  const service = state.services.getV4(ipv4.daddr(view, inner), tcp.dport(view, l4));
  if (service < 0) return batch.pass(i, reasons.passTunnelNotOurs);

  state.flows.keyV4(
    ipv4.saddr(view, inner),
    tcp.sport(view, l4),
    ipv4.daddr(view, inner),
    tcp.dport(view, l4),
  );
  const flow = state.flows.find();
  const flags = tcp.flags(view, l4);
  const p = tcp.isSyn(flags) ? tag.find(view, l4) : -1;
  batch.service[i] = service;
  if (p >= 0) return onTaggedSyn(state, batch, i, inner, l4, p, flow);

  // Not a tagged SYN: C's packets of a flow, whose outer and inner source are the client.
  if (state.serviceMode[service] !== TUNNEL || (flow < 0 && tcp.isSyn(flags)))
    return batch.drop(i, tcp.isSyn(flags) ? reasons.dropUntagged : reasons.dropTunnelInner);
  if (flow < 0) return batch.drop(i, reasons.dropTunnelNoFlow);
  if (ipv4.saddr(view, outer) !== ipv4.saddr(view, inner)) return batch.drop(i, reasons.dropTunnelForged);
  if (!open(batch, i, l4)) return;
  if (!tcp.isSyn(flags)) {
    advance(state.flows, flow, flags, true, state.nowTick, state.idle);
    state.pin(flow, service);
  }
  batch.pass(i, reasons.passOpened);
}

function onTaggedSyn(
  state: ReplicaFlows,
  batch: Batch,
  i: number,
  inner: number,
  l4: number,
  p: number,
  flow: number,
): void {
  const { view } = batch;
  // [404] dead or inactive: nothing happens. [408] busy: dropped.
  if (state.state === 'busy') return batch.drop(i, reasons.dropBusy);
  if (state.state === 'draining') return batch.drop(i, reasons.dropDraining);
  if (state.state !== 'up') return batch.drop(i, reasons.dropInactive);
  const verdict = state.keyring.check(view, inner, l4, p);
  if (verdict === FOREIGN) return batch.drop(i, reasons.dropTagForeign);
  if (verdict === STALE) return batch.drop(i, reasons.dropTagStale);
  if (verdict !== GENUINE) return batch.drop(i, reasons.dropTagForged);
  if (inner + ipv4.totalLength(view, inner) > l4 + tcp.dataOffset(view, l4))
    return batch.drop(i, reasons.dropSynPayload);
  if (!state.admits()) return batch.drop(i, reasons.dropOverRate);

  const mode = state.serviceMode[batch.service[i]];
  // Under A the replica's own address answers, and nothing more passes through here.
  if (mode !== TRANSLATE && !begin(state, flow, tcp.seq(view, l4)))
    return batch.drop(i, reasons.dropTableFull);
  if (!open(batch, i, l4)) return;
  // Also one that a client put beside its gateway's: no server ever sees one.
  for (let q = p; q >= 0; q = tag.find(view, batch.l4[i])) {
    batch.at[i] = tag.strip(view, batch.arena, batch.at[i], batch.l4[i], q);
    batch.l4[i] += tag.LENGTH;
    batch.length[i] -= tag.LENGTH;
  }
  if (mode === TRANSLATE) dnat(batch, i, state.address, state.serviceLocalPort[batch.service[i]]);
  // Between idle and busy the acknowledgement is late by a little, so that near-equal replicas share.
  if (state.penaltyUs > 0) {
    const held = state.hold.pushIn(
      batch.arena,
      batch.at[i],
      batch.length[i],
      state.clock,
      state.penaltyUs,
      0,
    );
    if (held >= 0) return batch.hold(i, reasons.holdLoaded);
  }
  batch.pass(i, reasons.passCracked);
}

/** The flow's entry. One that exists lives on: the kernel knows what to answer a second SYN. */
function begin(state: ReplicaFlows, known: number, isn: number): boolean {
  const { flows } = state;
  const e = known >= 0 ? known : flows.insert();
  if (e < 0) return false;
  // What the kernel has seen of it meanwhile.
  if (e === known) state.pins?.refresh(e);
  // A late copy of the SYN that began it: established it stays.
  if (e === known && flows.isn[e] === isn && flows.state[e] === ESTABLISHED) return true;
  state.pins?.release(e);
  flows.isn[e] = isn;
  flows.state[e] = OPENING;
  flows.marks[e] = 0;
  flows.expiresAt[e] = state.nowTick + state.idle[OPENING];
  return true;
}

/** [410] Removes the outer header. Drops the packet where RFC 6040 says so. */
function open(batch: Batch, i: number, l4: number): boolean {
  const opened = ipip.decapsulate(batch.view, batch.at[i]);
  if (opened === ipip.ECN_DROP) {
    batch.drop(i, reasons.dropEcn);
    return false;
  }
  batch.at[i] = opened;
  batch.opened[i] = 1;
  batch.length[i] = ipv4.totalLength(batch.view, opened);
  batch.l4[i] = l4;
  return true;
}
