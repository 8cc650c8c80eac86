/**
 * `firstack bench race --matrix`: whether a gateway finds the nearest of hundreds of machines, and what it costs. The
 * paths are drawn from measured round trips by a seed; the machines are a farm; the connections are real.
 */
import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { median } from '../../probe/distance.js';
import { type DrawnDelays, drawDelays, publishedRace, readMatrix } from '../matrix.js';
import { Bed, type Sample } from './matrix-bed.js';
import { SPIKES, shift, spike } from './matrix-changes.js';
import { churn } from './matrix-churn.js';
import { tenThousand } from './matrix-fleet.js';
import { CURVES, type CurvePoint, curveDrawing, matrixReport } from './matrix-report.js';
import type { Figure } from './scenarios.js';

const CONNECTIONS = 240;
const COLD_CONNECTIONS = 50;
const FAR_MS = 3;
const CURVE_CONNECTIONS = 60;
const CURVE_SIZES = [5, 20, 100, 400];
/** It has a laboratory of its own. */
const TEN_THOUSAND_ID = 'ten-thousand';

export interface MatrixRaceOptions {
  matrix: string;
  replicas: number;
  /** How many draws: gateway, origin and machines. */
  topologies: number;
  seed: number;
  asymmetric: boolean;
  /** Only the figures with these ids, or that begin with one of them and a colon. */
  only?: string[];
  json: boolean;
  svg?: string;
  markdown?: string;
}

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;

