/** `firstack bench connect`: connections a second, each with one byte in each direction, by four clients at a time. */
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
/** The number that the kernel gives to this state. */
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
    '--race learned, fastpath.openings false: SYN and SYN-ACK through TypeScript, one target; one connection in fifty is raced again',
  'pinned-a': '--race gateway, one replica: the same, and each connection also asks the origin',
  'learned-a':
    '--race learned: the kernel carries SYN and SYN-ACK too, by a lease; one connection in fifty is raced again',
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
    // The slowest round is reported, not the median, so there is no interval.
    {
      ...rounds.figure('race-crr/haproxy:losers-ms', goneMs, { kind: 'most', value: LOSERS_GONE_MS }, [
        rounds.report(
          'crr:race4-a',
          'ms from the end of a round until the replica of that round has no SYN-RECEIVED left; the slowest round',
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
      // One replica each round, in turn, because looking at all would take longer than the effect.
      const host = world.replicas[goneMs.length % world.replicas.length];
      if (world.replicas.length > 1) goneMs.push(await losersGone(world, host, o.endedAt));
      // A failed connection took seconds of its client's time, which shows in the count.
      if (o.failed > 0) world.bed.say(`${world.name}: ${o.failed} connections failed`);
      return { value: o.count / o.seconds };
    },
  };
}

/**
 * Milliseconds from the last client's end until this replica has no half-open connection left. This is an upper
 * bound, because one look takes some 25 ms: the kernel goes through all sockets of the machine.
 */
async function losersGone(world: World, host: string, endedAt: number): Promise<number> {
  const since = (): number => (Number(process.hrtime.bigint()) - endedAt) / 1e6;
  const held = (): number => world.within(host, () => native.countSockets(1 << SYN_RECV, PORTS));
  while (since() < PATIENCE_MS && held() > 0) await pause(1);
  return since();
}
