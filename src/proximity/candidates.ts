/**
 * Small numbers for the machines that can win a race, the same in the control plane and in the data plane. 0 is always the
 * origin. A number is given out at a machine's first mention, the lowest that a race can name, and is free again when
 * {@link Candidates.release} says that no flow knows the machine any more; so a number outlives its machine for a while,
 * and its generation says whose it is.
 */
import type { CandidateNumber } from '../flow/numbers.js';

export const ORIGIN = 0 as CandidateNumber;
export const ORIGIN_ID = 'origin';

/**
 * Candidates that a gateway's own race, a race record and the table of what was learned tell apart: one bit of a word
 * each, the origin among them. Numbers beyond win races of an origin's like all others, and are not asked by a gateway.
 */
export const MOST_RACED = 32;

interface Holder {
  id: string;
  /** The race from which on the number is this machine's. */
  since: number;
}

export class Candidates {
  readonly #numbers = new Map<string, CandidateNumber>([[ORIGIN_ID, ORIGIN]]);
  /** By number: its holders, the present one last; undefined at the end while it is free. */
  readonly #holders: Holder[][] = [[{ id: ORIGIN_ID, since: 0 }]];
  readonly #generations: number[] = [0];
  /** Free numbers below {@link MOST_RACED}, and those beyond. */
  readonly #freeRaced: number[] = [];
  readonly #freeOthers: number[] = [];
  /** The number of the next race: what a number stood for in earlier ones is remembered. */
  nextRace: () => number = () => 0;

  /** The number of a machine, given out if it has none. */
  numberOf(id: string): CandidateNumber {
    return this.#numbers.get(id) ?? this.#give(id, this.#takeFree());
  }

  /** The number of a machine, or undefined when it has none. */
  find(id: string): CandidateNumber | undefined {
    return this.#numbers.get(id);
  }

  /** The lowest free number that a race can name; where there is none, any. */
  #takeFree(): number {
    const { length } = this.#holders;
    if (this.#freeRaced.length === 0)
      return length < MOST_RACED ? length : (this.#freeOthers.pop() ?? length);
    const least = Math.min(...this.#freeRaced);
    this.#freeRaced.splice(this.#freeRaced.indexOf(least), 1);
    return least;
  }

  #give(id: string, n: number): CandidateNumber {
    const number = n as CandidateNumber;
    this.#numbers.set(id, number);
    const holder = { id, since: this.nextRace() };
    if (n === this.#holders.length) this.#holders.push([holder]);
    else this.#holders[n].push(holder);
    this.#generations[n] = (this.#generations[n] ?? -1) + 1;
    return number;
  }

  /** Frees the number of a machine. Requires that no flow has this machine for its winner. */
  release(id: string): void {
    const number = this.#numbers.get(id);
    if (number === undefined || number === ORIGIN) return;
    this.#numbers.delete(id);
    (number < MOST_RACED ? this.#freeRaced : this.#freeOthers).push(number);
  }

  /** Gives a machine a number below {@link MOST_RACED} where one is free. Requires what {@link release} does. */
  promote(id: string): boolean {
    if (this.#freeRaced.length === 0) return false;
    this.release(id);
    this.#give(id, this.#takeFree());
    return true;
  }

  /** Machines that have a number. */
  get size(): number {
    return this.#numbers.size;
  }

  /** How many machines have had a number before: when it changes, what was known of the number is another machine's. */
  generationOf(number: number): number {
    return this.#generations[number] ?? 0;
  }

  /** The machine that a number stands for, now or in an earlier race. */
  idOf(number: number, race = Number.POSITIVE_INFINITY): string {
    return this.#holders[number]?.findLast((h) => h.since <= race)?.id ?? `#${number}`;
  }

  /** Forgets what numbers stood for in races before this one. */
  forgetBefore(race: number): void {
    for (const holders of this.#holders) {
      const needed = holders.findLastIndex((h) => h.since <= race);
      if (needed > 0) holders.splice(0, needed);
    }
  }
}
