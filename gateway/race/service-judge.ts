/**
 * Judges the machines of one service by the data plane's counters (`evidence.ts`): which are ejected because they
 * fail (`failures.ts`) or are slow (`outliers.ts`), tried, raced again (`ejections.ts`), or suspects. Pure.
 */
import type { CandidateNumber } from '../../src/flow/numbers.js';
import { Ejections, type Pace, type Trials } from './ejections.js';
import { evidence, GROUPS, groupOf } from './evidence.js';
import { type Failing, Failures, LONG_MS } from './failures.js';
import type { Seen } from './outcomes.js';
import { type FirstBytes, Outliers, type Slow } from './outliers.js';

/** A change about one machine, with the figures on which it is based. */
export type Verdict = { candidate: CandidateNumber } & (
  | { what: 'fails'; failing: Failing; nextMs: number }
  | { what: 'slow'; slow: Slow; nextMs: number }
  | { what: 'trial' | 'back' }
);

/** How often slowness is judged: `outliers.ts` averages over seconds. */
const SLOW_EVERY_MS = 1000;
/**
 * Without a suspect, and without a new outcome for so long, the judge has used every outcome of the service: looking again would
 * change nothing.
 */
const STILL_MS = 3 * SLOW_EVERY_MS;

export class ServiceJudge {
  readonly ejections: Ejections;
  readonly #failures = new Failures();
  readonly #outliers = new Outliers();
  /** By candidate: its counters at the last look. */
  readonly #before: Float64Array[] = [];
  readonly #rows: Float64Array[] = [];
  #slowMs = Number.NEGATIVE_INFINITY;
  /** When a counter last rose. */
  #risenMs = Number.NEGATIVE_INFINITY;
  suspects: CandidateNumber[] = [];

  /** @param rowOf a machine's counters, in the memory that the data plane writes */
  constructor(
    pace: Pace,
    readonly rowOf: (c: CandidateNumber) => Float64Array,
  ) {
    this.ejections = new Ejections(pace);
  }

