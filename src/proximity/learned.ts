/**
 * What a gateway has learned: per service and client prefix, how long each candidate takes to acknowledge a SYN, and
 * how much that varies. From this follow which candidate to ask alone, how long to wait before asking the others too,
 * and when to race again. Pure; times in microseconds. The only writer of the table (`learned-table.ts`).
 */
import type { Clock } from '../device/clock.js';
import type { ServiceNumber } from '../flow/numbers.js';
import { V4_MAPPED } from '../wire/address.js';
import { count, lowest, MOST_RACED, ORIGIN } from './candidates.js';
import {
  ATTEMPTED,
  CANDIDATES,
  DOUBTED,
  ENTRIES,
  FIRST,
  LATE,
  LATE_AT,
  LATE_SINCE,
  PER_CANDIDATE,
  PREFIX,
  PREFIX_BITS,
  PREFIX_LOW,
  RACED,
  RACES,
  RETRIES,
  RTT,
  rttOf,
  SAMPLES,
  SERVICE,
  STRIDE,
  USED,
  V6,
  VARIATION,
  WINS,
  YOUNG,
} from './learned-table.js';
import type { Seed } from './site.js';

/** Entries per bucket; in a full one the entry that was unused for longest is replaced. */
const WAYS = 4;

/**
 * Gains for round trip and variation as in RFC 6298, but slower for the variation, and with late answers clipped: one
 * late wake-up of a busy machine must not make two machines look equally near. A path that really changed is followed,
 * because the variation, which sets the clip, grows with each such error. Nothing makes an answer come too early: one
 * that is early by more than the clip is not clipped, and weighs a half, or wholly among the first few.
 */
const ALPHA = 1 / 8;
const BETA = 1 / 16;
const CLIP = 3;
const EARLY = 1 / 2;

/**
 * A candidate that was late is raced with the others until it answers in time again. When it was late so often, its
 * time is forgotten: its path has changed, or it is gone.
 */
const LATE_MOST = 3;

/** When all machines have been late for so long, the line has changed. */
const LONG_US = 10e6;

/** From this number of samples on, a candidate's own variation is meaningful. */
const ENOUGH_SAMPLES = 4;
/**
 * A first sample may be too long by this much, because of neighbour resolution and cold caches. Two candidates whose
 * times differ by less are raced until both have enough samples, or {@link MOST_RACES} races have not given them.
 */
const UNSURE_US = 5000;
/** A comparison asks so many; where more are close, others each time. */
const MOST_COMPARED = 3;
const MOST_RACES = 8;

/** Two round trips that differ by less than this are not told apart, whatever their variation. */
const LEAST_JITTER_US = 500;
/** By this share a probed time differs from a learned one before it is believed instead. */
const NEWS = 0.15;
/** Two candidates that differ by less than this share connections: over a wide area no user notices the difference. */
const SHARE_US = 1000;
/** A winner that the kernel uses without comparing it must be ahead by this many times the measured variation. */
const CLEAR = 3;
/** The hedge: k times the expected time, with bounds as in Happy Eyeballs (RFC 8305, 8). */
const HEDGE_FACTOR = 1.5;
const HEDGE_LEAST_US = 10_000;
const HEDGE_MOST_US = 2_000_000;
/** One connection in this many is raced again, so that learned times do not become stale. */
export const RACE_AGAIN = 50;
/**
 * A candidate that did not answer a race may have lost its SYN: the race is repeated soon, and then at doubling
 * intervals. The first race is repeated in any case: its answers may have been late for reasons of the moment.
 */
const RETRY_US = 1e6;
const MOST_DOUBLINGS = 6;
/** After so many unanswered races in a row a candidate is not waited for: chance may lose one SYN, but not so many. */
const SILENT_RACES = 4;
/** Times older than this are not used. */
const STALE_US = 600e6;

/**
 * Results of {@link Learned.choose}: ask all candidates; ask those that are too near to each other to be told apart
 * yet.
 */
