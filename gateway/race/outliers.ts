/**
 * A machine that acknowledges fast and serves slowly must not win for ever. The data plane, and the fast path too,
 * adds up for each candidate the time from a client's first data to the first data back. A machine that is much slower
 * than the others is ejected from the service's races (`ejections.ts`), but at most a third of a service's machines
 * are. A machine that carries everything cannot be compared: it is a suspect then, and some connections go to the next
 * nearest candidate until that one is known too. For one service; pure: called once a second.
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
/** Weight of the newest second in a candidate's mean. */
const GAIN = 0.3;

interface Known {
  before: FirstBytes;
  meanUs: number;
  seen: number;
}

/** A machine that serves slowly, and the figures by which it was judged. */
export interface Slow {
  candidate: CandidateNumber;
  meanUs: number;
  /** The median of the others' means. */
  typicalUs: number;
  /** From here on a mean counts as slow. */
  mostUs: number;
}

export class Outliers {
  readonly #known = new Map<CandidateNumber, Known>();

  /**
   * @param totals sums since the start, by candidate
   * @param candidates the candidates of one service; the origin is compared with the others, but never slow itself
   * @param isEjected whether a candidate is not raced now
   * @param room how many more candidates may be ejected
   * @param agrees whether several clients see that a candidate's times are above this, in µs
   * @returns candidates that are to be ejected
   */
  judge(
    totals: ReadonlyMap<CandidateNumber, FirstBytes>,
    candidates: readonly CandidateNumber[],
    isEjected: (c: CandidateNumber) => boolean,
    room: number,
    agrees: (c: CandidateNumber, mostUs: number) => boolean = () => true,
  ): Slow[] {
    for (const [c, total] of totals) this.#take(c, total);
    const means = candidates
      .map((c) => ({ c, known: this.#known.get(c) }))
      .filter(
        (x): x is { c: CandidateNumber; known: Known } =>
          x.known !== undefined && x.known.seen >= ENOUGH && !isEjected(x.c),
      );
    const slow: Slow[] = [];
    for (const { c, known } of means.sort((a, b) => b.known.meanUs - a.known.meanUs)) {
      const others = means.filter((x) => x.c !== c).map((x) => x.known.meanUs);
      if (c === 0 || slow.length >= room || others.length === 0) continue;
      const typicalUs = [...others].sort((a, b) => a - b)[others.length >> 1];
      const mostUs = Math.max(typicalUs * TIMES, typicalUs + LEAST_EXCESS_US);
      if (known.meanUs < mostUs || !agrees(c, mostUs)) continue;
      slow.push({ candidate: c, meanUs: known.meanUs, typicalUs, mostUs });
    }
    return slow;
  }

  /**
   * Machines that are slow by their own times alone, while the others are not measured well enough.
   * @param rttUs the part of a candidate's time that is the round trip, because a distant machine is not a slow one
   */
  suspects(
    candidates: readonly CandidateNumber[],
    isEjected: (c: CandidateNumber) => boolean,
    rttUs: (c: CandidateNumber) => number = () => 0,
  ): CandidateNumber[] {
    const known = candidates.filter((c) => (this.#known.get(c)?.seen ?? 0) >= ENOUGH);
    // With two measured candidates the comparison in {@link judge} decides.
    if (known.length !== 1 || known[0] === 0 || isEjected(known[0])) return [];
    return this.#known.get(known[0])!.meanUs - rttUs(known[0]) >= LEAST_EXCESS_US ? known : [];
  }

  #take(c: CandidateNumber, total: FirstBytes): void {
    const known = this.#known.get(c) ?? this.restart(c, { count: 0, sumUs: 0 });
    // The sums begin anew when the number means another machine.
    if (total.count < known.before.count) known.before = { count: 0, sumUs: 0 };
    const count = total.count - known.before.count;
    if (count > 0) {
      const mean = (total.sumUs - known.before.sumUs) / count;
      known.meanUs = known.seen === 0 ? mean : known.meanUs + GAIN * (mean - known.meanUs);
      known.seen += count;
    }
    known.before = { ...total };
  }

  /** Judges a machine by new measurements only, those after these sums. */
  restart(c: CandidateNumber, total: FirstBytes): Known {
    const known = { before: { ...total }, meanUs: 0, seen: 0 };
    this.#known.set(c, known);
    return known;
  }

  /** Mean time to first byte in ms, for reports; null while there are too few measurements. */
  meanMs(c: CandidateNumber): number | null {
    const known = this.#known.get(c);
    return known === undefined || known.seen < ENOUGH ? null : known.meanUs / 1000;
  }
}
