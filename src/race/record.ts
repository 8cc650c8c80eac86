/**
 * The race record: one type for log, API, CLI and page, and the ring in shared memory to which the data plane writes
 * records without allocating. The control plane reads the ring on demand; it leaves out a record that is overwritten
 * while it reads.
 */
import type { Clock } from '../device/clock.js';
import { layoutOf } from '../layout.js';
import { MOST_RACED, ORIGIN } from '../proximity/candidates.js';
import { type Address, formatEndpoint } from '../wire/address.js';
import { HEADER } from '../wire/virtio.js';
import type { Release } from './release.js';

export type CandidateVerdict = 'won' | 'reset' | 'refused' | 'silent';

export interface RaceCandidate {
  id: string;
  /** µs after the client's SYN. */
  sentUs: number;
  /** µs after the client's SYN; null when no acknowledgement came. */
  replyUs: number | null;
  verdict: CandidateVerdict;
  reason: string;
}

export interface RaceRecord {
  v: 1;
  /** Number of the race at this gateway, from 0. */
  conn: number;
  configuration: string;
  race: string;
  release: Release | null;
  client: string;
  service: string;
  candidates: RaceCandidate[];
  /** Null while undecided. */
  winner: string | null;
  rule: string;
  /** How much later than the first acknowledgement the second came, µs; null when there was no second. */
  marginUs: number | null;
  /** Measured jitter of the paths, µs; null while it is not measured. */
  jitterUs: number | null;
  viewAgeMs: number;
}

/** The most bytes of a SYN that a record stores, virtio header included: 10 + 60 + 60, rounded up. */
const SYN_BYTES = 136;
/** The header of the ring, before the records, in doubles: the number of races that have begun. */
const ring = layoutOf({ begun: 1, reserved: 7 });
/** One record, in doubles. */
const record = layoutOf({
  /** The race's number as flows store it: {@link keptNumber}. */
  number: 1,
  sent: 1,
  client: 4,
  port: 1,
  service: 1,
  winner: 1,
  /** One bit for each candidate that was asked. */
  live: 1,
  manner: 1,
  requestedAt: 1,
  /** The winner's number as a machine. */
  machine: 1,
  /** One more than the µs by which the least late answer came later than was expected; 0 while there is none. */
  leastLate: 1,
  reserved: 2,
  replies: MOST_RACED,
  verdicts: MOST_RACED,
  sends: MOST_RACED,
  synLength: 1,
  syn: SYN_BYTES / 8,
});
const RING_HEADER = ring.stride;
const BEGUN = ring.begun;
const NUMBER = record.number;
const SENT = record.sent;
const CLIENT = record.client;
const PORT = record.port;
const SERVICE = record.service;
const WINNER = record.winner;
const LIVE = record.live;
const MANNER = record.manner;
const REQUESTED_AT = record.requestedAt;
const MACHINE = record.machine;
const LEAST_LATE = record.leastLate;
const REPLIES = record.replies;
const VERDICTS = record.verdicts;
const SENDS = record.sends;
const SYN_LENGTH = record.synLength;
const SYN = record.syn;
const STRIDE = record.stride;

/**
 * How the candidates were asked: all at once; a learned winner alone; a learned winner, then the others too (hedged).
 */
export const RACED = 0;
export const ALONE = 1;
export const HEDGED = 2;
/** Asked together with other candidates that are too near to it for the learned times to tell them apart. */
export const COMPARED = 3;
/** The client has retransmitted its SYN: the times of this race are no measurements. */
const REPEATED = 4;
/** An ejected candidate was asked alone, as a trial. */
export const TRIED = 5;

/**
 * A race's number as an entry of the flow table stores it. It wraps after 2^31 races, long after any record was
 * overwritten.
 */
const keptNumber = (n: number): number => n % 2 ** 31;

/** The winner of an origin's race that is no candidate here. */
const OTHER = MOST_RACED;

const REFUSED = 1;
const RESET = 2;
/** The longest time that is told: a whole number of 31 bits is never boxed. */
const MOST_US = 2 ** 30;

/**
 * Bytes of shared memory for a ring of `races` records. It must be a power of two, so that indices stay consecutive
 * when numbers wrap.
 */
export function ringBytes(races: number): number {
  if ((races & (races - 1)) !== 0) throw new RangeError(`${races} is no power of two`);
  return (RING_HEADER + races * STRIDE) * 8;
}

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

/** Whether a record tells of this candidate. */
const isTold = (candidate: number): boolean => candidate >= 0 && candidate < MOST_RACED;

