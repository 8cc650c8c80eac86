/**
 * How long each candidate takes to acknowledge a SYN, and how much that varies, per service and client prefix; and from
 * that how long an answer is waited for. Pure; times in microseconds.
 */
import { lowest } from './candidates.js';
import { isKnown, LEAST_JITTER_US, LearnedEntries } from './learned-entries.js';
import {
  ATTEMPTED,
  CANDIDATES,
  DOUBTED,
  LATE,
  LATE_AT,
  LATE_SINCE,
  PER_CANDIDATE,
  RACED,
  RACES,
  RETRIES,
  RTT,
  rttOf,
  SAMPLES,
  VARIATION,
  WINS,
} from './learned-table.js';

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
export const ENOUGH_SAMPLES = 4;
/** The hedge: k times the expected time, with bounds as in Happy Eyeballs (RFC 8305, 8). */
const HEDGE_FACTOR = 1.5;
const HEDGE_LEAST_US = 10_000;
const HEDGE_MOST_US = 2_000_000;

export class LearnedTimes extends LearnedEntries {
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
    if (this.isLate(entry, candidate) && sinceUs < this.hedgeUs(entry, candidate)) return;
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

  isLate(entry: number, candidate: number): boolean {
    return this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + LATE] > 0;
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
}
