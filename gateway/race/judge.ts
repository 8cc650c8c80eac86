/** Decides once a second which machines serve slowly, from the data plane's sums (`outliers.ts` has the rules). */
import type { CandidateNumber } from '../../src/flow/numbers.js';
import type { Logger } from '../../src/log.js';
import { MOST_RACED } from '../../src/proximity/candidates.js';
import { readLearned } from '../../src/proximity/learned.js';
import type { Fleet } from './fleet.js';
import { firstByte } from './gauges.js';
import { type FirstBytes, Outliers } from './outliers.js';

export class Judge {
  readonly #outliers = new Outliers();
  readonly #generations: number[] = [];
  #ejected: CandidateNumber[] = [];
  #suspects: CandidateNumber[] = [];

  constructor(
    readonly fleet: Fleet,
    readonly log: Pick<Logger, 'warn'>,
  ) {}

  isEjected(candidate: CandidateNumber, nowMs: number): boolean {
    return this.#outliers.isEjected(candidate, nowMs);
  }

  /** Ids of the machines that are not raced for some time. */
  get ejectedIds(): string[] {
    return this.#ejected.map((c) => this.fleet.candidates.idOf(c));
  }

  /** One bit for each candidate that some connections avoid. */
  get suspectBits(): number {
    return this.#suspects.reduce((bits, c) => bits | (1 << c), 0);
  }

  /**
   * @param firstBytes the sums in shared memory
   * @returns whether the ejected machines or the suspects have changed
   */
  look(firstBytes: Float64Array, learned: Float64Array): boolean {
    const { fleet } = this;
    const totals = new Map<CandidateNumber, FirstBytes>();
    for (let c = 0 as CandidateNumber; c < MOST_RACED; c++) {
      this.#followHolder(c);
      const at = c * firstByte.stride;
      const count = firstBytes[at + firstByte.count];
      if (count > 0) totals.set(c, { count, sumUs: firstBytes[at + firstByte.sumUs] });
    }
    const now = performance.now();
    const before = `${this.#ejected}/${this.#suspects}`;
    const lists = fleet.candidatesByService().map((list) => list.filter((c) => c < MOST_RACED));
    for (const list of lists)
      for (const c of this.#outliers.judge(totals, list, now))
        this.log.warn(
          { replica: fleet.candidates.idOf(c), firstByteMs: this.#outliers.meanMs(c) },
          'serves slowly: not raced for some time',
        );
    this.#ejected = [...totals.keys()].filter((c) => this.#outliers.isEjected(c, now));
    const rtts = leastRoundTrips(learned);
    const rttUs = (c: CandidateNumber): number => rtts.get(c) ?? 0;
    this.#suspects = lists.flatMap((list) => this.#outliers.suspects(list, now, rttUs));
    return `${this.#ejected}/${this.#suspects}` !== before;
  }

  /** A number that now belongs to another machine has no history. */
  #followHolder(c: CandidateNumber): void {
    const generation = this.fleet.candidates.generationOf(c);
    if ((this.#generations[c] ?? 0) !== generation) this.#outliers.forget(c);
    this.#generations[c] = generation;
  }
}

/** The least learned round trip of each candidate, µs. */
function leastRoundTrips(learned: Float64Array): Map<number, number> {
  const out = new Map<number, number>();
  for (const entry of readLearned(learned))
    for (const { candidate, rttUs, samples } of entry.candidates)
      if (samples > 0) out.set(candidate, Math.min(rttUs, out.get(candidate) ?? rttUs));
  return out;
}
