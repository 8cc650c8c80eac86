/**
 * Which machines of one service are not raced, and when they are tried again. An ejected machine is given at most one
 * connection per interval, a trial: {@link Pace.trialMs} after the ejection, and twice as long after each trial that
 * fails. After a trial that succeeds the next ones follow quickly; after {@link GOOD_TRIALS} in a row the machine is
 * raced again. Pure; called twice a second.
 */
import type { CandidateNumber } from '../../src/flow/numbers.js';

/** How soon and how rarely an ejected machine is tried, ms. */
export interface Pace {
  trialMs: number;
  mostTrialMs: number;
}

const GOOD_TRIALS = 3;
/** From a trial that succeeded to the next, ms. */
const NEXT_MS = 1000;
/** A trial without an outcome for this long tells nothing: the client sent no request, ms. */
const TRIAL_ENDS_MS = 10_000;
/** A machine that is ejected again within this time of its return starts with the interval that it had, ms. */
const RELAPSE_MS = 600_000;

/** The data plane's counts of a machine's trials. */
export interface Trials {
  given: number;
  good: number;
  bad: number;
  /** Time to first byte of the last good one, µs. */
  us: number;
}

export interface Ejection {
  why: 'fails' | 'slow';
  sinceMs: number;
  intervalMs: number;
  /** When the next trial is due. */
  nextMs: number;
  /** The number of trials ordered so far; above {@link Trials.given} while one waits for a connection. */
  ordered: number;
  /** Good trials in a row. */
  goodTrials: number;
  /** A trial slower than this is no good one, µs. */
  mostUs: number;
}

/** What a call of {@link Ejections.follow} decided about a machine. */
export type Change = 'trial' | 'back' | undefined;

export class Ejections {
  readonly #now = new Map<CandidateNumber, Ejection & { before: Trials; givenMs: number | undefined }>();
  /** Of machines that have returned: when, and the interval that they had. */
  readonly #former = new Map<CandidateNumber, { backMs: number; intervalMs: number }>();

  constructor(readonly pace: Pace) {}

  get(c: CandidateNumber): Ejection | undefined {
    return this.#now.get(c);
  }
  get all(): CandidateNumber[] {
    return [...this.#now.keys()];
  }

  /** The most machines of a service that may be ejected at once: a third, the origin counted. */
  room(candidates: readonly CandidateNumber[]): number {
    return Math.floor(candidates.length / 3) - candidates.filter((c) => this.#now.has(c)).length;
  }

  eject(c: CandidateNumber, why: Ejection['why'], mostUs: number, trials: Trials, nowMs: number): Ejection {
    const { trialMs, mostTrialMs } = this.pace;
    const former = this.#former.get(c);
    const relapsed = former !== undefined && nowMs - former.backMs < RELAPSE_MS;
    const intervalMs = relapsed ? Math.min(mostTrialMs, 2 * former.intervalMs) : trialMs;
    const ejection = {
      ...{ why, sinceMs: nowMs, intervalMs, nextMs: nowMs + intervalMs, ordered: trials.given },
      ...{ goodTrials: 0, mostUs, before: { ...trials }, givenMs: undefined },
    };
    this.#now.set(c, ejection);
    return ejection;
  }

  /** Forgets a number, because it means another machine from now on. */
  forget(c: CandidateNumber): void {
    this.#now.delete(c);
    this.#former.delete(c);
  }

  /** Follows the trials of an ejected machine. */
  follow(c: CandidateNumber, trials: Trials, nowMs: number): Change {
    const e = this.#now.get(c);
    if (e === undefined) return undefined;
    const { before } = e;
    e.before = { ...trials };
    if (trials.given > before.given) {
      e.givenMs = nowMs;
      e.nextMs = nowMs + e.intervalMs;
    }
    const hasEnded = trials.good > before.good || trials.bad > before.bad;
    if (hasEnded || nowMs - (e.givenMs ?? nowMs) >= TRIAL_ENDS_MS) e.givenMs = undefined;
    const isGood = trials.bad === before.bad && trials.good > before.good && trials.us <= e.mostUs;
    if (hasEnded && !isGood) {
      e.goodTrials = 0;
      e.intervalMs = Math.min(this.pace.mostTrialMs, 2 * e.intervalMs);
      e.nextMs = nowMs + e.intervalMs;
    } else if (isGood) {
      e.goodTrials++;
      e.nextMs = nowMs + Math.min(NEXT_MS, e.intervalMs);
      if (e.goodTrials >= GOOD_TRIALS) return this.#return(c, e.intervalMs, nowMs);
    }
    // One at a time: the last one waits for a connection, or for its outcome.
    if (e.ordered > trials.given || e.givenMs !== undefined || nowMs < e.nextMs) return undefined;
    e.ordered = trials.given + 1;
    e.nextMs = nowMs + e.intervalMs;
    return 'trial';
  }

  #return(c: CandidateNumber, intervalMs: number, nowMs: number): Change {
    this.#now.delete(c);
    this.#former.set(c, { backMs: nowMs, intervalMs });
    return 'back';
  }
}
