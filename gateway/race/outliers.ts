/**
 * A machine that acknowledges fast and serves slowly must not win for ever. The data plane adds up, per candidate, the time
 * from a client's first data to the first data back, and so does the fast path; without it, under B and from the origin,
 * data does not pass here. A machine far above the others is taken out of the races for a time, a third of a service at
 * most. When one machine carries everything there is none to compare it with: then it is a suspect, and some of its
 * connections go to the next nearest until that is known too. Pure: fed once a second.
 */
import type { CandidateNumber } from '../../src/flow/numbers.js';

/** Of each candidate: how many first bytes came, and the sum of the times they took (µs). */
export interface FirstBytes {
  count: number;
  sumUs: number;
}

const ENOUGH = 5;
const TIMES = 3;
const LEAST_EXCESS_US = 100_000;
const EJECTED_MS = 30_000;
const MOST_EJECTED_MS = 300_000;
/** Weight of the newest second in a candidate's mean. */
const GAIN = 0.3;

interface Known {
  before: FirstBytes;
  meanUs: number;
  seen: number;
  until: number;
  times: number;
}

export class Outliers {
  readonly #known = new Map<CandidateNumber, Known>();

  /**
   * @param totals since the start, by candidate
   * @param candidates those that serve one service; the origin is among the compared, and never ejected
   * @returns candidates newly ejected
   */
  judge(
    totals: ReadonlyMap<CandidateNumber, FirstBytes>,
    candidates: readonly CandidateNumber[],
    nowMs: number,
  ): CandidateNumber[] {
    for (const [c, total] of totals) this.#take(c, total);
    const means = candidates
      .map((c) => ({ c, known: this.#known.get(c) }))
      .filter(
        (x): x is { c: CandidateNumber; known: Known } => x.known !== undefined && x.known.seen >= ENOUGH,
      );
    const out = candidates.filter((c) => this.isEjected(c, nowMs)).length;
    let room = Math.floor(candidates.length / 3) - out;
    const ejected: CandidateNumber[] = [];
    for (const { c, known } of means.sort((a, b) => b.known.meanUs - a.known.meanUs)) {
      const others = means.filter((x) => x.c !== c).map((x) => x.known.meanUs);
      if (c === 0 || room <= 0 || others.length === 0 || this.isEjected(c, nowMs)) continue;
      const typical = [...others].sort((a, b) => a - b)[others.length >> 1];
      if (known.meanUs < typical * TIMES || known.meanUs - typical < LEAST_EXCESS_US) continue;
      known.times++;
      known.until = nowMs + Math.min(MOST_EJECTED_MS, EJECTED_MS * known.times);
      // It must earn its name anew when it is back.
      known.seen = 0;
      room--;
      ejected.push(c);
    }
    return ejected;
  }

  /**
   * Machines that are slow by their own times alone, while the others are not known well enough.
   * @param rttUs what of a candidate's time is the way there and back: far is not slow
   */
  suspects(
    candidates: readonly CandidateNumber[],
    nowMs: number,
    rttUs: (c: CandidateNumber) => number = () => 0,
  ): CandidateNumber[] {
    const known = candidates.filter((c) => (this.#known.get(c)?.seen ?? 0) >= ENOUGH);
    // Two that are known suffice for a verdict.
    if (known.length !== 1 || known[0] === 0 || this.isEjected(known[0], nowMs)) return [];
    return this.#known.get(known[0])!.meanUs - rttUs(known[0]) >= LEAST_EXCESS_US ? known : [];
  }

  #take(c: CandidateNumber, total: FirstBytes): void {
    const known = this.#known.get(c) ?? {
      before: { count: 0, sumUs: 0 },
      meanUs: 0,
      seen: 0,
      until: 0,
      times: 0,
    };
    const count = total.count - known.before.count;
    if (count > 0) {
      const mean = (total.sumUs - known.before.sumUs) / count;
      known.meanUs = known.seen === 0 ? mean : known.meanUs + GAIN * (mean - known.meanUs);
      known.seen += count;
    }
    known.before = { ...total };
    this.#known.set(c, known);
  }

  /** The number is another machine's from now on. */
  forget(c: CandidateNumber): void {
    this.#known.delete(c);
  }

  isEjected(c: CandidateNumber, nowMs: number): boolean {
    return (this.#known.get(c)?.until ?? 0) > nowMs;
  }

  /** Mean time to first byte in ms, for reports; null while too little is known. */
  meanMs(c: CandidateNumber): number | null {
    const known = this.#known.get(c);
    return known === undefined || known.seen < ENOUGH ? null : known.meanUs / 1000;
  }
}
