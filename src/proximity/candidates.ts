/**
 * Small numbers for the machines that can win a race, the same in the control plane and in the data plane. 0 is
 * always the origin. A machine receives a number when it is first mentioned: the lowest free one that a race can
 * name. The number is free again after {@link Candidates.release}, which requires that no flow refers to the machine.
 * So a number stays assigned for a while after its machine has left, and its generation tells which machine it means.
 */
import type { CandidateNumber } from '../flow/numbers.js';

export const ORIGIN = 0 as CandidateNumber;
export const ORIGIN_ID = 'origin';

/**
 * The number of candidates that a gateway's own race, a race record and the table of learned times can tell apart:
 * one bit of a word each, the origin included. A candidate with a higher number can win an origin's race like any
 * other, but a gateway does not ask it.
 */
export const MOST_RACED = 32;

/** The candidate of the lowest set bit. */
export const lowest = (bits: number): number => 31 - Math.clz32(bits & -bits);

interface Holder {
  id: string;
  /** The first race in which the number means this machine. */
  since: number;
}

export class Candidates {
  readonly #numbers = new Map<string, CandidateNumber>([[ORIGIN_ID, ORIGIN]]);
  /** By number: its holders, the present one last; undefined as the last element while the number is free. */
  readonly #holders: Holder[][] = [[{ id: ORIGIN_ID, since: 0 }]];
  readonly #generations: number[] = [0];
  /** Free numbers below {@link MOST_RACED}, and the free ones from there on. */
  readonly #freeRaced: number[] = [];
  readonly #freeOthers: number[] = [];
  /** The number of the next race, so that {@link idOf} can name the machines of earlier races. */
  nextRace: () => number = () => 0;

  /** The number of a machine; assigns one if it has none. */
  numberOf(id: string): CandidateNumber {
    return this.#numbers.get(id) ?? this.#give(id, this.#takeFree());
  }

  /** The number of a machine, or undefined when it has none. */
  find(id: string): CandidateNumber | undefined {
    return this.#numbers.get(id);
  }

  /** The lowest free number that a race can name; where there is none, any free number. */
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

  /** Frees a machine's number. Requires that no flow has this machine as its winner. */
  release(id: string): void {
    const number = this.#numbers.get(id);
    if (number === undefined || number === ORIGIN) return;
    this.#numbers.delete(id);
    (number < MOST_RACED ? this.#freeRaced : this.#freeOthers).push(number);
  }

  /**
   * Gives a machine a number below {@link MOST_RACED}, where one is free. Has the same requirement as {@link
   * release}.
   */
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

  /**
   * How many machines have had a number before. When it changes, everything known under this number is about another
   * machine.
   */
  generationOf(number: number): number {
    return this.#generations[number] ?? 0;
  }

  /** The machine that a number stands for, now or in an earlier race. */
  idOf(number: number, race = Number.POSITIVE_INFINITY): string {
    return this.#holders[number]?.findLast((h) => h.since <= race)?.id ?? `#${number}`;
  }

  /** Forgets the machines that numbers meant in races before this one. */
  forgetBefore(race: number): void {
    for (const holders of this.#holders) {
      const needed = holders.findLastIndex((h) => h.since <= race);
      if (needed > 0) holders.splice(0, needed);
    }
  }
}
