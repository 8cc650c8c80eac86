/**
 * `firstack bench profile`: the processor time of two arms by function, per packet or per connection. The causes that
 * `deploy/measured/performance-limits.md` names are based on it.
 */
import { writeFileSync } from 'node:fs';
import { EXIT } from '../../errors.js';
import { pause } from '../process.js';
import { FIRST_ADDRESS, FIRST_PORT, fillFlows } from './kernel-flows.js';
import { type Aim, blastArm, holdFlow, ignoreAt } from './packets.js';
import { count, noSamples, record, requirePerf, SAMPLES_PER_SECOND, type Samples } from './perf.js';
import { type Compared, page, table } from './profile-report.js';
import { Testbed } from './testbed.js';
import { FIRST_PROCESSOR, onProcessor, type World, type WorldSpec } from './world.js';

const WARM_MS = 500;
const SECONDS = 2;
/** The load runs a little longer than the sampling. */
const LOAD_MS = SECONDS * 1000 + 600;
const TURNS = 3;
/** The bytes that a sending stack mostly passes at once: 40 segments. */
const SUPER_BYTES = 40 * 1448;
const CLIENTS = 4;
const MILLION = 1_000_000;

/** An arm that runs, and the number of its units per second. */
interface Arm {
  name: string;
  run(): Promise<number>;
}

interface Comparison {
  title: string;
  unit: string;
  ours: Arm;
  other: Arm;
}

const firstack = { kind: 'firstack', configuration: 'A' } as const;
const WORLDS: WorldSpec[] = [
  { name: 'plain', carrier: { kind: 'plain' } },
  { name: 'nft', carrier: { kind: 'nft' } },
  { name: 'haproxy', carrier: { kind: 'haproxy', splice: false } },
  { name: 'c', carrier: { kind: 'c' } },
  { name: 'pinned-a', carrier: { ...firstack, fastpath: 'on' } },
  { name: 'alone-a', carrier: { ...firstack, fastpath: 'on', race: 'learned', openings: false } },
  { name: 'pinned-b', carrier: { ...firstack, configuration: 'B', fastpath: 'on' } },
  { name: 'tun-a', carrier: { ...firstack, fastpath: 'off' } },
  { name: 'tun-b', carrier: { ...firstack, configuration: 'B', fastpath: 'off' } },
  { name: 'tun-c', carrier: { ...firstack, configuration: 'C', fastpath: 'off' } },
  { name: 'million-a', carrier: { ...firstack, fastpath: 'on', maxFlows: 1_048_576 } },
];

function stream(world: World, direction: 'up' | 'down'): Arm {
  return {
    name: `${world.name}:${direction}`,
    async run(): Promise<number> {
      const timing = ['1', String(WARM_MS), String(LOAD_MS)];
      const o = await world.load<{ bytes: number; seconds: number }>(
        [direction],
        timing,
        onProcessor(FIRST_PROCESSOR),
      );
      return o.bytes / o.seconds / SUPER_BYTES;
    },
  };
}

function connections(world: World): Arm {
  return {
    name: `crr:${world.name}`,
    async run(): Promise<number> {
      const o = await world.load<{ count: number; seconds: number }>(
        ['crr'],
        [CLIENTS, WARM_MS, LOAD_MS].map(String),
      );
      return o.count / o.seconds;
    },
  };
}

function packets(world: World, aim: Aim, flows: number): Arm {
  const name = `pps:${world.name}${flows === 1 ? '' : `:${flows}-flows`}`;
  const arm = blastArm(world, name, aim, flows, { rounds: 1, warmMs: WARM_MS, measureMs: LOAD_MS });
  return {
    name,
    async run(): Promise<number> {
      await ignoreAt(world, true);
      try {
        return (await arm.measure()).value;
      } finally {
        await ignoreAt(world, false);
      }
    },
  };
}

async function comparisons(bed: Testbed): Promise<Comparison[]> {
  const world = (name: string): World => bed.world(name);
  const bulk = (ours: string, other: string, direction: 'up' | 'down'): Comparison => ({
    title: `${ours}:${direction} compared with ${other}:${direction}`,
    unit: 'super-packet of 40 segments and its acknowledgements',
    ours: stream(world(ours), direction),
    other: stream(world(other), direction),
  });
  const single: Comparison[] = [];
  for (const [ours, other] of [
    ['pinned-a', 'plain'],
    ['tun-a', 'c'],
  ]) {
    const arms: Arm[] = [];
    for (const name of [ours, other]) arms.push(packets(world(name), await holdFlow(world(name)), 1));
    single.push({
      title: `minimum-size packets, ${ours} compared with ${other}`,
      unit: 'packet',
      ours: arms[0],
      other: arms[1],
    });
  }
  const million = world('million-a');
  fillFlows(million, 0, MILLION);
  const aim = { saddr: FIRST_ADDRESS, sport: FIRST_PORT, seq: 1, ack: 1 };
  return [
    bulk('pinned-a', 'plain', 'up'),
    bulk('pinned-a', 'plain', 'down'),
    bulk('pinned-a', 'nft', 'up'),
    bulk('pinned-b', 'plain', 'up'),
    bulk('tun-a', 'haproxy', 'up'),
    bulk('tun-b', 'haproxy', 'up'),
    bulk('tun-c', 'haproxy', 'up'),
    {
      title: 'connections, alone-a compared with nft',
      unit: 'connection',
      ours: connections(world('alone-a')),
      other: connections(world('nft')),
    },
    ...single,
    {
      title: 'packets of a million flows compared with packets of one',
      unit: 'packet',
      ours: packets(million, aim, MILLION),
      other: packets(million, aim, 1),
    },
  ];
}

async function profiled(arm: Arm, file: string, samples: Samples): Promise<number> {
  const load = arm.run();
  await pause(WARM_MS);
  await record(file, SECONDS);
  const rate = await load;
  await count(file, samples);
  return rate;
}

async function compare(c: Comparison, file: string): Promise<Compared> {
  const samples = [noSamples(), noSamples()];
  const rates = [0, 0];
  for (let turn = 0; turn < TURNS; turn++)
    for (const [k, arm] of [c.ours, c.other].entries())
      rates[k] += (await profiled(arm, file, samples[k])) / TURNS;
  const side = (k: number, arm: Arm) => ({
    arm: arm.name,
    perSecond: rates[k],
    // Each sample stands for the same time.
    nanosecondsPerSample: 1e9 / SAMPLES_PER_SECOND / (rates[k] * SECONDS * TURNS),
    samples: samples[k],
  });
  return { title: c.title, unit: c.unit, ours: side(0, c.ours), other: side(1, c.other) };
}

/** @returns 0 */
export async function benchProfile(o: { json: boolean; markdown?: string }): Promise<number> {
  await requirePerf();
  const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
  const bed = await Testbed.create(WORLDS, say);
  const done: Compared[] = [];
  try {
    for (const c of await comparisons(bed)) {
      done.push(await compare(c, `${bed.directory}/perf.data`));
      say(c.title);
    }
  } finally {
    await bed.down();
  }
  if (o.markdown !== undefined) writeFileSync(o.markdown, page(done));
  process.stdout.write(o.json ? `${JSON.stringify(done.map(table), null, 2)}\n` : page(done));
  return EXIT.ok;
}
