/**
 * `firstack bench throughput|connect|packets|flows|all`: speed compared with plain routing, nftables, HAProxy and a C
 * program on a TUN, all on this machine and in turns.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { EXIT } from '../../errors.js';
import { generator } from '../../load/generator.js';
import type { Configuration } from '../../race/records.js';
import { connectRate, connectWorlds } from './connect-rate.js';
import { type FlowsPlan, flows, flowsWorlds } from './flows.js';
import { packets, packetsWorlds } from './packets.js';
import { type Figure, Rounds } from './rounds.js';
import { quotients } from './speed-plot.js';
import { markdown, table, unstable } from './speed-report.js';
import { Testbed } from './testbed.js';
import { PLAIN_ARMS, type Timing, throughput, throughputWorlds } from './throughput.js';
import type { WorldSpec } from './world.js';

export const PARTS = ['throughput', 'connect', 'packets', 'flows'] as const;
export type Part = (typeof PARTS)[number];

export interface SpeedOptions {
  json: boolean;
  /** Fewer and shorter rounds, as a test of the bench itself. */
  quick: boolean;
  svg?: string;
  markdown?: string;
}

interface Plan {
  throughput: Timing;
  connect: Timing;
  packets: Timing;
  flows: FlowsPlan;
}

const PLAN: Plan = {
  throughput: { rounds: 13, warmMs: 300, measureMs: 1500 },
  connect: { rounds: 15, warmMs: 300, measureMs: 1500 },
  packets: { rounds: 15, warmMs: 200, measureMs: 1000 },
  flows: {
    ...{ rounds: 15, warmMs: 200, measureMs: 1000 },
    configurations: ['A', 'B', 'C'],
    midflowTransfers: 10_000,
    killedSeconds: 5,
  },
};
const QUICK: Plan = {
  throughput: { rounds: 3, warmMs: 60, measureMs: 150 },
  connect: { rounds: 3, warmMs: 60, measureMs: 200 },
  packets: { rounds: 3, warmMs: 60, measureMs: 150 },
  flows: {
    ...{ rounds: 3, warmMs: 60, measureMs: 150 },
    configurations: ['A'],
    midflowTransfers: 2000,
    killedSeconds: 2,
  },
};

const YARDSTICKS: Record<Part, readonly string[]> = {
  throughput: PLAIN_ARMS,
  connect: ['crr:nft'],
  packets: ['pps:plain'],
  flows: ['pps:one-flow'],
};

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);

function worldsOf(part: Part, configurations: readonly Configuration[]): WorldSpec[] {
  if (part === 'throughput') return throughputWorlds();
  if (part === 'connect') return connectWorlds();
  return part === 'packets' ? packetsWorlds() : flowsWorlds(configurations);
}

/** @returns 0 when no target is missed for certain, else 1 */
export async function benchSpeed(parts: readonly Part[], o: SpeedOptions): Promise<number> {
  const plan = o.quick ? QUICK : PLAN;
  const name = parts.length === 1 ? parts[0] : 'all';
  const command = `firstack bench ${name}${o.quick ? ' --quick' : ''} --json`;
  const seed = Date.now() % 2 ** 31;
  say(`${command}; the order of arms is random, seed ${seed}`);
  const figures: Figure[] = [];
  for (const part of parts) {
    // A part's worlds are removed after it, because idle worlds still use the machine's memory and timers.
    const bed = await Testbed.create(worldsOf(part, plan.flows.configurations), say);
    try {
      const rounds = new Rounds(generator(seed), command, YARDSTICKS[part]);
      const told = (line: string): void => say(`${part}: ${line}`);
      if (part === 'throughput') figures.push(...(await throughput(bed, rounds, plan.throughput, told)));
      else if (part === 'connect') figures.push(...(await connectRate(bed, rounds, plan.connect, told)));
      else if (part === 'packets') figures.push(...(await packets(bed, rounds, plan.packets, told)));
      else figures.push(...(await flows(bed, rounds, plan.flows, told)));
    } finally {
      await bed.down();
    }
  }
  for (const line of unstable(figures)) say(line);
  draw(figures, o);
  process.stdout.write(o.json ? `${JSON.stringify(figures, null, 2)}\n` : table(figures));
  return figures.every((f) => f.met !== 'no') ? EXIT.ok : EXIT.expectation;
}

/** Draws and describes the figures that an earlier run printed. */
export async function benchDraw(file: string, o: Pick<SpeedOptions, 'svg' | 'markdown'>): Promise<number> {
  const figures = JSON.parse(readFileSync(file, 'utf8')) as Figure[];
  draw(figures, o);
  process.stdout.write(table(figures));
  return EXIT.ok;
}

function draw(figures: readonly Figure[], o: Pick<SpeedOptions, 'svg' | 'markdown'>): void {
  if (o.svg !== undefined) writeFileSync(o.svg, quotients(figures));
  if (o.markdown !== undefined) writeFileSync(o.markdown, markdown(figures, o.svg));
}
