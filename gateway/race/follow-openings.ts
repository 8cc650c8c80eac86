/**
 * SYNs that the kernel sent to their learned winner (`src/race/openings.ts`): each gets its entry and its record,
 * as if it had come this way; when no answer came in time it is taken back, and the others are asked.
 */

import { columnOf, type FlowEntry, NO_FLOW } from '../../src/flow/numbers.js';
import { PINNED, UNDECIDED } from '../../src/flow/states.js';
import type { Batch, Stage } from '../../src/pipeline/batch.js';
import { OPENINGS } from '../../src/race/kernel-layout.js';
import { TRANSLATE } from '../../src/race/modes.js';
import type { Openings } from '../../src/race/openings.js';
import { ALONE } from '../../src/race/record.js';
import { fold, pseudoHeader, sum } from '../../src/wire/checksum.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import * as virtio from '../../src/wire/virtio.js';
import { reasons } from './reasons.js';
import type { GatewayState } from './state.js';

/** Before anything is looked up: what the kernel opened must be known. */
export function followOpenings(state: GatewayState, following: Following): Stage {
  return (batch) => following.poll(state, batch);
}

/** Where a SYN that is taken back begins in its own little arena. */
const SYN_AT = 16;

export class Following {
  /** By slot: the flow's entry until it is settled, its record, and when the others are to be asked. */
  readonly #entry = columnOf<FlowEntry>(new Int32Array(OPENINGS).fill(NO_FLOW));
  readonly #record = new Int32Array(OPENINGS);
  readonly #dueUs = new Float64Array(OPENINGS);
  readonly #arena = new Uint8Array(SYN_AT + 128);
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
    // The connection that this tuple stood for has ended; the kernel's entry is the new one's.
    const old = flows.find();
    if (old >= 0) flows.remove(old);
    const service = machines.services.getV4(key[7], key[8] & 0xffff);
    const e = service < 0 ? NO_FLOW : flows.insert();
    if (e < 0) return;
    const candidate = this.openings.candidate(slot);
    const sentUs = this.openings.sentUs(slot);
    flows.isn[e] = this.openings.isn(slot);
    flows.marks[e] = PINNED;
    state.enter(e, UNDECIDED);
    const record = races.begin(key, key[8] >>> 16, service, 1 << candidate);
    races.began(record, sentUs);
    races.asked(record, 1 << candidate, ALONE);
    flows.record[e] = record;
    this.#entry[slot] = e;
    this.#record[slot] = record;
    this.#dueUs[slot] = sentUs + learned.hedgeUs(learned.entry(service, key[3]), candidate);
    batch.counters[reasons.kernelOpened]++;
  }

  #look(state: GatewayState, batch: Batch, slot: number): void {
    const { flows } = state;
    const e = this.#entry[slot];
    // Decided elsewhere: the winner's answer came through the TUN, or the client's SYN did, again.
    if (flows.state[e] !== UNDECIDED || flows.record[e] !== this.#record[slot]) {
      this.#entry[slot] = NO_FLOW;
      return;
    }
    if (this.openings.answeredUs(slot) === 0) {
      if (batch.clock.nowUs < this.#dueUs[slot]) return;
      // From here on the kernel knows nothing of it; what came until now counts.
      state.pinning?.pins.release(e);
    }
    this.#entry[slot] = NO_FLOW;
    if (this.openings.answeredUs(slot) > 0) this.#settle(state, e, slot);
    else this.#askOthers(state, batch, e, slot);
  }

  #settle(state: GatewayState, e: FlowEntry, slot: number): void {
    const { flows, learned, machines, races } = state;
    const candidate = this.openings.candidate(slot);
    const answeredUs = this.openings.answeredUs(slot);
    const service = machines.services.getV4(flows.keyWord(e, 7), flows.keyWord(e, 8) & 0xffff);
    races.wonAt(flows.record[e], candidate, answeredUs);
    // No round trip is learned from it: the kernel's clockings lack the TUN's share, which all others have, and
    // would make the one that is asked alone look nearer than its equals.
    learned.won(learned.entry(service, flows.keyWord(e, 3)), candidate);
    state.decide(e, machines.endpointOf(service, candidate), candidate);
    if ((flows.marks[e] & PINNED) === 0) state.pinning?.pins.pin(e, TRANSLATE);
  }

  /** The hedge, through the queue where all hedges wait: its time has come. */
  #askOthers(state: GatewayState, batch: Batch, e: FlowEntry, slot: number): void {
    const length = this.openings.synLength(slot);
    this.openings.copySyn(slot, this.#arena, SYN_AT);
    virtio.clear(this.#view, SYN_AT);
    if (!this.#complete(length)) return;
    if (state.hold.pushIn(this.#arena, SYN_AT, length, batch.clock, 0, e) >= 0)
      batch.counters[reasons.queuedHedge]++;
  }

  /** A local sender's SYN was copied with its checksum left open: filled in. A bad one is not sent again. */
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
