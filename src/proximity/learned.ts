/**
 * What a gateway has learned: per service and client prefix, how long each candidate takes to acknowledge a SYN, and
 * how much that varies. From this follow which candidate to ask alone, how long to wait before asking the others too,
 * and when to race again. Pure; times in microseconds. The only writer of the table (`learned-table.ts`).
 */
import { count, lowest, MOST_RACED, ORIGIN } from './candidates.js';
import { SHARE_US } from './learned-entries.js';
import { ATTEMPTED, DOUBTED, RACED, RACES, RETRIES, rttOf, YOUNG } from './learned-table.js';
import { ENOUGH_SAMPLES, LearnedTimes } from './learned-times.js';

/**
 * A first sample may be too long by this much, because of neighbour resolution and cold caches. Two candidates whose
 * times differ by less are raced until both have enough samples, or {@link MOST_RACES} races have not given them.
 */
const UNSURE_US = 5000;
/** A comparison asks so many; where more are close, others each time. */
const MOST_COMPARED = 3;
const MOST_RACES = 8;
/** A winner that the kernel uses without comparing it must be ahead by this many times the measured variation. */
const CLEAR = 3;
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

export class Learned extends LearnedTimes {
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
      if (this.isLate(entry, lowest(left))) this.late(entry, lowest(left));
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
    if (best < 0 || this.isLate(entry, best)) return RACE;
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
}

/** The free capacity of a machine; never 0, because a full machine would be busy and not be asked. */
function room(load: number): number {
  const left = Math.max(0.02, 1 - load);
  return left * left;
}