export async function benchMatrixRace(o: MatrixRaceOptions): Promise<number> {
  const matrix = readMatrix(o.matrix);
  const draws = Array.from({ length: o.topologies }, (_, n) =>
    drawDelays(matrix, o.replicas, o.seed + n, o.asymmetric),
  );
  say(`${draws.length} draws of ${o.replicas} replicas from ${matrix.size} hosts, seed ${o.seed}`);
  const run = new MatrixRace(o, draws);
  if (o.only?.join() !== TEN_THOUSAND_ID) {
    const bed = await Bed.create(draws[0], say);
    try {
      await run.all(bed);
    } finally {
      await bed.end();
    }
  }
  if (isWanted(TEN_THOUSAND_ID, o.only)) await tenThousand(matrix, o, run.add, say);
  const { figures, curve } = run;
  if (o.svg !== undefined) writeFileSync(o.svg, curveDrawing(curve));
  if (o.markdown !== undefined)
    writeFileSync(o.markdown, matrixReport(figures, curve, basename(o.svg ?? 'race-many.svg')));
  if (o.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  else for (const f of figures) process.stdout.write(`${line(f)}\n`);
  return figures.every((f) => f.met !== 'no') ? 0 : 1;
}

/** Whether a figure is asked for: by its id, or by the beginning of it before a colon. */
export function isWanted(id: string, only: readonly string[] | undefined): boolean {
  return only === undefined || only.some((o) => id === o || (!o.includes(':') && id.startsWith(`${o}:`)));
}

/** Time to connect over the direct connection's to the nearest machine: the median of all connections. */
const ratioOf = (samples: readonly Sample[]): number =>
  median(samples.flatMap((s) => s.connections.map((c) => c.connectMs / s.nearestMs)));

class MatrixRace {
  readonly figures: Figure[] = [];
  readonly curve: CurvePoint[] = [];
  readonly #command: string;

  constructor(
    readonly o: MatrixRaceOptions,
    readonly draws: readonly DrawnDelays[],
  ) {
    const extra = o.asymmetric ? ' --asymmetric' : '';
    this.#command = `firstack bench race --matrix ${o.matrix} --replicas ${o.replicas} --topologies ${o.topologies} --seed ${o.seed}${extra}`;
  }

  readonly add = (
    id: string,
    mode: string,
    value: number | string,
    target: string,
    met: Figure['met'],
  ): void => {
    if (!isWanted(id, this.o.only)) return;
    const command = `${this.#command} --only ${id} --json`;
    this.figures.push({ id, mode, value, target, met, command });
    say(`${id}, ${mode}: ${typeof value === 'number' ? value.toFixed(4) : value} (${target})`);
  };

  async all(bed: Bed): Promise<void> {
    const n = this.o.replicas;
    const wants = (...ids: string[]): boolean => ids.some((id) => isWanted(id, this.o.only));
    const [near, cold, bare] = [`near:${n}`, `near:${n}:cold`, `near:bare:${n}`];
    const [syns, ratio] = [`syns:${n}`, `connect/rtt:${n}`];
    if (wants(near, syns, ratio)) {
      const samples = await this.#samples(bed, CONNECTIONS, {});
      this.#near(near, 'learned', samples, 0.995);
      const perConnection = sum(samples.map((s) => s.syns)) / sum(samples.map((s) => s.steady));
      this.add(syns, 'learned', perConnection, '<= 1.15', perConnection <= 1.15 ? 'yes' : 'no');
      const m = ratioOf(samples);
      this.add(ratio, 'learned', m, '<= 1.05', m <= 1.05 ? 'yes' : 'no');
      // On a path of a fraction of a millisecond the laboratory's own processing is most of the time.
      const far = samples.filter((s) => s.nearestMs >= FAR_MS);
      if (far.length > 0)
        this.add(
          ratio,
          `learned, draws whose nearest is ${FAR_MS} ms away or more`,
          ratioOf(far),
          'reported',
          'reported',
        );
    }
    if (wants(cold)) {
      const samples = await this.#samples(bed, COLD_CONNECTIONS, { isCold: true });
      this.#near(cold, 'learned, just started', samples, 0.9);
    }
    if (wants(bare)) {
      const samples = await this.#samples(bed, CONNECTIONS, { isBare: true });
      this.#near(bare, 'learned, no software on the replicas', samples, 0.99);
    }
    if (wants('churn')) await churn(bed, this.draws[0], this.add);
    if (wants('shift')) await shift(bed, this.draws[0], this.add);
    for (const id of SPIKES) if (wants(id)) await spike(bed, this.draws[0], id, this.add);
    if (wants('curve')) for (const k of this.#sizes()) await this.#point(bed, k);
  }

  async #samples(bed: Bed, count: number, how: { isCold?: boolean; isBare?: boolean }): Promise<Sample[]> {
    const samples: Sample[] = [];
    for (const [n, draw] of this.draws.entries()) {
      await bed.take(draw, { count: this.o.replicas, isBare: how.isBare });
      const s = await bed.sample(count, how.isCold === true);
      const [{ name, ms }] = bed.nearest;
      say(`draw ${n + 1}: nearest ${name} ${ms.toFixed(1)} ms; ${s.near} of ${s.connections.length} near`);
      samples.push(s);
    }
    return samples;
  }

  #near(id: string, mode: string, samples: readonly Sample[], least: number): void {
    const share = sum(samples.map((s) => s.near)) / sum(samples.map((s) => s.connections.length));
    this.add(id, mode, share, `>= ${least}`, share >= least ? 'yes' : 'no');
    const failed = sum(samples.map((s) => s.failed));
    if (failed > 0) this.add(id, `${mode}: failed connections`, failed, '0', 'no');
  }

  #sizes(): number[] {
    return [...new Set([...CURVE_SIZES.filter((k) => k < this.o.replicas), this.o.replicas])];
  }

  /** The first `count` machines of each draw. */
  async #point(bed: Bed, count: number): Promise<void> {
    const rows: CurvePoint[] = [];
    for (const draw of this.draws) {
      await bed.take(draw, { count });
      const s = await bed.sample(CURVE_CONNECTIONS, false);
      rows.push({
        machines: count,
        'published race (model)': publishedRace(bed.delaysMs, bed.machines).ms,
        learned: mean(s.connections.map((c) => c.connectMs)),
        oracle: s.nearestMs,
        plain: s.originMs,
      });
    }
    const point = { machines: count } as CurvePoint;
    for (const name of CURVES) {
      point[name] = mean(rows.map((r) => r[name]));
      this.add('curve', `${name}, ${count} replicas`, point[name], 'reported', 'reported');
    }
    this.curve.push(point);
  }
}

function line(f: Figure): string {
  const value = typeof f.value === 'number' ? String(Math.round(f.value * 10_000) / 10_000) : f.value;
  return `${f.id.padEnd(18)} ${f.mode.padEnd(40)} ${value.padEnd(12)} ${f.target.padEnd(10)} ${f.met}`;
}
