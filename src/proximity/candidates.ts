/**
 * Small numbers for machines, the same in the control plane and in the data plane. 0 is always the origin.
 *
 * A machine has a number by which flows name it, the same for every service. Those machines that a gateway may ask for a
 * service have a second one, below {@link MOST_RACED}: their place among the candidates of that service's races.
 */
import type { CandidateNumber, MachineNumber } from '../flow/numbers.js';

export const ORIGIN = 0 as CandidateNumber;
/** The origin as a machine: each service has its own. */
export const ORIGIN_MACHINE = 0 as MachineNumber;
export const ORIGIN_ID = 'origin';

/**
 * The number of candidates that the races of one service, their records and the table of learned times can tell apart:
 * one bit of a word each, the origin included. An origin's race may be won by a machine beyond.
 */
export const MOST_RACED = 32;

/** The candidate of the lowest set bit. */
export const lowest = (bits: number): number => 31 - Math.clz32(bits & -bits);

/** The number of set bits. */
export function count(bits: number): number {
  let n = 0;
  for (let left = bits; left !== 0; left &= left - 1) n++;
  return n;
}

interface Holder {
  id: string;
  /** The first race in which the number means this machine. */
  since: number;
}

/**
 * Numbers that are given out one after another, and again once they are free. A machine receives one when it is first
 * mentioned. It stays assigned for a while after its machine has left, and its generation tells which machine it means.
 */
export class Numbers<N extends MachineNumber | CandidateNumber> {
  readonly #numbers = new Map<string, N>([[ORIGIN_ID, 0 as N]]);
  /** By number: its holders, the present one last. */
  readonly #holders: Holder[][] = [[{ id: ORIGIN_ID, since: 0 }]];
  readonly #generations: number[] = [0];
  /** Free numbers below {@link MOST_RACED}, and the free ones from there on. */
  readonly #freeLow: number[] = [];
  readonly #freeOthers: number[] = [];
  /** The number of the next race, so that {@link idOf} can name the machines of earlier races. */
  nextRace: () => number = () => 0;

  /** @param most how many numbers there are */
  constructor(readonly most = Number.POSITIVE_INFINITY) {}

  /**
   * The number of a machine; assigns the lowest free one below {@link MOST_RACED} if it has none, or else any. Requires
   * that one is free.
   */
  numberOf(id: string): N {
    return this.#numbers.get(id) ?? this.#give(id, this.#takeFree());
  }

  /** The number of a machine, or undefined when it has none. */
  find(id: string): N | undefined {
    return this.#numbers.get(id);
  }

  /** Whether all numbers are assigned. */
  get isFull(): boolean {
    return this.#numbers.size >= this.most;
  }

  #takeFree(): number {
    const { length } = this.#holders;
    if (this.#freeLow.length === 0) return length < MOST_RACED ? length : (this.#freeOthers.pop() ?? length);
    const least = Math.min(...this.#freeLow);
    this.#freeLow.splice(this.#freeLow.indexOf(least), 1);
    return least;
  }

  #give(id: string, n: number): N {
    const number = n as N;
    this.#numbers.set(id, number);
    const holder = { id, since: this.nextRace() };
    if (n === this.#holders.length) this.#holders.push([holder]);
    else this.#holders[n].push(holder);
    this.#generations[n] = (this.#generations[n] ?? -1) + 1;
    return number;
  }

  /** Frees a machine's number. Requires, of a number that flows store, that no flow has it. */
  release(id: string): void {
    const number = this.#numbers.get(id);
    if (number === undefined || number === 0) return;
    this.#numbers.delete(id);
    (number < MOST_RACED ? this.#freeLow : this.#freeOthers).push(number);
  }

  /** Machines that have a number. */
  get size(): number {
    return this.#numbers.size;
  }

  /** The machines that have a number. */
  get ids(): Iterable<string> {
    return this.#numbers.keys();
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
      if (holders.length < 2) continue;
      const needed = holders.findLastIndex((h) => h.since <= race);
      if (needed > 0) holders.splice(0, needed);
    }
  }
}
