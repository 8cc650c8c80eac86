/** `firstack bench connect`: connections a second, each with one byte both ways, by four clients at once. */
import { native } from '../../device/native.js';
import { pause } from '../process.js';
import type { Arm, Figure, Rounds, Sample } from './rounds.js';
import { rounded } from './rounds.js';
import type { Testbed } from './testbed.js';
import type { Timing } from './throughput.js';
import { PORT, type World, type WorldSpec } from './world.js';

const CLIENTS = 4;
const REPLICAS = 4;
const LOSERS_GONE_MS = 100;
const PATIENCE_MS = 2000;
/** As the kernel numbers the state. */
const SYN_RECV = 3;
const PORTS = Uint16Array.of(PORT);

export function connectWorlds(): WorldSpec[] {
  const ours = { kind: 'firstack', configuration: 'A', fastpath: 'on' } as const;
  return [
    { name: 'nft', carrier: { kind: 'nft' } },
    { name: 'haproxy', carrier: { kind: 'haproxy', splice: false } },
    { name: 'pinned-a', carrier: ours },
    { name: 'alone-a', carrier: { ...ours, race: 'learned', openings: false } },
    { name: 'learned-a', carrier: { ...ours, race: 'learned' } },
    { name: 'race4-a', carrier: ours, replicas: REPLICAS },
  ];
}

const NOTES: Record<string, string> = {
  'alone-a':
    '--race learned, fastpath.openings false: SYN and SYN-ACK through TypeScript, one target; one in fifty races again',
  'pinned-a': '--race gateway, one replica: the same, and the origin is asked each time, too',
  'learned-a':
    "--race learned: the SYN and its answer are the kernel's too, under a lease; one in fifty races again",
  'race4-a': `--race gateway, ${REPLICAS} replicas`,
};

export async function connectRate(
  bed: Testbed,
  rounds: Rounds,
  timing: Timing,
  say: (line: string) => void,
): Promise<Figure[]> {
  const goneMs: number[] = [];
  const arms = connectWorlds().map(({ name }) => arm(bed.world(name), timing, goneMs));
  await rounds.run(arms, timing.rounds, say);
  const ratio = (id: string, ours: string, other: string, value: number): Figure =>
    rounds.ratio(id, `crr:${ours}`, [`crr:${other}`], { kind: 'least', value }, { note: NOTES[ours] });
  return [
    ratio('crr/nft', 'alone-a', 'nft', 0.7),
    ratio('crr/nft:raced', 'pinned-a', 'nft', 0.7),
    ratio('crr/nft:learned', 'learned-a', 'nft', 0.9),
    ratio('crr/haproxy', 'learned-a', 'haproxy', 2),
    ratio('race-crr/haproxy', 'race4-a', 'haproxy', 0.5),
    // The slowest round tells, not the middle one: no interval.
    {
      ...rounds.figure('race-crr/haproxy:losers-ms', goneMs, { kind: 'most', value: LOSERS_GONE_MS }, [
        rounds.report(
          'crr:race4-a',
          'ms from the end of a round until a replica, another each round, has no SYN-RECEIVED left; the slowest round',
        ),
      ]),
      ...slowest(goneMs),
    },
  ];
}

function slowest(ms: readonly number[]): Pick<Figure, 'value' | 'low' | 'high' | 'met'> {
  const value = rounded(Math.max(...ms));
  return { value, low: value, high: value, met: value <= LOSERS_GONE_MS ? 'yes' : 'no' };
}

function arm(world: World, { warmMs, measureMs }: Timing, goneMs: number[]): Arm {
  return {
    name: `crr:${world.name}`,
    unit: 'connections/s',
    pids: () => world.pids(),
    async measure(): Promise<Sample> {
      const o = await world.load<{ count: number; failed: number; seconds: number; endedAt: number }>(
        ['crr'],
        [CLIENTS, warmMs, measureMs].map(String),
      );
      // One of them each round, in turn: looking at all would take longer than they take.
      const host = world.replicas[goneMs.length % world.replicas.length];
      if (world.replicas.length > 1) goneMs.push(await losersGone(world, host, o.endedAt));
      // A connection that failed took seconds of its client's time: it shows in the count.
      if (o.failed > 0) world.bed.say(`${world.name}: ${o.failed} connections failed`);
      return { value: o.count / o.seconds };
    },
  };
}

/**
 * Milliseconds from the last client's end until this replica holds no connection that nobody will open; at the most: to
 * look takes some 25 ms, as the kernel goes through all sockets of the machine.
 */
async function losersGone(world: World, host: string, endedAt: number): Promise<number> {
  const since = (): number => (Number(process.hrtime.bigint()) - endedAt) / 1e6;
  const held = (): number => world.within(host, () => native.countSockets(1 << SYN_RECV, PORTS));
  while (since() < PATIENCE_MS && held() > 0) await pause(1);
  return since();
}
