/**
 * Follows the first request of each connection until the machine that won has answered it or has failed to: its first
 * byte came, it reset the connection, the connection ended, or the request stood for `STANDS_US`. For flows
 * through the TUN the stages call it; for pinned flows `fastpath/pins.ts` does, by what the hooks noted.
 *
 * A client's FIN alone is no failure, because a client may close its direction after its request (half-close, RFC
 * 9293, 3.6): such a request stands on, and fails when its time is over.
 */
import type { CandidateNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { ANSWERED, FAILED, isClosing, PINNED, REQUESTED, STANDS_US } from '../../src/flow/states.js';
import { TICK_US } from '../../src/flow/table.js';
import { ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import type { RaceWriter } from '../../src/race/record.js';
import { type EvidenceWriter, evidence } from './evidence.js';
import type { RaceFlows } from './flows.js';
import type { Machines } from './machines.js';
import type { Pinning } from './pinning.js';

const STANDS_TICKS = Math.ceil(STANDS_US / TICK_US);
/** The most requests that wait for their time; a request beyond is judged by its connection's end only. A power of 2. */
const MOST_STANDING = 65_536;

export class Requests {
  /** A ring in the order of time: the flow's entry, its record, and the tick at which the request has failed. */
  readonly #entry: Int32Array;
  readonly #record: Int32Array;
  readonly #due: Int32Array;
  readonly #mask: number;
  #head = 0;
  #tail = 0;
  pinning: Pinning | undefined;

  constructor(
    readonly flows: RaceFlows,
    readonly machines: Machines,
    readonly races: RaceWriter,
    readonly evidence: EvidenceWriter,
  ) {
    let size = 1;
    while (size < flows.capacity && size < MOST_STANDING) size *= 2;
    this.#entry = new Int32Array(size);
    this.#record = new Int32Array(size);
    this.#due = new Int32Array(size);
    this.#mask = size - 1;
  }

  /** The client's first data passes the TUN. */
  begin(e: FlowEntry, nowTick: number): void {
    const { flows } = this;
    this.races.requested(flows.record[e]);
    this.requested(e);
    if (((this.#head - this.#tail) | 0) > this.#mask) return;
    const slot = this.#head & this.#mask;
    this.#head = (this.#head + 1) | 0;
    this.#entry[slot] = e;
    this.#record[slot] = flows.record[e];
    this.#due[slot] = nowTick + STANDS_TICKS;
  }

  /** Counts a request, of a pinned flow too. */
  requested(e: FlowEntry): void {
    this.flows.marks[e] |= REQUESTED;
    const service = this.#serviceOf(e);
    this.evidence.add(service, this.#winnerOf(e, service), evidence.requested);
  }

  /** The machine's first data passes the TUN, or the client acknowledges it there. */
  answered(e: FlowEntry): void {
    const { flows, pinning } = this;
    const isPinned = (flows.marks[e] & PINNED) !== 0 && pinning !== undefined;
    // A hook may have carried the request, and even the first byte.
    if (isPinned) pinning.pins.refresh(e);
    const was = flows.marks[e];
    flows.marks[e] |= ANSWERED;
    if ((was & (REQUESTED | ANSWERED)) !== REQUESTED) return;
    let us = this.races.sinceRequestUs(flows.record[e]);
    if (us < 0 && isPinned) us = pinning.pins.refreshedUs();
    if (us >= 0) this.firstByte(e, us);
  }

  /** Counts a first byte, of a pinned flow too. */
  firstByte(e: FlowEntry, us: number): void {
    const { flows } = this;
    const service = this.#serviceOf(e);
    const winner = this.#winnerOf(e, service);
    this.evidence.firstByte(service, winner, flows.clientNumber(e), us);
    if (flows.trial[e] !== flows.winner[e] || flows.winner[e] <= 0) return;
    flows.trial[e] = ORIGIN_MACHINE;
    this.evidence.trialGood(service, winner, us);
  }

  /**
   * Counts a failure of the machine that carries the flow, of a pinned flow too.
   * @param byServer whether the server reset the connection
   */
  failed(e: FlowEntry, byServer: boolean): void {
    const { flows } = this;
    flows.marks[e] |= FAILED;
    const service = this.#serviceOf(e);
    const how = byServer ? evidence.reset : evidence.noFirstByte;
    this.evidence.failed(service, this.#winnerOf(e, service), flows.clientNumber(e), how);
    if (flows.trial[e] === flows.winner[e]) this.trialLost(e, service);
  }

  /** The machine on trial did not win, or failed. Does nothing for a flow without a trial. */
  trialLost(e: FlowEntry, service: ServiceNumber): void {
    const { flows } = this;
    const on = flows.trial[e];
    if (on === ORIGIN_MACHINE) return;
    flows.trial[e] = ORIGIN_MACHINE;
    this.evidence.add(service, this.machines.candidateOf(service, on), evidence.trialsBad);
  }

  /** The server's RST passes the TUN. Call it before the flow's state changes. */
  resetByServer(e: FlowEntry): void {
    if (isClosing(this.flows.state[e]) || !this.#isOpen(e)) return;
    this.failed(e, true);
  }

  /** The connection has ended; a request without an answer has failed. */
  ended(e: FlowEntry): void {
    if ((this.flows.marks[e] & REQUESTED) !== 0 && this.#isOpen(e)) this.failed(e, false);
  }

  /** This process did not read the TUN for so long: answers wait there, and requests have that much longer. */
  postpone(ticks: number): void {
    for (let n = this.#tail; n !== this.#head; n = (n + 1) | 0)
      this.#due[n & this.#mask] = (this.#due[n & this.#mask] + ticks) | 0;
  }

  /** Runs ten times a second: a request that has stood for too long has failed. */
  tick(nowTick: number): void {
    const { flows } = this;
    while (this.#tail !== this.#head) {
      const slot = this.#tail & this.#mask;
      if (((nowTick - this.#due[slot]) | 0) < 0) return;
      this.#tail = (this.#tail + 1) | 0;
      const e = this.#entry[slot] as FlowEntry;
      // The entry may belong to another connection by now.
      if (flows.state[e] !== 0 && flows.record[e] === this.#record[slot]) this.ended(e);
    }
  }

  /** Whether neither data nor a failure was seen of the machine, by the hooks either. */
  #isOpen(e: FlowEntry): boolean {
    const { marks } = this.flows;
    if ((marks[e] & (ANSWERED | FAILED)) !== 0) return false;
    if ((marks[e] & PINNED) !== 0) this.pinning?.pins.refresh(e);
    return (marks[e] & (ANSWERED | FAILED)) === 0;
  }

  #serviceOf(e: FlowEntry): ServiceNumber {
    return this.machines.serviceOfFlow(this.flows, e);
  }

  /** The candidate that carries the flow; -1 where the machine is none any more, and is not judged. */
  #winnerOf(e: FlowEntry, service: ServiceNumber): CandidateNumber {
    return this.machines.candidateOf(service, this.flows.winner[e]);
  }
}
