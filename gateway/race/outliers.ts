/**
 * A machine that acknowledges fast and serves slowly must not win for ever. The data plane, and the fast path too,
 * adds up for each candidate the time from a client's first data to the first data back. In configuration B without
 * the fast path, and for the origin, that data does not pass here. A machine that is much slower than the others is
 * taken out of the races for some time, but at most a third of a service's machines. A machine that carries
 * everything cannot be compared: it is a suspect then, and some connections go to the next nearest candidate until
 * that one is known too. Pure: called once a second.
 */
import type { CandidateNumber } from '../../src/flow/numbers.js';

/** For each candidate: the number of first bytes, and the sum of the times that they took (µs). */
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
   * @param totals sums since the start, by candidate
   * @param candidates the candidates of one service; the origin is compared with the others, but never ejected
   * @returns candidates that are newly ejected
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
      // When the machine is raced again it is judged by new measurements only.
      known.seen = 0;
      room--;
      ejected.push(c);
    }
    return ejected;
  }

  /**
   * Machines that are slow by their own times alone, while the others are not measured well enough.
   * @param rttUs the part of a candidate's time that is the round trip, because a distant machine is not a slow one
   */
  suspects(
    candidates: readonly CandidateNumber[],
    nowMs: number,
    rttUs: (c: CandidateNumber) => number = () => 0,
  ): CandidateNumber[] {
    const known = candidates.filter((c) => (this.#known.get(c)?.seen ?? 0) >= ENOUGH);
    // With two measured candidates the comparison in {@link judge} decides.
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

  /** Forgets a number, because it means another machine from now on. */
  forget(c: CandidateNumber): void {
    this.#known.delete(c);
  }

  isEjected(c: CandidateNumber, nowMs: number): boolean {
    return (this.#known.get(c)?.until ?? 0) > nowMs;
  }

  /** Mean time to first byte in ms, for reports; null while there are too few measurements. */
  meanMs(c: CandidateNumber): number | null {
    const known = this.#known.get(c);
    return known === undefined || known.seen < ENOUGH ? null : known.meanUs / 1000;
  }
}