export const RACE = -1;
export const COMPARE = -2;

/** Whether this candidate's times can be kept: a machine that is no candidate of a service has the number -1. */
const isKnown = (candidate: number): boolean => candidate >= 0 && candidate < MOST_RACED;

export class Learned {
  readonly #mask: number;
  /** By bucket and way: the offset of an entry; 0 for none. */
  readonly #ways: Int32Array;
  /** What other gateways of the same site have measured. */
  seeds: readonly Seed[] = [];
  /** What this gateway's own probes have measured: a candidate's round trip in µs; 0 where it is not known. */
  probed: (service: ServiceNumber, candidate: number) => number = () => 0;

  /** @param clock read here, because a time passed as an argument would be boxed: garbage for each connection */
  constructor(
    readonly table: Float64Array,
    readonly clock: Clock,
  ) {
    let buckets = 1;
    while (buckets * 2 * WAYS * STRIDE + FIRST <= table.length) buckets *= 2;
    this.#mask = table.length < WAYS * STRIDE + FIRST ? -1 : buckets - 1;
    this.#ways = new Int32Array(this.#mask < 0 ? 0 : buckets * WAYS);
  }

  /**
   * The entry's offset; the entry is made if there is none. -1 when there is no table.
   * @param words the client's address is in four words from `at` on
   */
  entry(service: ServiceNumber, words: Int32Array, at: number): number {
    if (this.#mask < 0) return -1;
    const isV4 = words[at] === 0 && words[at + 1] === 0 && words[at + 2] === V4_MAPPED;
    const prefix = isV4 ? words[at + 3] >>> (32 - PREFIX_BITS) : words[at];
    const low = isV4 ? 0 : (words[at + 1] >>> 16) | V6;
    const { table } = this;
    const hash = Math.imul(prefix ^ Math.imul(low ^ Math.imul(service + 1, 0x9e3779b1), 31), 0x85ebca6b);
    const bucket = ((hash ^ (hash >>> 15)) & this.#mask) * WAYS;
    let oldest = 0;
    for (let way = 0; way < WAYS; way++) {
      const base = this.#ways[bucket + way];
      if (base === 0) {
        oldest = this.#another();
        this.#ways[bucket + way] = oldest;
        break;
      }
      const isPrefix = table[base + PREFIX] === prefix && table[base + PREFIX_LOW] === low;
      if (table[base + SERVICE] === service && isPrefix) {
        table[base + USED] = this.clock.nowUs;
        return base;
      }
      if (oldest === 0 || table[base + USED] < table[oldest + USED]) oldest = base;
    }
    table.fill(0, oldest, oldest + STRIDE);
    table[oldest + SERVICE] = service;
    table[oldest + PREFIX] = prefix;
    table[oldest + PREFIX_LOW] = low;
    table[oldest + USED] = this.clock.nowUs;
    this.#plant(oldest, service);
    return oldest;
  }

  /** The offset of an entry that was never used. There are as many as there are ways. */
  #another(): number {
    const n = this.table[ENTRIES]++;
    return FIRST + n * STRIDE;
  }

  /**
   * A new entry starts with the times that this gateway's probes have measured, and the other gateways of its site: what is
   * near is known before the first SYN.
   */
  #plant(entry: number, service: ServiceNumber): void {
    for (let k = 0; k < this.seeds.length; k++) {
      const { service: of, candidate, rttUs, variationUs } = this.seeds[k];
      if (of === service && isKnown(candidate)) this.#seed(entry, candidate, rttUs, variationUs);
    }
    for (let c = 1; c < MOST_RACED; c++) {
      const rttUs = this.probed(service, c);
      if (rttUs > 0) this.#seed(entry, c, rttUs, LEAST_JITTER_US);
    }
  }

