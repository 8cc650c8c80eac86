/**
 * Writes the records of races into a ring in shared memory, without allocating. The control plane reads the ring on demand
 * (`record-read.ts`).
 */
import type { Clock } from '../device/clock.js';
import { MOST_RACED } from '../proximity/candidates.js';
import { HEADER } from '../wire/virtio.js';
import {
  BEGUN,
  CLIENT,
  keptNumber,
  LEAST_LATE,
  LIVE,
  MACHINE,
  MANNER,
  NUMBER,
  OTHER,
  PORT,
  REFUSED,
  REPEATED,
  REPLIES,
  REQUESTED_AT,
  RESET,
  RING_HEADER,
  SENDS,
  SENT,
  SERVICE,
  STRIDE,
  SYN,
  SYN_BYTES,
  SYN_LENGTH,
  VERDICTS,
  WINNER,
} from './record-layout.js';

/** The longest time that is told: a whole number of 31 bits is never boxed. */
const MOST_US = 2 ** 30;

/** Whether a record tells of this candidate. */
const isTold = (candidate: number): boolean => candidate >= 0 && candidate < MOST_RACED;

/** Writes the data plane's records into the ring. One writer. */
export class RaceWriter {
  readonly #races: number;
  readonly #bytes: Uint8Array;
  /** @param clock read here, because a time passed as an argument would be boxed: garbage for each race */
  constructor(
    readonly ring: Float64Array,
    readonly clock: Clock,
  ) {
    this.#races = Math.floor((ring.length - RING_HEADER) / STRIDE);
    this.#bytes = new Uint8Array(ring.buffer, ring.byteOffset, ring.byteLength);
  }

  /**
   * Begins the record of a race.
   * @param live one bit for each candidate that may answer, as far as this gateway knows
   * @returns the race's number, to be stored in the flow: below 2^31
   */
  begin(client: Int32Array, port: number, service: number, live: number): number {
    const begun = this.ring[BEGUN];
    const n = keptNumber(begun);
    const base = this.#base(n);
    const { ring } = this;
    // The stored SYN need not be cleared. A loop, because for so few words a call to `fill` takes longer.
    for (let w = base; w <= base + SYN_LENGTH; w++) ring[w] = 0;
    ring[base + NUMBER] = n;
    ring[base + SENT] = this.clock.nowUs;
    for (let w = 0; w < 4; w++) ring[base + CLIENT + w] = client[w];
    ring[base + PORT] = port;
    ring[base + SERVICE] = service;
    ring[base + WINNER] = -1;
    ring[base + LIVE] = live;
    ring[BEGUN] = begun + 1;
    return n | 0;
  }

  /** Notes that more candidates are asked now, and how. */
  asked(n: number, candidates: number, manner: number): void {
    const base = this.#find(n);
    if (base < 0) return;
    const { ring } = this;
    const fresh = candidates & ~ring[base + LIVE];
    for (let c = 0; c < MOST_RACED; c++)
      if (((fresh >>> c) & 1) !== 0) ring[base + SENDS + c] = this.clock.nowUs - ring[base + SENT];
    ring[base + LIVE] |= fresh;
    // After a retransmission times are no measurements, whichever candidates are asked.
    if (ring[base + MANNER] !== REPEATED) ring[base + MANNER] = manner;
  }

  /** Notes when a candidate's copy leaves, µs after the SYN. For an origin, which sends each copy at its own time. */
  leaves(n: number, candidate: number, delayUs: number): void {
    const base = this.#find(n);
    if (base >= 0 && isTold(candidate)) this.ring[base + SENDS + candidate] = delayUs;
  }

  /** Notes that the client's first data passes. */
  requested(n: number): void {
    const base = this.#find(n);
    if (base >= 0) this.ring[base + REQUESTED_AT] = this.clock.nowUs;
  }

  /** Whole µs since the client's first data; -1 when that is not known. */
  sinceRequestUs(n: number): number {
    const base = this.#find(n);
    if (base < 0 || this.ring[base + REQUESTED_AT] === 0) return -1;
    return Math.min(MOST_US, this.clock.nowUs - this.ring[base + REQUESTED_AT]) | 0;
  }

  /** Whether a candidate's answer is in the record already; false when the record was overwritten. */
  hasReplied(n: number, candidate: number): boolean {
    const base = this.#find(n);
    return base >= 0 && isTold(candidate) && this.ring[base + REPLIES + candidate] !== 0;
  }

  /** Stores the SYN with its virtio header, so that it can be sent again. `at` is its first IP byte. */
  keepSyn(n: number, from: Uint8Array, at: number, length: number): void {
    const base = this.#find(n);
    if (base < 0 || length + HEADER > SYN_BYTES) return;
    this.ring[base + SYN_LENGTH] = length;
    const to = (base + SYN) * 8;
    for (let b = 0; b < length + HEADER; b++) this.#bytes[to + b] = from[at - HEADER + b];
  }

