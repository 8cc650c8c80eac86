/**
 * Connections that the kernel opens by itself: a hook sends a client's SYN to the winner that was learned for its
 * prefix, and writes a slot in shared memory. This file writes those winners as leases of one second. A process that
 * has died renews none, and then SYNs come to the TUN again.
 */

import { AWAKE, FLOW_KEY, flowKey, readFlowKey, word64, writeTimeNs } from '../fastpath/layout.js';
import { bpf } from '../fastpath/native.js';
import type { MachineNumber } from '../flow/numbers.js';
import type { FlowTable } from '../flow/table.js';
import type { Address } from '../wire/address.js';
import { V4_MAPPED } from '../wire/address.js';
import { OPENINGS, opening, tickets, winner } from './kernel-layout.js';

/** The pipeline's kernel handles that {@link Openings} uses: descriptors of the maps of these names. */
export interface OpeningHandles {
  leases: number;
  awake: number;
  openings: number;
  tickets: number;
}

/** How long a lease is valid unless it is written again. */
const LEASE_US = 1e6;
/** The third element of `awake`. */
const SINCE = Uint8Array.of(2, 0, 0, 0);

export class Openings {
  readonly #slots: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #done: Int32Array;
  readonly #key = new Uint8Array(FLOW_KEY);
  readonly #keyView = new DataView(this.#key.buffer);
  readonly #value = new Uint8Array(winner.stride);
  readonly #valueView = new DataView(this.#value.buffer);
  /** The number of the next ticket to read. */
  read: number;

  constructor(readonly fds: OpeningHandles) {
    const slots = bpf.map(fds.openings, OPENINGS * opening.stride);
    const shared = bpf.map(fds.tickets, 4096);
    this.#slots = slots;
    this.#view = new DataView(slots.buffer, slots.byteOffset, slots.byteLength);
    this.#words = new Int32Array(slots.buffer, slots.byteOffset, slots.byteLength / 4);
    this.#done = new Int32Array(shared.buffer, shared.byteOffset, tickets.stride / 4);
    // Skip tickets that a killed predecessor had not read: their flows are adopted with the pinned ones.
    this.read = word64(new DataView(shared.buffer, shared.byteOffset, tickets.stride), 0);
    this.finish(this.read);
  }

  /** The slot of the next ticket, or -1 when the kernel has not written it. */
  next(): number {
    const slot = this.read % OPENINGS;
    const ticket = Atomics.load(this.#words, (slot * opening.stride + opening.ticket) / 4);
    if (ticket !== ((this.read + 1) | 0)) return -1;
    this.read++;
    return slot;
  }

  /** Marks all tickets before `n` as finished: the kernel may use their slots again. */
  finish(n: number): void {
    this.#done[tickets.done / 4] = n | 0;
    this.#done[tickets.done / 4 + 1] = Math.floor(n / 2 ** 32);
  }

  /** Writes the slot's flow into the table's key. */
  readKey(slot: number, flows: FlowTable): void {
    readFlowKey(this.#view, slot * opening.stride, flows);
  }
  isn(slot: number): number {
    return this.#view.getInt32(slot * opening.stride + opening.isn, true);
  }
  /** The machine to which the kernel sent the SYN. */
  machine(slot: number): MachineNumber {
    return this.#view.getInt32(slot * opening.stride + opening.candidate, true) as MachineNumber;
  }
  /** µs of the monotonic clock. */
  sentUs(slot: number): number {
    return word64(this.#view, slot * opening.stride + opening.sentNs) / 1000;
  }
  /** µs of the monotonic clock; 0 while the connection is not answered. */
  answeredUs(slot: number): number {
    return word64(this.#view, slot * opening.stride + opening.answeredNs) / 1000;
  }
  /** Length of the SYN; 0 when the connection was not opened after all, and its SYN came to the TUN. */
  synLength(slot: number): number {
    return this.#view.getInt32(slot * opening.stride + opening.length, true);
  }
  /** Copies the client's unchanged SYN to `at`. */
  copySyn(slot: number, to: Uint8Array, at: number): void {
    const from = slot * opening.stride + opening.syn;
    const length = this.synLength(slot);
    for (let b = 0; b < length; b++) to[at + b] = this.#slots[from + b];
  }

  /** Lets the kernel send the SYNs of this prefix to this machine alone, for one second from now. */
  lease(
    prefix: number,
    service: Address,
    servicePort: number,
    target: number,
    targetPort: number,
    machine: number,
    nowUs: number,
  ): void {
    this.#writeKey(prefix, service, servicePort);
    const view = this.#valueView;
    view.setInt32(winner.target + 8, V4_MAPPED);
    view.setInt32(winner.target + 12, target);
    writeTimeNs(view, winner.untilNs, nowUs + LEASE_US);
    view.setInt32(winner.candidate, machine, true);
    view.setUint16(winner.port, targetPort);
    bpf.update(this.fds.leases, this.#key, FLOW_KEY, this.#value, winner.stride, 1);
  }

  /** Ends a lease at once, because its winner failed. */
  end(prefix: number, service: Address, servicePort: number): void {
    this.#writeKey(prefix, service, servicePort);
    bpf.remove(this.fds.leases, this.#key, FLOW_KEY, 1);
  }

  /**
   * Ends all leases, because the set of live candidates or that of suspects has changed: those that were given until this
   * time are not valid any more.
   */
  endAll(nowUs: number): void {
    // A lease of the same microsecond may have been given before.
    writeTimeNs(this.#since, 0, nowUs + 1);
    bpf.update(this.fds.awake, SINCE, 4, this.#sinceBytes, AWAKE, 1);
  }
  readonly #sinceBytes = new Uint8Array(AWAKE);
  readonly #since = new DataView(this.#sinceBytes.buffer);

  #writeKey(prefix: number, service: Address, servicePort: number): void {
    const view = this.#keyView;
    view.setInt32(flowKey.client + 8, V4_MAPPED);
    view.setInt32(flowKey.client + 12, prefix);
    for (let w = 0; w < 4; w++) view.setInt32(flowKey.service + 4 * w, service[w]);
    view.setUint16(flowKey.servicePort, servicePort);
  }
}
