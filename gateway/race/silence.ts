/**
 * Machines that say that they are up and answer no SYN: their application's host is cut off, or the path drops the form
 * in which they are asked (protocol 4 under C, the tag's option under B). Such a machine wins no race: no
 * connection fails by it, and without a message no operator would notice. For one service; pure; called twice a second.
 */
import type { CandidateNumber } from '../../src/flow/numbers.js';

/** SYNs without any answer after which a machine is silent, and the least time that the first of them has waited. */
const ENOUGH = 10;
const LEAST_MS = 2000;

/** The counters of `evidence.ts` that tell of a machine's answers. */
export interface Asked {
  asked: number;
  /** Answered or refused: either shows that the path works. */
  answered: number;
}

export interface Silent {
  candidate: CandidateNumber;
  what: 'silent' | 'answers-again';
  /** SYNs since its last answer, and answers of other machines meanwhile. */
  asked: number;
  others: number;
}

interface Known extends Asked {
  /** The counters when it last answered, and the others' answers then. */
  askedThen: number;
  othersThen: number;
  sinceMs: number;
  isSilent: boolean;
}

export class Silence {
  readonly #known = new Map<CandidateNumber, Known>();

  /** @param now the counters of the service's machines that are up, the origin included */
  look(now: ReadonlyMap<CandidateNumber, Asked>, nowMs: number): Silent[] {
    let all = 0;
    for (const { answered } of now.values()) all += answered;
    const out: Silent[] = [];
    for (const [candidate, { asked, answered }] of now) {
      const others = all - answered;
      const k = this.#known.get(candidate);
      // Counters that have fallen belong to another machine.
      if (k === undefined || asked < k.asked || answered < k.answered || others < k.othersThen) {
        this.#known.set(candidate, {
          ...{ asked, answered, askedThen: asked, othersThen: others, sinceMs: nowMs, isSilent: false },
        });
        continue;
      }
      if (answered > k.answered || k.asked === k.askedThen) {
        if (answered > k.answered && k.isSilent)
          out.push({ candidate, what: 'answers-again', asked: 0, others: 0 });
        if (answered > k.answered) k.isSilent = false;
        // A machine that is not asked is not silent: its time begins with the first SYN.
        const before = answered > k.answered ? asked : k.asked;
        Object.assign(k, { asked, answered, askedThen: before, othersThen: others, sinceMs: nowMs });
        continue;
      }
      Object.assign(k, { asked, answered });
      const [unanswered, meanwhile] = [asked - k.askedThen, others - k.othersThen];
      if (k.isSilent || unanswered < ENOUGH || meanwhile < ENOUGH || nowMs - k.sinceMs < LEAST_MS) continue;
      k.isSilent = true;
      out.push({ candidate, what: 'silent', asked: unanswered, others: meanwhile });
    }
    for (const c of this.#known.keys()) if (!now.has(c)) this.#known.delete(c);
    return out;
  }

  isSilent(candidate: CandidateNumber): boolean {
    return this.#known.get(candidate)?.isSilent === true;
  }
}
