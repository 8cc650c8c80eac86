/**
 * A machine that acknowledges SYNs and then does not serve must not win for ever. For one service: the share of first
 * requests that failed at each machine lately, compared with the others' share. Pure; called twice a second.
 *
 * A machine fails when, among the requests that have an outcome in a window,
 * - at least {@link ENOUGH} have one, and at least {@link LEAST_RATE} of them failed;
 * - the lower bound of its share (Wilson's interval) is above the upper bound of the others' share, so a service that
 *   fails everywhere has no failing machine;
 * - several clients agree: without the group of clients that saw most failures, the others' requests to the machine
 *   failed at half its rate or more. When no other client used the service in the window, one client decides alone.
 *
 * A machine that the others cannot be compared with yet is a suspect: some connections avoid it.
 */
import type { CandidateNumber } from '../../src/flow/numbers.js';
import { bounds, type Outcomes, rate, type Seen, sum, total, Window } from './outcomes.js';

const ENOUGH = 5;
/** Outcomes that say something of a machine where all machines are looked at together. */
const FEW = 3;
const LEAST_RATE = 0.2;
/** A window holds one to two of these times: the short one notices a sudden failure, the long one a rare one. */
const SHORT_MS = 1000;
export const LONG_MS = 15_000;

/** A machine that fails, and the figures by which it was judged. */
export interface Failing {
  candidate: CandidateNumber;
  own: Outcomes;
  others: Outcomes;
  /** How many groups of clients saw a failure. */
  groups: number;
}

interface Span {
  paneMs: number;
  turnedMs: number;
  of: Map<CandidateNumber, Window>;
}

const span = (paneMs: number): Span => ({ paneMs, turnedMs: Number.NEGATIVE_INFINITY, of: new Map() });

/** The machines of one service. */
export class Failures {
  readonly #short = span(SHORT_MS);
  readonly #long = span(LONG_MS);

  /** Takes over what was seen since the last call. */
  take(seen: ReadonlyMap<CandidateNumber, Seen>, nowMs: number): void {
    for (const s of [this.#short, this.#long]) {
      // After a long pause both panes are past.
      const panes = Math.min(2, Math.floor((nowMs - s.turnedMs) / s.paneMs));
      for (let n = 0; n < panes; n++) for (const w of s.of.values()) w.turn();
      if (panes > 0) s.turnedMs = nowMs;
      for (const [c, what] of seen) {
        const w = s.of.get(c) ?? new Window();
        s.of.set(c, w);
        w.add(what);
      }
    }
  }

  /** Forgets a machine: it is judged by new outcomes only. */
  forget(c: CandidateNumber): void {
    this.#short.of.delete(c);
    this.#long.of.delete(c);
  }

  /** @returns the machines that fail, the one with the highest rate first */
  failing(candidates: readonly CandidateNumber[]): Failing[] {
    return candidates
      .flatMap(
        (c) => this.#failing(this.#short, candidates, c) ?? this.#failing(this.#long, candidates, c) ?? [],
      )
      .sort((a, b) => rate(b.own) - rate(a.own));
  }

  /**
   * The outcomes of all machines together in the short window, and the least share of failures of one of them;
   * undefined while fewer than two machines have some, unless there is only one.
   */
  whole(candidates: readonly CandidateNumber[]): { all: Outcomes; leastRate: number } | undefined {
    const each = candidates
      .map((c) => this.#short.of.get(c)?.all ?? { good: 0, bad: 0 })
      .filter((o) => total(o) >= FEW);
    if (each.length < Math.min(2, candidates.length)) return undefined;
    return { all: sum(each), leastRate: Math.min(1, ...each.map(rate)) };
  }

  #failing(
    { of }: Span,
    candidates: readonly CandidateNumber[],
    candidate: CandidateNumber,
  ): Failing | undefined {
    const window = of.get(candidate);
    if (window === undefined) return undefined;
    const own = window.all;
    if (total(own) < ENOUGH || rate(own) < LEAST_RATE) return undefined;
    const others = this.#othersOf(of, candidates, candidate);
    if (total(others) === 0 || bounds(own)[0] <= bounds(others)[1]) return undefined;
    const { groups } = window;
    const worst = groups.reduce((w, o, g) => (o.bad > groups[w].bad ? g : w), 0);
    const rest = sum(groups.filter((_, g) => g !== worst));
    const agrees = rest.bad > 0 && rate(rest) >= rate(own) / 2;
    if (!agrees && !isAlone(of, candidates, worst)) return undefined;
    return { candidate, own, others, groups: groups.filter((o) => o.bad > 0).length };
  }

  /** The other machines' outcomes in a window; in the long one when they have too few there. */
  #othersOf(
    of: ReadonlyMap<CandidateNumber, Window>,
    candidates: readonly CandidateNumber[],
    candidate: CandidateNumber,
  ): Outcomes {
    const rest = candidates.filter((c) => c !== candidate);
    const others = sum(rest.flatMap((c) => of.get(c)?.all ?? []));
    return total(others) >= ENOUGH ? others : sum(rest.flatMap((c) => this.#long.of.get(c)?.all ?? []));
  }

  /**
   * Whether a machine's first bytes are as late as this also without the group of clients for which they were latest;
   * or no other group used the service lately.
   */
  isSlowForSeveral(
    candidates: readonly CandidateNumber[],
    candidate: CandidateNumber,
    mostUs: number,
  ): boolean {
    const groups = this.#long.of.get(candidate)?.groups ?? [];
    const mean = (g: number): number => (groups[g].good === 0 ? 0 : groups[g].sumUs / groups[g].good);
    const worst = groups.reduce((w, _, g) => (mean(g) > mean(w) ? g : w), 0);
    if (isAlone(this.#long.of, candidates, worst)) return true;
    const rest = groups.filter((_, g) => g !== worst);
    const count = rest.reduce((n, o) => n + o.good, 0);
    return count > 0 && rest.reduce((us, o) => us + o.sumUs, 0) / count >= mostUs;
  }

  /**
   * Machines none of whose requests was answered lately, or that fail, while the others have too few outcomes for a
   * comparison. The origin is none: it is never ejected.
   */
  suspects(candidates: readonly CandidateNumber[]): CandidateNumber[] {
    return candidates.filter((c) => {
      const window = this.#short.of.get(c);
      if (c === 0 || window === undefined) return false;
      if (total(this.#othersOf(this.#long.of, candidates, c)) >= 2 * ENOUGH) return false;
      const isMute = window.requested >= ENOUGH && window.all.good === 0;
      const lately = this.#long.of.get(c)?.all ?? window.all;
      return isMute || (total(lately) >= ENOUGH && rate(lately) >= LEAST_RATE);
    });
  }
}

/** Whether no client outside this group had an outcome at any machine of the service. */
function isAlone(
  of: ReadonlyMap<CandidateNumber, Window>,
  candidates: readonly CandidateNumber[],
  group: number,
): boolean {
  return candidates.every((c) => of.get(c)?.groups.every((o, g) => g === group || total(o) === 0) ?? true);
}
