/**
 * `firstack bench throughput`: bytes a second, of one flow and of eight, in each direction, counted by the receiver.
 */
import type { Configuration } from '../../race/records.js';
import type { Arm, Figure, Rounds, Sample } from './rounds.js';
import type { Target } from './statistics.js';
import type { Testbed } from './testbed.js';
import { FIRST_PROCESSOR, onProcessor, type World, type WorldSpec } from './world.js';

export type Direction = 'up' | 'down';
const DIRECTIONS: readonly Direction[] = ['down', 'up'];
const CONFIGURATIONS: readonly Configuration[] = ['A', 'B', 'C'];
const MANY = 8;
/** Payload of a full packet with timestamps, with an MTU of 1500 bytes, over that with the tunnel's MTU. */
export const CREDIT = (1500 - 52) / (1480 - 52);

const lower = (c: Configuration): string => c.toLowerCase();

export function throughputWorlds(): WorldSpec[] {
  const ours = (fastpath: 'on' | 'off') => (configuration: Configuration) => ({
    name: `${fastpath === 'on' ? 'pinned' : 'tun'}-${lower(configuration)}`,
    carrier: { kind: 'firstack' as const, configuration, fastpath },
  });
  return [
    { name: 'plain', carrier: { kind: 'plain' } },
    { name: 'nft', carrier: { kind: 'nft' } },
    { name: 'haproxy', carrier: { kind: 'haproxy', splice: false } },
    { name: 'splice', carrier: { kind: 'haproxy', splice: true } },
    { name: 'c', carrier: { kind: 'c' } },
    ...CONFIGURATIONS.map(ours('off')),
    ...CONFIGURATIONS.map(ours('on')),
    { name: 'plain-6', carrier: { kind: 'plain' }, family: 6 },
    { ...ours('on')('A'), name: 'pinned-a-6', family: 6 },
  ];
}

export interface Timing {
  rounds: number;
  warmMs: number;
  measureMs: number;
}

export async function throughput(
  bed: Testbed,
  rounds: Rounds,
  timing: Timing,
  say: (line: string) => void,
): Promise<Figure[]> {
  const arms: Arm[] = [];
  for (const { name } of throughputWorlds()) {
    const world = bed.world(name);
    for (const direction of DIRECTIONS) {
      arms.push(streamArm(world, direction, 1, timing));
      if (name === 'plain' || /^pinned-.$/.test(name)) arms.push(streamArm(world, direction, MANY, timing));
    }
  }
  await rounds.run(arms, timing.rounds, say);
  return figures(rounds);
}

export const armName = (world: string, direction: Direction, flows: number): string =>
  `${world}:${direction}${flows === 1 ? '' : `:${flows}`}`;

export function streamArm(
  world: World,
  direction: Direction,
  flows: number,
  { warmMs, measureMs }: Timing,
): Arm {
  return {
    name: armName(world.name, direction, flows),
    unit: 'Gbit/s',
    pids: () => world.pids(),
    async measure(): Promise<Sample> {
      const o = await world.load<{ bytes: number; seconds: number; total: number }>(
        [direction],
        [flows, warmMs, measureMs].map(String),
        onProcessor(FIRST_PROCESSOR),
      );
      return { value: (o.bytes * 8) / o.seconds / 1e9, bytes: o.total };
    },
  };
}

const atLeast = (value: number): Target => ({ kind: 'least', value });

function figures(rounds: Rounds): Figure[] {
  const out: Figure[] = [];
  for (const flows of [1, MANY])
    for (const c of CONFIGURATIONS)
      for (const d of DIRECTIONS) {
        const suffix = `${c}:${d}${flows === 1 ? '' : `:${flows}`}`;
        const tunnel = c === 'C';
        out.push(
          rounds.ratio(
            `pinned/plain:${suffix}`,
            armName(`pinned-${lower(c)}`, d, flows),
            [armName('plain', d, flows)],
            atLeast(tunnel ? 0.95 : 1),
            tunnel
              ? { credit: CREDIT, note: `the quotient is multiplied by ${CREDIT.toFixed(4)} for 20 bytes` }
              : {},
          ),
        );
      }
  for (const d of DIRECTIONS)
    out.push(
      rounds.ratio(
        `pinned/plain:A:${d}:v6`,
        armName('pinned-a-6', d, 1),
        [armName('plain-6', d, 1)],
        atLeast(0.97),
      ),
    );
  const each = (
    id: string,
    name: (c: Configuration) => string,
    others: readonly string[],
    target: (c: Configuration) => Target,
    configurations: readonly Configuration[] = CONFIGURATIONS,
  ): void => {
    for (const c of configurations)
      for (const d of DIRECTIONS)
        out.push(
          rounds.ratio(
            `${id}:${c}:${d}`,
            armName(name(c), d, 1),
            others.map((o) => armName(o, d, 1)),
            target(c),
          ),
        );
  };
  each(
    'pinned/nft',
    (c) => `pinned-${lower(c)}`,
    ['nft'],
    () => atLeast(1.1),
  );
  each(
    'tun/c',
    () => 'tun-a',
    ['c'],
    () => atLeast(0.95),
    ['A'],
  );
  // Compared, in each round, with the faster of HAProxy's two modes.
  each(
    'tun/haproxy',
    (c) => `tun-${lower(c)}`,
    ['haproxy', 'splice'],
    (c) => atLeast(c === 'C' ? 0.8 : 1.3),
  );
  return out;
}

/** The arms whose spread shows whether the machine was quiet. */
export const PLAIN_ARMS = DIRECTIONS.flatMap((d) => [1, MANY].map((n) => armName('plain', d, n)));