  /** A time that was not measured with SYNs: believed like one sample. */
  #seed(entry: number, candidate: number, rttUs: number, variationUs: number): void {
    const { table } = this;
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    table[c + RTT] = rttUs;
    table[c + VARIATION] = variationUs;
    table[c + SAMPLES] = 1;
    table[c + LATE] = 0;
    table[entry + DOUBTED] &= ~(1 << candidate);
    table[entry + ATTEMPTED] |= 1 << candidate;
    table[entry + RACES] = 0;
    if (table[entry + RACED] === 0) table[entry + RACED] = this.clock.nowUs;
  }

  /**
   * Probes have found that a candidate is at another distance than before, or it has become a candidate: for every prefix
   * it starts with this time. Where SYNs tell the same, they are believed further.
   */
  moved(service: ServiceNumber, candidate: number, rttUs: number): void {
    const { table } = this;
    for (let n = 0; n < table[ENTRIES]; n++) {
      const entry = FIRST + n * STRIDE;
      if (table[entry + SERVICE] !== service) continue;
      const isNews = Math.abs(table[rttOf(entry, candidate)] - rttUs) > Math.max(SHARE_US, NEWS * rttUs);
      if (isNews || this.samples(entry, candidate) === 0)
        this.#seed(entry, candidate, rttUs, LEAST_JITTER_US);
    }
  }

  /** Adds a measured round trip. */
  note(entry: number, candidate: number, rttUs: number): void {
    if (entry < 0 || !isKnown(candidate)) return;
    const { table } = this;
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    if (table[c + SAMPLES] === 0) {
      table[c + RTT] = rttUs;
      table[c + VARIATION] = LEAST_JITTER_US;
    } else {
      const most = CLIP * table[c + VARIATION] + LEAST_JITTER_US;
      const error = rttUs - table[c + RTT];
      const isInTime = this.isInTime(entry, candidate, rttUs);
      table[c + VARIATION] += BETA * (Math.min(most, Math.abs(error)) - table[c + VARIATION]);
      // The first few samples have equal weight; early ones are believed.
      const early = table[c + SAMPLES] < ENOUGH_SAMPLES ? 1 : EARLY;
      const gain = error < -most ? early : Math.max(ALPHA, 1 / (table[c + SAMPLES] + 1));
      table[c + RTT] += gain * Math.min(most, error);
      if (isInTime) this.#inTime(entry, candidate);
    }
    table[c + SAMPLES]++;
  }

  /** Whether an answer came within the time in which it is waited for: also the first one of a machine. */
  isInTime(entry: number, candidate: number, rttUs: number): boolean {
    if (entry < 0 || !isKnown(candidate) || this.samples(entry, candidate) === 0) return true;
    if (rttUs > this.hedgeUs(entry, candidate)) return false;
    this.table[entry + LATE_SINCE] = 0;
    return true;
  }

  /** By how many whole µs an answer comes later than is expected, at least 0; -1 where nothing is expected. */
  lateUs(entry: number, candidate: number, rttUs: number): number {
    if (entry < 0 || !isKnown(candidate) || this.samples(entry, candidate) === 0) return -1;
    return Math.max(0, rttUs - this.table[rttOf(entry, candidate)]) | 0;
  }

  /**
   * Called for an answer that was late where no other machine's came in time.
   * @returns whether that has gone on for so long that it is no spike: then the times are believed
   */
  isLateForLong(entry: number): boolean {
    if (entry < 0) return true;
    const { table } = this;
    if (table[entry + LATE_SINCE] === 0) table[entry + LATE_SINCE] = this.clock.nowUs;
    return this.clock.nowUs - table[entry + LATE_SINCE] > LONG_US;
  }

  #inTime(entry: number, candidate: number): void {
    this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + LATE] = 0;
    if (this.best(entry, (1 << candidate) | this.table[entry + ATTEMPTED]) === candidate)
      this.table[entry + DOUBTED] &= ~(1 << candidate);
  }

  /**
   * Notes that a candidate that was asked alone has not answered in time. One late answer moves no later connection:
   * the next ones are raced until it answers in time again. All that is late in the time of one answer counts as one: a
   * moment's stall, however many connections it meets.
   */
  late(entry: number, candidate: number): void {
    if (entry < 0 || !isKnown(candidate)) return;
    const { table } = this;
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    table[entry + RACES] = 0;
    const sinceUs = this.clock.nowUs - table[c + LATE_AT];
    if (this.#isLate(entry, candidate) && sinceUs < this.hedgeUs(entry, candidate)) return;
    table[c + LATE_AT] = this.clock.nowUs;
    if (++table[c + LATE] < LATE_MOST) return;
    this.forget(entry, candidate);
    table[entry + DOUBTED] |= 1 << candidate;
    table[entry + RETRIES] = 0;
  }

  /** Notes that a candidate answered whose time could not be measured: where there is none yet, the next race tells. */
  missed(entry: number, candidate: number): void {
    if (entry >= 0 && isKnown(candidate) && this.samples(entry, candidate) === 0)
      this.table[entry + RACED] = 0;
  }

  won(entry: number, candidate: number): void {
    if (entry >= 0 && isKnown(candidate)) this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + WINS]++;
  }

  /** Forgets the times of a candidate that failed: it must be measured in a race again. */
  forget(entry: number, candidate: number): void {
    if (entry < 0 || !isKnown(candidate)) return;
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    this.table[c + SAMPLES] = 0;
    this.table[c + LATE] = 0;
    this.table[entry + RACES] = 0;
  }

  /** Forgets all times of a service's candidate number, because it means another machine from now on. */
  forgetCandidate(service: ServiceNumber, candidateNumber: number): void {
    const { table } = this;
    for (let n = 0; n < table[ENTRIES]; n++) {
      const base = FIRST + n * STRIDE;
      if (table[base + SERVICE] !== service) continue;
      const c = base + CANDIDATES + candidateNumber * PER_CANDIDATE;
      if (table[c + SAMPLES] > 0) table[base + RACES] = 0;
      table.fill(0, c, c + PER_CANDIDATE);
      table[base + ATTEMPTED] &= ~(1 << candidateNumber);
      table[base + DOUBTED] &= ~(1 << candidateNumber);
    }
  }

  /** Forgets all entries of a service number, because it means another service from now on. */
  forgetService(service: ServiceNumber): void {
    const { table } = this;
    for (let n = 0; n < table[ENTRIES]; n++) {
      const base = FIRST + n * STRIDE;
      if (table[base + SERVICE] !== service) continue;
      table.fill(0, base, base + STRIDE);
      table[base + SERVICE] = -1;
    }
  }

  /**
   * Notes that candidates are being raced now.
   * @param live one bit for each candidate that may be asked
   * @param asked those of them that are
   */
  raced(entry: number, live: number, asked = live): void {
    if (entry < 0) return;
    // A new candidate resets the retry back-off.
    const unanswered = (asked & ~this.table[entry + ATTEMPTED]) === 0 && this.#unproven(entry, live);
    this.table[entry + RETRIES] = unanswered ? this.table[entry + RETRIES] + 1 : 0;
    if (this.table[entry + RACED] === 0) this.table[entry + YOUNG] = asked & (asked - 1) ? 1 : 0;
    else if (this.clock.nowUs - this.table[entry + RACED] > RETRY_US) this.table[entry + YOUNG] = 0;
    this.table[entry + RACED] = this.clock.nowUs;
    // A machine that was away is measured again.
    this.table[entry + ATTEMPTED] = (this.table[entry + ATTEMPTED] & live) | asked;
    this.table[entry + RACES]++;
    for (let left = asked; left !== 0; left &= left - 1)
      if (this.#isLate(entry, lowest(left))) this.late(entry, lowest(left));
  }

  #isLate(entry: number, candidate: number): boolean {
    return this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + LATE] > 0;
  }

  /**
   * The candidate to ask alone, or {@link RACE}, or {@link COMPARE}.
   * @param live one bit for each candidate that may be asked
   * @param loads 0 … 1 per candidate; candidates that cannot be told apart share connections by their free capacity
   * @param hash a hash of the flow: the choice is the same for every SYN of a flow
   */
  choose(entry: number, live: number, loads: Float64Array, hash: number): number {
    if (entry < 0) return RACE;
    const { table } = this;
    if (table[entry + RACED] === 0 || this.clock.nowUs - table[entry + RACED] > STALE_US) return RACE;
    // A new candidate has not been measured yet.
    if ((live & ~table[entry + ATTEMPTED]) !== 0) return RACE;
    const waited = this.clock.nowUs - table[entry + RACED];
    if (
      (table[entry + YOUNG] !== 0 || this.#unproven(entry, live)) &&
      waited > RETRY_US * (1 << Math.min(table[entry + RETRIES], MOST_DOUBLINGS))
    )
      return RACE;
    const best = this.best(entry, live);
    if (best < 0 || this.#isLate(entry, best)) return RACE;
    if (this.#unsure(entry, live, best)) return COMPARE;
    let total = 0;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (this.#isNear(entry, best, c)) total += room(loads[c]);
    }
    let share = ((hash >>> 8) / 0x1000000) * total;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (!this.#isNear(entry, best, c)) continue;
      share -= room(loads[c]);
      if (share < 0) return c;
    }
    return best;
  }

  /** Whether all candidates that answer were measured, and none comes near this one. */
  isClear(entry: number, live: number, candidate: number): boolean {
    if (entry < 0 || this.best(entry, live) !== candidate) return false;
    if (this.#unproven(entry, live) && this.table[entry + RETRIES] < SILENT_RACES) return false;
    for (let left = live & ~(1 << candidate); left !== 0; left &= left - 1)
      if (this.#isNear(entry, candidate, lowest(left), CLEAR)) return false;
    return true;
  }

  /** The live candidate with the least expected round trip, or -1. */
  best(entry: number, live: number): number {
    let best = -1;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (this.samples(entry, c) === 0) continue;
      if (best < 0 || this.table[rttOf(entry, c)] < this.table[rttOf(entry, best)]) best = c;
    }
    return best;
  }

  /** Whether one of these candidates has never acknowledged, or was forgotten after a failure. */
  #unheard(entry: number, candidates: number): boolean {
    for (let left = candidates; left !== 0; left &= left - 1)
      if (this.samples(entry, lowest(left)) === 0) return true;
    return false;
  }

  /** Whether a race may tell more of one of these: it has not answered, or its time was forgotten. */
  #unproven(entry: number, candidates: number): boolean {
    return (this.table[entry + DOUBTED] & candidates) !== 0 || this.#unheard(entry, candidates);
  }

  /** Whether a candidate may turn out to be as near as the best one, or nearer, after more measurements. */
  #unsure(entry: number, live: number, best: number): boolean {
    if (this.table[entry + RACES] >= MOST_RACES) return false;
    const close = this.#close(entry, live, best);
    for (let left = close; left !== 0; left &= left - 1)
      if (this.samples(entry, lowest(left)) < ENOUGH_SAMPLES) return close !== 1 << best;
    return false;
  }

  /** One bit for each candidate that may be as near as the best one, which is included. */
  #close(entry: number, live: number, best: number): number {
    const table = this.table;
    let bits = 0;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (this.samples(entry, c) === 0) continue;
      if (table[rttOf(entry, c)] - table[rttOf(entry, best)] <= UNSURE_US) bits |= 1 << c;
    }
    return bits;
  }

  /**
   * The candidates to ask for a comparison, one bit each: the best one, and of those that may be as near the few of which
   * least is known. Counts them as compared.
   */
  compare(entry: number, live: number): number {
    this.table[entry + RACES]++;
    const best = this.best(entry, live);
    const close = this.#close(entry, live, best);
    if (count(close) <= MOST_COMPARED) return close;
    let list = 1 << best;
    while (count(list) < MOST_COMPARED) {
      let least = -1;
      for (let left = close & ~list; left !== 0; left &= left - 1) {
        const c = lowest(left);
        if (least < 0 || this.samples(entry, c) < this.samples(entry, least)) least = c;
      }
      list |= 1 << least;
    }
    return list;
  }

  /**
   * Whom a race asks where more candidates may be asked than a race should: the nearest that are known, some that were
   * never asked or one further in turn, which may be nearer than was thought, and the origin. One bit each, `width` of them.
   * @param but candidates that have been asked already
   */
  shortList(entry: number, live: number, width: number, but = 0): number {
    const open = live & ~but;
    if (count(open) <= width || entry < 0) return open;
    let list = open & (1 << ORIGIN);
    const replicas = open & ~list;
    const unknown = count(replicas & ~this.table[entry + ATTEMPTED]);
    const others = Math.max(1, Math.min(unknown, width >> 1));
    list |= this.#nearest(entry, replicas, width - count(list) - others);
    // Those that were never asked come first, then each in its turn.
    for (let room = width - count(list); room > 0; room--) {
      const fresh = replicas & ~list & ~this.table[entry + ATTEMPTED];
      const rest = fresh !== 0 ? fresh : replicas & ~list;
      list |= 1 << this.#inTurn(rest);
    }
    return list;
  }

  /** The known ones of these that are nearest, `most` of them at most. */
  #nearest(entry: number, candidates: number, most: number): number {
    let list = 0;
    for (let room = most; room > 0; room--) {
      const next = this.best(entry, candidates & ~list);
      if (next < 0) break;
      list |= 1 << next;
    }
    return list;
  }

  /** One of these, another one each time. */
  #inTurn(candidates: number): number {
    const above = candidates & ~((2 << this.#turn) - 1);
    this.#turn = lowest(above !== 0 && this.#turn < MOST_RACED - 1 ? above : candidates);
    return this.#turn;
  }
  #turn = 0;

  /** Whether candidate `c` cannot be told apart from the best one by `times` the measured variation. */
  #isNear(entry: number, best: number, c: number, times = 1): boolean {
    if (this.samples(entry, c) === 0) return false;
    const table = this.table;
    const behind = table[rttOf(entry, c)] - table[rttOf(entry, best)];
    return behind <= times * Math.max(SHARE_US, this.jitterUs(entry, best, c));
  }

  /** The variation of the difference between two candidates' round trips, in whole µs. */
  jitterUs(entry: number, a: number, b: number): number {
    if (a === b) return 0;
    const va = this.table[this.#variationOf(entry, a, b)];
    const vb = this.table[this.#variationOf(entry, b, a)];
    return Math.ceil(Math.max(LEAST_JITTER_US, Math.sqrt(va * va + vb * vb))) | 0;
  }

  /** Offset of a candidate's variation; of the variation of the `other` one while the candidate has few samples. */
  #variationOf(entry: number, candidate: number, other: number): number {
    const measured = this.samples(entry, candidate) >= ENOUGH_SAMPLES ? candidate : other;
    return entry + CANDIDATES + measured * PER_CANDIDATE + VARIATION;
  }

  /** How long to wait for a candidate before the others are asked too, in whole µs. */
  hedgeUs(entry: number, candidate: number): number {
    if (!isKnown(candidate)) return HEDGE_LEAST_US;
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    const expected = this.table[c + RTT] * HEDGE_FACTOR + 4 * this.table[c + VARIATION];
    return Math.min(HEDGE_MOST_US, Math.max(HEDGE_LEAST_US, expected)) | 0;
  }

  samples(entry: number, candidate: number): number {
    return this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + SAMPLES];
  }
}

/** The free capacity of a machine; never 0, because a full machine would be busy and not be asked. */
function room(load: number): number {
  const left = Math.max(0.02, 1 - load);
  return left * left;
}
