/** Outcomes of clients' first requests at one machine lately, by group of clients. Pure. */
import { GROUPS } from './evidence.js';

export interface Outcomes {
  good: number;
  bad: number;
}

/** What was seen of a machine since the last look. */
export interface Seen {
  /** Requests begun. */
  requested: number;
  /** By group of clients: first bytes, the sum of their times (µs), and failures. */
  good: ArrayLike<number>;
  sumUs: ArrayLike<number>;
  bad: ArrayLike<number>;
}

/** The 97.5 percent quantile of the normal distribution: bounds hold with 95 percent. */
const Z = 1.96;

export const total = (o: Outcomes): number => o.good + o.bad;
export const rate = (o: Outcomes): number => (total(o) === 0 ? 0 : o.bad / total(o));
export const sum = (list: readonly Outcomes[]): Outcomes =>
  list.reduce((a, b) => ({ good: a.good + b.good, bad: a.bad + b.bad }), { good: 0, bad: 0 });

/** Wilson's interval for the share of failures: [0, 1] when nothing is known. */
export function bounds({ good, bad }: Outcomes): [low: number, high: number] {
  const n = good + bad;
  if (n === 0) return [0, 1];
  const p = bad / n;
  const z2 = Z * Z;
  const half = Z * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n));
  const scale = 1 + z2 / n;
  return [(p + z2 / (2 * n) - half) / scale, (p + z2 / (2 * n) + half) / scale];
}

class Pane {
  requested = 0;
  readonly good = new Float64Array(GROUPS);
  readonly sumUs = new Float64Array(GROUPS);
  readonly bad = new Float64Array(GROUPS);

  add(seen: Seen): void {
    this.requested += seen.requested;
    for (let g = 0; g < GROUPS; g++) {
      this.good[g] += seen.good[g];
      this.sumUs[g] += seen.sumUs[g];
      this.bad[g] += seen.bad[g];
    }
  }
  clear(): void {
    this.requested = 0;
    for (const words of [this.good, this.sumUs, this.bad]) words.fill(0);
  }
}

/** The sums of one machine over the present pane of time and the one before. */
export class Window {
  readonly #panes = [new Pane(), new Pane()];

  add(seen: Seen): void {
    this.#panes[0].add(seen);
  }
  /** Begins a new pane. */
  turn(): void {
    this.#panes.reverse();
    this.#panes[0].clear();
  }
  get requested(): number {
    return this.#panes[0].requested + this.#panes[1].requested;
  }
  /** By group. */
  get groups(): (Outcomes & { sumUs: number })[] {
    const [a, b] = this.#panes;
    return Array.from({ length: GROUPS }, (_, g) => ({
      good: a.good[g] + b.good[g],
      sumUs: a.sumUs[g] + b.sumUs[g],
      bad: a.bad[g] + b.bad[g],
    }));
  }
  get all(): Outcomes {
    return sum(this.groups);
  }
}