  /** Length of the stored SYN; 0 when there is none. */
  synLength(n: number): number {
    const base = this.#find(n);
    return base < 0 ? 0 : this.ring[base + SYN_LENGTH];
  }

  /** Writes the stored SYN to `at`. Requires {@link synLength} to be above 0. */
  copySyn(n: number, to: Uint8Array, at: number): void {
    const base = this.#find(n);
    const from = (base + SYN) * 8;
    const length = this.ring[base + SYN_LENGTH] + HEADER;
    for (let b = 0; b < length; b++) to[at - HEADER + b] = this.#bytes[from + b];
  }

  /** One bit for each candidate asked so far; 0 when the record was overwritten. */
  asking(n: number): number {
    const base = this.#find(n);
    return base < 0 ? 0 : this.ring[base + LIVE];
  }

  /** Whole µs that a candidate took to acknowledge; -1 when it has not, or the record was overwritten. */
  tookUs(n: number, candidate: number): number {
    const base = this.#find(n);
    if (base < 0 || !isTold(candidate) || this.ring[base + REPLIES + candidate] === 0) return -1;
    return Math.min(MOST_US, this.ring[base + REPLIES + candidate] - this.ring[base + SENDS + candidate]) | 0;
  }

  /** Whole µs since a candidate was asked; 0 when the record was overwritten. */
  sinceAskedUs(n: number, candidate: number): number {
    const base = this.#find(n);
    if (base < 0) return 0;
    return (
      Math.min(MOST_US, this.clock.nowUs - this.ring[base + SENT] - this.ring[base + SENDS + candidate]) | 0
    );
  }

  /** Notes by how many µs the least late answer of a race came later than was expected. */
  lateBy(n: number, us: number): void {
    const base = this.#find(n);
    if (base >= 0) this.ring[base + LEAST_LATE] = us + 1;
  }

  /** By how many whole µs the least late answer came later than was expected; -1 when there is none. */
  leastLateUs(n: number): number {
    const base = this.#find(n);
    return base < 0 ? -1 : (this.ring[base + LEAST_LATE] - 1) | 0;
  }

  /** Notes that the SYN was retransmitted: then times since the first SYN are ambiguous (Karn's algorithm). */
  repeated(n: number): void {
    const base = this.#find(n);
    if (base >= 0) this.ring[base + MANNER] = REPEATED;
  }

  /** Whole µs that a candidate took to acknowledge, as of now; -1 when that cannot be measured. */
  roundTripUs(n: number, candidate: number): number {
    const base = this.#find(n);
    if (base < 0 || !isTold(candidate) || this.ring[base + MANNER] === REPEATED) return -1;
    // A second acknowledgement of the same machine is no measurement.
    if (this.ring[base + REPLIES + candidate] !== 0) return -1;
    return (this.clock.nowUs - this.ring[base + SENT] - this.ring[base + SENDS + candidate]) | 0;
  }

  /** Notes that the SYN left earlier, at this time of the monotonic clock. */
  began(n: number, atUs: number): void {
    const base = this.#find(n);
    if (base >= 0) this.ring[base + SENT] = atUs;
  }

  /** {@link won}, at an earlier time of the monotonic clock. */
  wonAt(n: number, candidate: number, machine: number, atUs: number): void {
    const base = this.#find(n);
    if (base < 0) return;
    this.won(n, candidate, machine);
    if (isTold(candidate)) this.ring[base + REPLIES + candidate] = atUs - this.ring[base + SENT];
  }

  /** @param machine the winner's number as a machine, by which it is named also where it is no candidate */
  won(n: number, candidate: number, machine: number): void {
    const base = this.#find(n);
    if (base < 0) return;
    this.ring[base + WINNER] = isTold(candidate) ? candidate : OTHER;
    this.ring[base + MACHINE] = machine;
    this.#reply(base, candidate, 0);
  }

  reset(n: number, candidate: number): void {
    this.#reply(this.#find(n), candidate, RESET);
  }

  refused(n: number, candidate: number): void {
    this.#reply(this.#find(n), candidate, REFUSED);
  }

  #reply(base: number, candidate: number, verdict: number): void {
    if (base < 0 || !isTold(candidate) || this.ring[base + REPLIES + candidate] !== 0) return;
    this.ring[base + REPLIES + candidate] = this.clock.nowUs - this.ring[base + SENT];
    this.ring[base + VERDICTS + candidate] = verdict;
  }

  #base(n: number): number {
    return RING_HEADER + (n % this.#races) * STRIDE;
  }

  #find(n: number): number {
    if (n < 0) return -1;
    const base = this.#base(n);
    return this.ring[base + NUMBER] === n ? base : -1;
  }
}
