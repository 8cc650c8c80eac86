/** Interleaved arms: every round measures each arm once, in random order. */
import { median } from '../../probe/distance.js';
import { machineCpuSeconds, processCpuSeconds } from './cpu.js';
import {
  bootstrap,
  describeTarget,
  isUnstable,
  judge,
  type Met,
  quantile,
  type Target,
} from './statistics.js';

/** The result of an arm in one round. */
export interface Sample {
  /** In the arm's unit; more is better. */
  value: number;
  /** Bytes carried in all, where they are counted. */
  bytes?: number;
}

export interface Arm {
  name: string;
  unit: string;
  /** The processes that carry the arm's packets. */
  pids(): number[];
  measure(): Promise<Sample>;
}

export interface ArmReport {
  arm: string;
  unit: string;
  median: number;
  /** Quartiles. */
  quartiles: [number, number];
  rounds: number;
  /** CPU seconds of the whole machine, and of the arm's own processes. */
  cpuSecondsPerGb?: number;
  ownCpuSecondsPerGb?: number;
  /** A description of the arm, where its name is not enough. */
  note?: string;
  /** Set for a yardstick whose middle half is wider than a fifth of its median: then the machine was not quiet. */
  unstable?: true;
}

export interface Figure {
  id: string;
  value: number;
  low: number;
  high: number;
  target: string;
  met: Met;
  arms: ArmReport[];
  command: string;
}

interface Taken extends Sample {
  machine: number;
  own: number;
}

export class Rounds {
  readonly #samples = new Map<string, Taken[]>();
  readonly #arms = new Map<string, Arm>();

  /** @param yardsticks the arms whose spread shows whether the machine was quiet */
  constructor(
    readonly random: () => number,
    readonly command: string,
    readonly yardsticks: readonly string[] = [],
  ) {}

  async run(arms: readonly Arm[], count: number, say: (line: string) => void): Promise<void> {
    for (const arm of arms) {
      this.#arms.set(arm.name, arm);
      this.#samples.set(arm.name, []);
    }
    const began = performance.now();
    for (let round = 1; round <= count; round++) {
      for (const arm of shuffled(arms, this.random)) {
        const before = [machineCpuSeconds(), processCpuSeconds(arm.pids())];
        const sample = await arm.measure();
        const [machine, own] = [machineCpuSeconds() - before[0], processCpuSeconds(arm.pids()) - before[1]];
        this.#samples.get(arm.name)!.push({ ...sample, machine, own });
      }
      say(`round ${round} of ${count}, ${Math.round((performance.now() - began) / 1000)} s`);
    }
  }

  values(arm: string): number[] {
    return this.#samples.get(arm)!.map((s) => s.value);
  }

  report(arm: string, note?: string): ArmReport {
    const taken = this.#samples.get(arm)!;
    const values = this.values(arm);
    const perGb = (of: (t: Taken) => number): number | undefined =>
      taken.every((t) => t.bytes !== undefined)
        ? rounded(median(taken.map((t) => of(t) / (t.bytes! / 1e9))))
        : undefined;
    return {
      arm,
      unit: this.#arms.get(arm)!.unit,
      median: rounded(median(values)),
      quartiles: [rounded(quantile(values, 0.25)), rounded(quantile(values, 0.75))],
      rounds: values.length,
      cpuSecondsPerGb: perGb((t) => t.machine),
      ownCpuSecondsPerGb: this.#arms.get(arm)!.pids().length === 0 ? undefined : perGb((t) => t.own),
      note,
      unstable: (this.yardsticks.includes(arm) && isUnstable(values)) || undefined,
    };
  }

  /**
   * By round: `arm` divided by the best of `others`.
   * @param credit a factor for the quotient
   */
  ratio(
    id: string,
    arm: string,
    others: readonly string[],
    target: Target | undefined,
    how: { credit?: number; note?: string } = {},
  ): Figure {
    const below = others.map((o) => this.values(o));
    const ratios = this.values(arm).map(
      (v, round) => ((how.credit ?? 1) * v) / Math.max(...below.map((b) => b[round])),
    );
    const reports = [this.report(arm, how.note), ...others.map((o) => this.report(o))];
    return this.figure(id, ratios, target, reports);
  }

  figure(id: string, values: readonly number[], target: Target | undefined, arms: ArmReport[]): Figure {
    const interval = bootstrap(values, this.random);
    return {
      id,
      value: rounded(interval.value),
      low: rounded(interval.low),
      high: rounded(interval.high),
      target: describeTarget(target),
      met: judge(interval, target),
      arms,
      command: this.command,
    };
  }
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

export function rounded(value: number): number {
  return Number(value.toPrecision(5));
}