  /**
   * @param candidates the machines of the service that are up, ejected ones and the origin included
   * @param rttUs a machine's least round trip, 0 where it is not known
   */
  look(
    candidates: readonly CandidateNumber[],
    nowMs: number,
    rttUs: (c: CandidateNumber) => number = () => 0,
  ): Verdict[] {
    const { ejections } = this;
    const seen = this.#seen(candidates);
    if (seen.size > 0) this.#risenMs = nowMs;
    const isStill = this.suspects.length === 0 && nowMs - this.#risenMs > STILL_MS;
    if (this.ejections.all.length === 0 && isStill) return [];
    if (this.isQuiet(nowMs)) {
      this.suspects = [];
      return [];
    }
    this.#failures.take(seen, nowMs);
    const rows = new Map(candidates.map((c) => [c, this.#row(c)]));
    const verdicts = candidates.flatMap((c): Verdict[] => {
      const what = ejections.follow(c, trialsOf(rows.get(c)!), nowMs);
      return what === undefined ? [] : [{ candidate: c, what }];
    });
    // What a machine did before it came back does not count against it again.
    for (const { what, candidate: c } of verdicts) if (what === 'back') this.#restart(c, rows.get(c)!);
    const isEjected = (c: CandidateNumber): boolean => ejections.get(c) !== undefined;
    const eject = (c: CandidateNumber, why: 'fails' | 'slow', mostUs: number): number => {
      this.#restart(c, rows.get(c)!);
      return ejections.eject(c, why, mostUs, trialsOf(rows.get(c)!), nowMs).nextMs;
    };
    const raced = candidates.filter((c) => !isEjected(c));
    for (const failing of this.#failures.failing(raced)) {
      const { candidate } = failing;
      if (candidate === 0 || ejections.room(candidates) <= 0) continue;
      const nextMs = eject(candidate, 'fails', Number.POSITIVE_INFINITY);
      verdicts.push({ candidate, what: 'fails', failing, nextMs });
    }
    for (const slow of this.#slow(rows, candidates, nowMs)) {
      const nextMs = eject(slow.candidate, 'slow', slow.mostUs);
      verdicts.push({ candidate: slow.candidate, what: 'slow', slow, nextMs });
    }
    const still = candidates.filter((c) => !isEjected(c));
    const bySlowness = this.#outliers.suspects(still, isEjected, rttUs);
    this.suspects = [...new Set([...bySlowness, ...this.#failures.suspects(still)])];
    return verdicts;
  }

  /** Most services of a gateway are quiet: all that was seen of them is past. */
  isQuiet(nowMs: number): boolean {
    return this.ejections.all.length === 0 && nowMs - this.#risenMs > 2 * LONG_MS;
  }

  /** What became of the requests to all machines of the service in the last seconds. */
  whole(candidates: readonly CandidateNumber[]): ReturnType<Failures['whole']> {
    return this.#failures.whole(candidates);
  }

  /**
   * Forgets a number that means another machine from now on. Its counters are not the new machine's, until the data
   * plane clears them.
   */
  forget(c: CandidateNumber): void {
    const row = this.#row(c);
    this.#restart(c, row);
    this.ejections.forget(c);
    this.#before[c] = row.slice();
  }

  /** Judges a machine by new outcomes only. */
  #restart(c: CandidateNumber, row: Float64Array): void {
    this.#failures.forget(c);
    this.#outliers.restart(c, firstBytesOf(row));
  }

  #slow(
    rows: ReadonlyMap<CandidateNumber, Float64Array>,
    candidates: readonly CandidateNumber[],
    nowMs: number,
  ): Slow[] {
    if (nowMs - this.#slowMs < SLOW_EVERY_MS) return [];
    this.#slowMs = nowMs;
    const totals = [...rows]
      .filter(([, row]) => row[evidence.firstBytes] > 0)
      .map(([c, row]) => [c, firstBytesOf(row)] as const);
    return this.#outliers.judge(
      new Map(totals),
      candidates,
      (c) => this.ejections.get(c) !== undefined,
      this.ejections.room(candidates),
      (c, mostUs) => this.#failures.isSlowForSeveral(candidates, c, mostUs),
    );
  }

  #row(c: CandidateNumber): Float64Array {
    this.#rows[c] ??= this.rowOf(c);
    return this.#rows[c];
  }

  /** What has been added to each machine's counters since the last look; nothing while it is ejected. */
  #seen(candidates: readonly CandidateNumber[]): Map<CandidateNumber, Seen> {
    const seen = new Map<CandidateNumber, Seen>();
    for (const c of candidates) {
      const row = this.#row(c);
      const before = this.#before[c];
      if (!hasChanged(row, before)) continue;
      const now = row.slice();
      this.#before[c] = now;
      // The data plane has cleared the counters since: another machine has the number.
      const isNew = before === undefined || RISING.some((w) => now[w] < before[w]);
      if (this.ejections.get(c) !== undefined) continue;
      const added = (w: number): number => now[w] - (isNew ? 0 : before[w]);
      const ofGroups = (w: number): number[] =>
        Array.from({ length: GROUPS }, (_, g) => added(evidence.groups + g * groupOf.stride + w));
      const requested = added(evidence.requested);
      const [good, bad] = [ofGroups(groupOf.firstBytes), ofGroups(groupOf.failed)];
      seen.set(c, { requested, good, sumUs: ofGroups(groupOf.sumUs), bad });
    }
    return seen;
  }
}

/** The counters by which a machine is judged. */
const RISING = [evidence.requested, evidence.firstBytes, evidence.noFirstByte, evidence.reset] as const;

function hasChanged(row: Float64Array, before: Float64Array | undefined): boolean {
  for (const w of RISING) if (row[w] !== (before === undefined ? 0 : before[w])) return true;
  return false;
}

const firstBytesOf = (row: Float64Array): FirstBytes => ({
  count: row[evidence.firstBytes],
  sumUs: row[evidence.sumUs],
});

const trialsOf = (row: Float64Array): Trials => ({
  given: row[evidence.trials],
  good: row[evidence.trialsGood],
  bad: row[evidence.trialsBad],
  us: row[evidence.trialUs],
});
