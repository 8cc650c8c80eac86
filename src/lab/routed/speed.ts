/**
 * What a router costs flows that its kernel carries: an upload through it beside plain routing, and packets a second beside
 * nftables DNAT, in the worlds of the speed bench and in turns.
 */
import { generator } from '../../load/generator.js';
import { blastArm, holdFlow, ignoreAt } from '../bench/packets.js';
import { type Figure, Rounds } from '../bench/rounds.js';
import { Testbed } from '../bench/testbed.js';
import { armName, CREDIT, streamArm, type Timing } from '../bench/throughput.js';
import { figure, type RoutingFigure } from './figure.js';

export interface RoutedSpeedOptions {
  upload: Timing;
  packets: Timing;
}

export const SPEED: RoutedSpeedOptions = {
  upload: { rounds: 13, warmMs: 300, measureMs: 1500 },
  packets: { rounds: 15, warmMs: 200, measureMs: 1000 },
};

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);

export async function playRoutedSpeed(o: RoutedSpeedOptions = SPEED): Promise<RoutingFigure[]> {
  const kinds = ['plain', 'nft', 'routed'] as const;
  const bed = await Testbed.create(
    kinds.map((kind) => ({ name: kind, carrier: { kind } })),
    say,
  );
  try {
    const rounds = new Rounds(generator(Date.now() % 2 ** 31), '', [armName('plain', 'up', 1), 'pps:nft']);
    const worlds = kinds.map((kind) => bed.world(kind));
    await rounds.run(
      worlds.map((w) => streamArm(w, 'up', 1, o.upload)),
      o.upload.rounds,
      say,
    );
    const blasts = [];
    for (const world of worlds) {
      const aim = await holdFlow(world);
      await ignoreAt(world, true);
      blasts.push(blastArm(world, `pps:${world.name}`, aim, 1, o.packets));
    }
    await rounds.run(blasts, o.packets.rounds, say);
    const upload = rounds.ratio('', armName('routed', 'up', 1), [armName('plain', 'up', 1)], undefined, {
      credit: CREDIT,
    });
    const packets = rounds.ratio('', 'pps:routed', ['pps:nft'], undefined);
    const plain = rounds.ratio('', 'pps:routed', ['pps:plain'], undefined);
    const middle = (arm: string): number => rounds.report(arm).median;
    return [
      figure(
        'routed/plain',
        { least: 0.95 },
        {
          ...rangeOf(upload),
          peers: { 'nftables DNAT / plain': rounds.ratio('', 'nft:up', ['plain:up'], undefined).value },
          what: `upload through a router, pinned, over one by plain routing, 20 bytes of tunnel credited; ${middle('routed:up')} and ${middle('plain:up')} Gbit/s, ${o.upload.rounds} rounds`,
        },
      ),
      figure(
        'routed/plain:packets',
        { least: 1.1 },
        {
          ...rangeOf(packets),
          what: `smallest packets a second through a router and into the server's hook, over nftables DNAT; ${middle('pps:routed')} and ${middle('pps:nft')}, plain routing ${middle('pps:plain')} (${plain.value}); ${o.packets.rounds} rounds`,
        },
      ),
    ];
  } finally {
    await bed.down();
  }
}

const rangeOf = ({ value, low, high }: Figure): { value: number; low: number; high: number } => ({
  value,
  low,
  high,
});
