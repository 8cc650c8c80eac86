/**
 * The outcome of every arrival, in columns: exact percentiles are computed at the end, without an object per arrival.
 */
import type { Attempt } from './attempt.js';

/** Outcomes that are not error codes. */
export const UNSENT = 'unsent';
export const OK = 'ok';
export const MISSED = 'missed';

export interface Counts {
  started: number;
  ok: number;
  failed: number;
  missed: number;
  open: number;
}

export class Recording {
  readonly counts: Counts = { started: 0, ok: 0, failed: 0, missed: 0, open: 0 };
  /** From the due time to the call that opens the connection; NaN for arrivals that were not sent. */
  readonly lagMs: Float64Array;
  /** From the due time; NaN for steps that were not reached. */
  readonly connectMs: Float64Array;
  readonly firstByteMs: Float64Array;
  /** For successful arrivals. */
  readonly totalMs: Float64Array;
  bodyBytes = 0;
  readonly #outcome: Uint16Array;
  readonly #servedBy: Uint16Array;
  readonly #outcomes = new Names([UNSENT, OK, MISSED]);
  readonly #replicas = new Names(['']);

  /** @param dueMs when arrivals are due, from the beginning */
  constructor(readonly dueMs: Float64Array) {
    const column = () => new Float64Array(dueMs.length).fill(Number.NaN);
    this.lagMs = column();
    this.connectMs = column();
    this.firstByteMs = column();
    this.totalMs = column();
    this.#outcome = new Uint16Array(dueMs.length);
    this.#servedBy = new Uint16Array(dueMs.length);
  }

  /** @param atMs when it was sent, from the beginning */
  begin(i: number, atMs: number): void {
    this.lagMs[i] = atMs - this.dueMs[i];
    this.counts.started++;
    this.counts.open++;
  }

  miss(i: number): void {
    this.#outcome[i] = this.#outcomes.index(MISSED);
    this.counts.missed++;
  }

  /** @param begunAt the beginning, by the clock of the attempt's times */
  end(i: number, attempt: Attempt, begunAt: number): void {
    const intended = begunAt + this.dueMs[i];
    const ok = attempt.error === '';
    this.connectMs[i] = attempt.connectedAt - intended;
    this.firstByteMs[i] = attempt.firstByteAt - intended;
    if (ok) this.totalMs[i] = attempt.endedAt - intended;
    this.#outcome[i] = this.#outcomes.index(ok ? OK : attempt.error);
    this.#servedBy[i] = this.#replicas.index(attempt.servedBy);
    this.bodyBytes += attempt.bodyBytes;
    this.counts.open--;
    if (ok) this.counts.ok++;
    else this.counts.failed++;
  }

  /** UNSENT, OK, MISSED or an error code. */
  outcome(i: number): string {
    return this.#outcomes.name(this.#outcome[i]);
  }

  /** '' without an answer. */
  servedBy(i: number): string {
    return this.#replicas.name(this.#servedBy[i]);
  }
}

const MOST_NAMES = 4096;
const REST = 'other';

/**
 * Numbers names. Beyond a limit all further names share one number, so that a server that sends a new name each time
 * fills no memory.
 */
class Names {
  readonly #names: string[] = [];
  readonly #indexes = new Map<string, number>();

  constructor(first: readonly string[]) {
    for (const name of first) this.index(name);
  }

  index(name: string): number {
    const known = this.#indexes.get(name);
    if (known !== undefined) return known;
    if (this.#names.length >= MOST_NAMES && name !== REST) return this.index(REST);
    this.#indexes.set(name, this.#names.length);
    return this.#names.push(name) - 1;
  }

  name(index: number): string {
    return this.#names[index];
  }
}
