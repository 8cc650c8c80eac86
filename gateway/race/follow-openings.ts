/**
 * Follows SYNs that the kernel sent to a learned winner (`src/race/openings.ts`). Each gets an entry and a record, as
 * if it had come through the TUN. When no answer comes in time the flow is taken back from the kernel, and the other
 * candidates are asked.
 *
 * reads: the slots that the kernel wrote; no packet. Sets: flows, records; no verdict.
 */

import { columnOf, type FlowEntry, NO_FLOW } from '../../src/flow/numbers.js';
import { PINNED, UNDECIDED } from '../../src/flow/states.js';
import type { Batch, Stage } from '../../src/pipeline/batch.js';
import { OPENINGS } from '../../src/race/kernel-layout.js';
import { TRANSLATE } from '../../src/race/modes.js';
import type { Openings } from '../../src/race/openings.js';
import { ALONE } from '../../src/race/record-layout.js';
import { fold, pseudoHeader, sum } from '../../src/wire/checksum.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import * as virtio from '../../src/wire/virtio.js';
import { reasons } from './reasons.js';
import type { GatewayState } from './state.js';

/** Runs before any lookup, because the flows that the kernel opened must be in the table first. */
export function followOpenings(state: GatewayState, following: Following): Stage {
  return (batch) => following.poll(state, batch);
}

/** Offset of a taken-back SYN in the small arena for it. */
const SYN_AT = 16;

export class Following {
  /**
   * By slot: the flow's entry until it is settled, its record, and the time at which the other candidates are asked.
   */
  readonly #entry = columnOf<FlowEntry>(new Int32Array(OPENINGS).fill(NO_FLOW));
  readonly #record = new Int32Array(OPENINGS);
  readonly #dueUs = new Float64Array(OPENINGS);
  readonly #arena = new Uint8Array(SYN_AT + 128);
  readonly #client = new Int32Array(4);
  readonly #view = new DataView(this.#arena.buffer);
  /** The first ticket that is not settled. */
  #tail: number;

  constructor(readonly openings: Openings) {
    this.#tail = openings.read;
  }

  poll(state: GatewayState, batch: Batch): void {
    const { openings } = this;
    for (let slot = openings.next(); slot >= 0; slot = openings.next()) this.#take(state, batch, slot);
    let settled = true;
    for (let n = this.#tail; n < openings.read; n++) {
      const slot = n % OPENINGS;
      if (this.#entry[slot] !== NO_FLOW) this.#look(state, batch, slot);
      if (this.#entry[slot] !== NO_FLOW) settled = false;
      if (settled) this.#tail = n + 1;
    }
    openings.finish(this.#tail);
  }

  #take(state: GatewayState, batch: Batch, slot: number): void {
    const { flows, races, learned, machines } = state;
    this.#entry[slot] = NO_FLOW;
    if (this.openings.synLength(slot) === 0) return;
    this.openings.readKey(slot, flows);
    const { key } = flows;
    // The former connection of this tuple has ended; the kernel's entry belongs to the new connection.
    const old = flows.find();
    if (old >= 0) flows.remove(old);
    const service = machines.services.getV4(key[7], key[8] & 0xffff);
    const e = service < 0 ? NO_FLOW : state.take(batch);
    if (e < 0) return;
    const candidate = machines.candidateOf(service, this.openings.machine(slot));
    const bit = candidate < 0 ? 0 : 1 << candidate;
    const sentUs = this.openings.sentUs(slot);
    flows.isn[e] = this.openings.isn(slot);
    flows.marks[e] = PINNED;
    state.enter(e, UNDECIDED);
    const record = races.begin(key, key[8] >>> 16, service, bit);
    races.began(record, sentUs);
    races.asked(record, bit, ALONE);
    flows.record[e] = record;
    state.evidence.asked(service, bit);
    this.#entry[slot] = e;
    this.#record[slot] = record;
    this.#dueUs[slot] = sentUs + learned.hedgeUs(learned.entry(service, key, 0), candidate);
    batch.counters[reasons.kernelOpened]++;
  }

  #look(state: GatewayState, batch: Batch, slot: number): void {
    const { flows } = state;
    const e = this.#entry[slot];
    // Decided by another stage: the winner's answer came through the TUN, or the client's retransmitted SYN did.
    if (flows.state[e] !== UNDECIDED || flows.record[e] !== this.#record[slot]) {
      this.#entry[slot] = NO_FLOW;
      return;
    }
    if (this.openings.answeredUs(slot) === 0) {
      if (batch.clock.nowUs < this.#dueUs[slot]) return;
      // From here on the kernel does not carry the flow; an answer that has come until now still counts.
      state.pinning?.pins.release(e);
    }
    this.#entry[slot] = NO_FLOW;
    if (this.openings.answeredUs(slot) > 0) this.#settle(state, e, slot);
    else this.#askOthers(state, batch, e, slot);
  }

  #settle(state: GatewayState, e: FlowEntry, slot: number): void {
    const { flows, learned, machines, races } = state;
    const machine = this.openings.machine(slot);
    const answeredUs = this.openings.answeredUs(slot);
    const service = machines.services.getV4(flows.keyWord(e, 7), flows.keyWord(e, 8) & 0xffff);
    const candidate = machines.candidateOf(service, machine);
    races.wonAt(flows.record[e], candidate, machine, answeredUs);
    state.evidence.replied(service, candidate, (answeredUs - this.openings.sentUs(slot)) | 0);
    // No round trip is learned from this answer, because the kernel's times do not include the TUN, as all others do.
    // A candidate that is asked alone would look nearer than others at the same distance.
    flows.clientOf(e, this.#client);
    learned.won(learned.entry(service, this.#client, 0), candidate);
    state.decide(e, service, machines.endpointOf(service, candidate), machine);
    if ((flows.marks[e] & PINNED) === 0) state.pinning?.pins.pin(e, TRANSLATE);
  }

  /** Fires the hedge, through the queue in which all hedges wait. */
  #askOthers(state: GatewayState, batch: Batch, e: FlowEntry, slot: number): void {
    const length = this.openings.synLength(slot);
    this.openings.copySyn(slot, this.#arena, SYN_AT);
    virtio.clear(this.#view, SYN_AT);
    if (!this.#complete(length)) return;
    if (state.hold.pushIn(this.#arena, SYN_AT, length, batch.clock, 0, e) >= 0)
      batch.counters[reasons.queuedHedge]++;
  }

  /** Fills in the checksum that a local sender's SYN left open. A SYN with a bad checksum is not sent again. */
  #complete(length: number): boolean {
    const view = this.#view;
    const l4 = SYN_AT + ipv4.MIN_HEADER;
    const size = length - ipv4.MIN_HEADER;
    const pseudo = pseudoHeader(ipv4.saddr(view, SYN_AT), ipv4.daddr(view, SYN_AT), ipv4.PROTO_TCP, size);
    if (fold(sum(view, l4, size, pseudo)) === 0xffff) return true;
    if (tcp.check(view, l4) !== fold(pseudo)) return false;
    tcp.setCheck(view, l4, 0);
    tcp.setCheck(view, l4, ~fold(sum(view, l4, size, pseudo)) & 0xffff);
    return true;
  }
}
