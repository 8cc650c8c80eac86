/**
 * What the gateway has seen each machine do, by service and machine: counters in shared memory that only rise. The
 * data plane alone writes them, at a SYN, a SYN-ACK, a connection's first data and its end. The control plane reads
 * them (`judge.ts`). A machine is judged by a connection's first request only.
 */
import type { CandidateNumber, ServiceNumber } from '../../src/flow/numbers.js';
import { layoutOf } from '../../src/layout.js';
import { MOST_RACED } from '../../src/proximity/candidates.js';

/**
 * Groups of clients that are told apart, so that one client alone cannot get a machine ejected, for its neighbours neither. A
 * client's group is a hash of its address; two of one group count as one client, which only makes the judge more careful.
 */
export const GROUPS = 8;

/** The counters of one group of clients, in doubles. */
export const groupOf = layoutOf({ firstBytes: 1, sumUs: 1, failed: 1 });

/**
 * The upper bounds of the buckets in which times are counted, µs: of a reply (from a SYN to its acknowledgement), and of
 * a first byte (from a request to the first data).
 */
export const BOUNDS_US = [
  1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
] as const;
const BUCKETS = BOUNDS_US.length + 1;

/** The counters of one machine for one service, in doubles. */
export const evidence = layoutOf({
  /** Connections whose SYN was sent to it. */
  asked: 1,
  /** Connections whose SYN it acknowledged, as the winner or not. */
  answered: 1,
  /** Connections whose SYN it refused (RST). */
  refused: 1,
  won: 1,
  /** Connections on which the client has sent data. */
  requested: 1,
  /** Connections on which data came back, and the sum of the times from request to data (µs). */
  firstBytes: 1,
  sumUs: 1,
  /** Requests that stood unanswered for `STANDS_US`, or whose connection ended before. */
  noFirstByte: 1,
  /** Established connections that it reset before its first byte. */
  reset: 1,
  /** Trials: connections given to it while it was ejected; how they ended; the last good one's time to first byte, µs. */
  trials: 1,
  trialsGood: 1,
  trialsBad: 1,
  trialUs: 1,
  /** The sum of the measured times from a SYN to its acknowledgement (µs); and the buckets of both times. */
  replySumUs: 1,
  replies: BUCKETS,
  firstByteTimes: BUCKETS,
  groups: GROUPS * groupOf.stride,
});

/** The counters that status and metrics show, in order. */
export const SHOWN = [
  'asked',
  'answered',
  'refused',
  'won',
  'requested',
  'firstBytes',
  'noFirstByte',
  'reset',
  'trials',
] as const;

export const evidenceBytes = (services: number): number => services * MOST_RACED * evidence.stride * 8;

/** The offset of a machine's counters for a service. */
export const rowOf = (service: number, candidate: number): number =>
  (service * MOST_RACED + candidate) * evidence.stride;

/** The group of a client, by its address as a number (`RaceFlows.clientNumber`). */
export function groupOfClient(client: number): number {
  const h = Math.imul(client, 0x9e3779b1);
  return (h >>> 24) % GROUPS;
}

function bucketOf(us: number): number {
  let b = 0;
  while (b < BOUNDS_US.length && us > BOUNDS_US[b]) b++;
  return b;
}

/** The data plane's side. One writer; never allocates. Numbers beyond the table are not counted. */
export class EvidenceWriter {
  constructor(readonly table: Float64Array) {}

  /** @param candidates one bit for each machine to which the SYN of a connection is sent now */
  asked(service: ServiceNumber, candidates: number): void {
    for (let left = candidates; left !== 0; left &= left - 1)
      this.add(service, (31 - Math.clz32(left & -left)) as CandidateNumber, evidence.asked);
  }

  /** Adds one to a counter of {@link evidence}. */
  add(service: ServiceNumber, candidate: CandidateNumber, counter: number): void {
    const at = this.#row(service, candidate);
    if (at >= 0) this.table[at + counter]++;
  }

  /** @param us whole µs from the SYN to its acknowledgement */
  replied(service: ServiceNumber, candidate: CandidateNumber, us: number): void {
    const at = this.#row(service, candidate);
    if (at < 0) return;
    this.table[at + evidence.replySumUs] += us;
    this.table[at + evidence.replies + bucketOf(us)]++;
  }

  /** @param us whole µs from the client's first data to the machine's */
  firstByte(service: ServiceNumber, candidate: CandidateNumber, client: number, us: number): void {
    const at = this.#row(service, candidate);
    if (at < 0) return;
    const { table } = this;
    const group = at + evidence.groups + groupOfClient(client) * groupOf.stride;
    table[at + evidence.firstBytes]++;
    table[at + evidence.firstByteTimes + bucketOf(us)]++;
    table[at + evidence.sumUs] += us;
    table[group + groupOf.firstBytes]++;
    table[group + groupOf.sumUs] += us;
  }

  /** @param how `evidence.noFirstByte` or `evidence.reset` */
  failed(service: ServiceNumber, candidate: CandidateNumber, client: number, how: number): void {
    const at = this.#row(service, candidate);
    if (at < 0) return;
    this.table[at + how]++;
    this.table[at + evidence.groups + groupOfClient(client) * groupOf.stride + groupOf.failed]++;
  }

  /** Notes that a trial ended well, with this time to first byte in whole µs. */
  trialGood(service: ServiceNumber, candidate: CandidateNumber, us: number): void {
    const at = this.#row(service, candidate);
    if (at < 0) return;
    this.table[at + evidence.trialsGood]++;
    this.table[at + evidence.trialUs] = us;
  }

  /** The number of trials that a machine was given. */
  trials(service: ServiceNumber, candidate: CandidateNumber): number {
    const at = this.#row(service, candidate);
    return at < 0 ? 0 : this.table[at + evidence.trials];
  }

  /** Forgets a candidate, because its number means another machine from now on. */
  forgetCandidate(service: ServiceNumber, candidate: number): void {
    this.#clear(rowOf(service, candidate));
  }

  /** Forgets all machines of a service, because its number means another service from now on. */
  forgetService(service: ServiceNumber): void {
    for (let c = 0; c < MOST_RACED; c++) this.#clear(rowOf(service, c));
  }

  /** Clears only what was written, because writing a page takes memory for it. */
  #clear(at: number): void {
    for (let w = at; w < at + evidence.stride && w < this.table.length; w++)
      if (this.table[w] !== 0) this.table[w] = 0;
  }

  #row(service: ServiceNumber, candidate: CandidateNumber): number {
    if (service < 0 || candidate < 0 || candidate >= MOST_RACED) return -1;
    const at = rowOf(service, candidate);
    return at < this.table.length ? at : -1;
  }
}
