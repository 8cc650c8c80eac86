/** Records that count for nothing: each is said once with its reason, in the log and in the status. */
import type { Logger } from '../log.js';

interface Refusal {
  why: string;
  since: number;
  said: boolean;
}

/** More are counted, and not listed. */
const MOST = 1000;
/** What is put right within this time is not said: a record and its seal are written one after the other. */
const SAID_AFTER_MS = 300;

export class Refusals {
  readonly #present = new Map<string, Refusal>();

  constructor(readonly log: Pick<Logger, 'warn'>) {}

  /** @returns whether the record should be read once more, because it may be put right */
  say(key: string, why: string, isLeftOut: boolean, now: number): boolean {
    const before = this.#present.get(key);
    if (before?.why !== why) {
      const isKept = before !== undefined || this.#present.size < MOST;
      if (isKept) this.#present.set(key, { why, since: now, said: false });
      return isKept;
    }
    if (before.said) return false;
    if (now - before.since < SAID_AFTER_MS) return true;
    before.said = true;
    const what = isLeftOut ? 'left out' : 'accepted still (unsignedRecords: accept)';
    this.log.warn({ key, why }, `a registry record has no authority: ${what}`);
    return false;
  }

  forget(key: string): void {
    if (this.#present.size > 0) this.#present.delete(key);
  }

  /** By key: the reason. */
  get list(): Record<string, string> {
    return Object.fromEntries(
      [...this.#present].filter(([, r]) => r.said).map(([key, { why }]) => [key, why]),
    );
  }
}