/** Names that the control plane knows and the ring does not contain. */
export interface RaceNames {
  /** The machine that had this candidate number of a service in race `conn`. */
  candidate(service: number, slot: number, conn: number): string;
  /** The machine that had this number in race `conn`. */
  machine(number: number, conn: number): string;
  /** The service that had this number in race `conn`, if it is known. */
  service(
    slot: number,
    conn: number,
  ): { name: string; configuration: string; release: Release | null } | undefined;
  race: string;
  viewAgeMs: number;
  /** Measured jitter between two candidates for a client, µs; null while it is not measured. */
  jitterUs?(service: number, client: Address, a: number, b: number): number | null;
}

/** The latest `count` races, oldest first. */
export function readRaces(ring: Float64Array, count: number, names: RaceNames): RaceRecord[] {
  const places = Math.floor((ring.length - RING_HEADER) / STRIDE);
  const begun = ring[BEGUN];
  const out: RaceRecord[] = [];
  for (let n = Math.max(0, begun - Math.min(count, places)); n < begun; n++) {
    const base = RING_HEADER + (n % places) * STRIDE;
    const words = ring.slice(base, base + STRIDE);
    const kept = keptNumber(n);
    if (words[NUMBER] === kept && ring[base + NUMBER] === kept) out.push(decode(words, n, names));
  }
  return out;
}

function decode(words: Float64Array, conn: number, names: RaceNames): RaceRecord {
  const service = names.service(words[SERVICE], conn);
  const winner = words[WINNER];
  const candidates: (RaceCandidate & { slot: number })[] = [];
  for (let c = 0; c < MOST_RACED; c++) {
    const reply = words[REPLIES + c];
    const expected = ((words[LIVE] >>> c) & 1) !== 0;
    if (reply === 0 && !expected) continue;
    candidates.push({
      slot: c,
      id: names.candidate(words[SERVICE], c, conn),
      sentUs: words[SENDS + c],
      replyUs: reply === 0 ? null : reply,
      ...judge(words, c),
    });
  }
  candidates.sort(
    (a, b) => (a.replyUs ?? Number.POSITIVE_INFINITY) - (b.replyUs ?? Number.POSITIVE_INFINITY),
  );
  const address = [...words.slice(CLIENT, CLIENT + 4)] as unknown as Address;
  const acknowledged = candidates.filter((c) => c.verdict === 'won' || c.verdict === 'reset');
  const margin = acknowledged.length > 1 ? acknowledged[1].replyUs! - acknowledged[0].replyUs! : null;
  const jitter =
    margin === null || names.jitterUs === undefined
      ? null
      : names.jitterUs(words[SERVICE], address, acknowledged[0].slot, acknowledged[1].slot);
  return {
    v: 1,
    conn,
    configuration: service?.configuration ?? '',
    race: names.race,
    release: service?.release ?? null,
    client: formatEndpoint(address, words[PORT]),
    service: service?.name ?? '',
    candidates: candidates.map(({ slot: _slot, ...c }) => c),
    winner: winner < 0 ? null : names.machine(words[MACHINE], conn),
    rule: ruleOf(words, margin, jitter),
    marginUs: margin,
    jitterUs: jitter,
    viewAgeMs: names.viewAgeMs,
  };
}

const PREFACES: Record<number, string> = {
  [HEDGED]: 'hedged: the learned winner was late; ',
  [COMPARED]: 'asked the nearest candidates, to tell them apart; ',
};

function ruleOf(words: Float64Array, margin: number | null, jitter: number | null): string {
  if (words[WINNER] < 0) return 'undecided: no acknowledgement yet';
  if (words[MANNER] === ALONE) return 'asked alone, as the learned winner';
  if (words[MANNER] === TRIED) return 'asked alone, as a trial: it is ejected';
  const first = PREFACES[words[MANNER]] ?? '';
  const close = margin !== null && jitter !== null && margin < jitter ? '; too close to call' : '';
  return `${first}the first acknowledgement wins${close}`;
}

function judge(words: Float64Array, c: number): { verdict: CandidateVerdict; reason: string } {
  if (words[WINNER] === c) return { verdict: 'won', reason: 'its acknowledgement came first' };
  if (words[REPLIES + c] === 0) return { verdict: 'silent', reason: 'no acknowledgement so far' };
  if (words[VERDICTS + c] === REFUSED)
    return {
      verdict: 'refused',
      reason: c === ORIGIN ? 'the origin refused the SYN' : 'the replica refused the SYN',
    };
  return { verdict: 'reset', reason: 'another acknowledgement came first: reset at once' };
}
