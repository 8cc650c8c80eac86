/** `firstack bench`: measurements on this machine. */
import { type Command, Option } from 'commander';
import { FirstackError } from '../errors.js';
import { family, integer, positive } from './options.js';

export function addBench(root: Command, exit: (code: number) => void): void {
  const bench = root.command('bench').description('measurements on this machine');
  bench
    .command('race')
    .description('how often each mode of the race finds the nearest machine, and what it costs')
    .option('--topologies <n>', 'random topologies (40), or draws from the matrix (4)', integer(1, 1000))
    .option('--seed <n>', 'seed of the topologies', integer(0, 2 ** 31), 1)
    .option('--matrix <file>', 'hundreds of replicas, their paths drawn from a matrix of round trips')
    .option('--replicas <n>', 'with --matrix: how many', integer(1, 40_000))
    .option('--asymmetric', 'with --matrix: paths differ by direction')
    .option('--only <ids>', 'with --matrix: these figures only, joined by comma; five: as without --matrix')
    .option('--svg <file>', 'draw a plot')
    .option('--markdown <file>', 'write the page')
    .option('--json', 'print one JSON array', false)
    .action(async (options) => exit(await race(options)));
  bench
    .command('registry')
    .description('the load of fleets of three sizes, or of one, on one Redis')
    .option('--replicas <n>', 'size of the fleet', integer(10, 15_000))
    .option('--gateways <n>', 'size of the fleet', integer(1, 4000))
    .option('--seconds <n>', 'how long each fleet is measured', integer(3, 3600), 20)
    .option('--markdown <file>', 'write the table')
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      exit(await (await import('../lab/bench/registry.js')).benchRegistry(options));
    });

  bench
    .command('soak')
    .description(
      'connections at a rate for minutes, to all three configurations, while replicas start, stop and are killed',
    )
    .option('--minutes <n>', 'how long', positive, 20)
    .option('--rate <n>', 'new connections a second', integer(1, 500), 200)
    .option('--seed <n>', 'seed of the events and the arrivals', integer(0, 2 ** 31 - 2), 1)
    .option('--every <s>', 'mean seconds between two events', positive, 5)
    .option('--svg <file>', 'draw a plot')
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      exit(await (await import('../lab/bench/soak.js')).benchSoak(options));
    });

  bench
    .command('damage')
    .description(
      'damages a running fleet in every known way: when it is said, when it is healed, what was lost',
    )
    .option('--only <id>', 'damages whose id begins so')
    .option('--seed <n>', 'seed of the order', integer(0, 2 ** 31 - 2), 1)
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      exit(await (await import('../lab/damage/bench.js')).benchDamage(options));
    });

  bench
    .command('attacks')
    .description('floods, stolen keys and a change of all keys: what they do to honest connections')
    .option('--only <id>', 'the attack of this id, or those whose id begins so')
    .option('--seconds <n>', 'how long a thief goes on', integer(5, 86_400), 30)
    .option(
      '--before <dir>',
      'the installed tree (…/usr/lib/firstack) of the release that is upgraded; by default this build',
    )
    .option('--seed <n>', 'seed of the laboratory', integer(0, 2 ** 31 - 2), 1)
    .option('--markdown <file>', 'put the figures into this page')
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      exit(await (await import('../lab/attacks/bench.js')).benchAttacks(options));
    });

  bench
    .command('paths')
    .description(
      'transfers over paths with a narrow hop: how many arrive whole, and how long they stand still',
    )
    .addOption(new Option('--configuration <letter>', 'all by default').choices(['A', 'B', 'C']))
    .option('--family <n>', '4 or 6; both by default', family)
    .option('--only <id>', 'cases whose id begins so')
    .option('--transfers <n>', 'transfers each way', integer(1, 10_000), 200)
    .option('--svg <file>', 'draw a plot')
    .option('--seed <n>', 'seed of the laboratory', integer(0, 2 ** 31 - 2), 1)
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      exit(await (await import('../lab/narrow/bench.js')).benchPaths(options));
    });

  bench
    .command('routing')
    .description(
      'service-level routing: packets at routers, lost routers, changes under load, peers beside it',
    )
    .option('--only <ids>', 'these figures only, joined by comma')
    .option('--markdown <file>', 'write the page')
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      exit(await (await import('../lab/routed/bench.js')).benchRouting(options));
    });

  const loadSpeed = (): Promise<typeof import('../lab/bench/speed.js')> => import('../lab/bench/speed.js');
  const SPEED = {
    throughput:
      'bytes a second of one flow and of eight, compared with plain routing, nftables, HAProxy and C',
    connect: 'connections a second, compared with nftables and HAProxy',
    packets: 'minimum-size packets a second, and the time of the eBPF hooks per packet',
    flows: 'a million flows; flows pinned in mid-transfer; flows of a killed gateway',
  } as const;
  for (const [part, description] of [...Object.entries(SPEED), ['all', 'these four']]) {
    bench
      .command(part)
      .description(description)
      .option('--quick', 'fewer and shorter rounds, as a test of the bench itself', false)
      .option('--svg <file>', 'draw the quotients')
      .option('--markdown <file>', 'write the page')
      .option('--json', 'print one JSON array', false)
      .action(async (options) => {
        const { benchSpeed, PARTS } = await loadSpeed();
        exit(
          await benchSpeed(
            PARTS.filter((p) => part === 'all' || p === part),
            options,
          ),
        );
      });
  }
  bench
    .command('profile')
    .description('processor time by function, of two arms at a time (needs perf)')
    .option('--markdown <file>', 'write the page')
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      exit(await (await import('../lab/bench/profile.js')).benchProfile(options));
    });
  bench
    .command('draw')
    .description('draw and describe what an earlier run printed with --json')
    .argument('<file>')
    .option('--svg <file>', 'draw the quotients')
    .option('--markdown <file>', 'write the page')
    .action(async (file: string, options) => {
      exit(await (await loadSpeed()).benchDraw(file, options));
    });
  bench
    .command('compare')
    .description(
      "benches of two checkouts in turn, and the ratio of each figure: this one's over the other's",
    )
    .requiredOption('--before <dir>', 'the other checkout, built')
    .option(
      '--parts <list>',
      'benches with their arguments, joined by comma',
      'throughput --quick,connect --quick,packets --quick,race --topologies 4',
    )
    .option('--rounds <n>', 'how often each is run, in turn', integer(1, 100), 5)
    .option('--least <ratio>', 'the least ratio that is no loss', positive, 0.97)
    .option('--json', 'print one JSON array', false)
    .action(async ({ parts, ...options }) => {
      const { benchCompare } = await import('../lab/bench/compare.js');
      exit(await benchCompare({ ...options, parts: parts.split(',') }));
    });
}

/** The id of the bench of five replicas. */
const FIVE = 'five';

/** The races of five replicas in random topologies, or among the hundreds of a matrix. */
async function race(o: {
  topologies?: number;
  seed: number;
  matrix?: string;
  replicas?: number;
  asymmetric?: boolean;
  only?: string;
  svg?: string;
  markdown?: string;
  json: boolean;
}): Promise<number> {
  const { matrix, topologies } = o;
  const only = o.only?.split(',');
  if (matrix !== undefined && only?.includes(FIVE) === true) {
    // The laboratory's own five replicas, whose paths no matrix gives: the same bench as without one.
    if (only.length > 1) throw new FirstackError('FSA_USAGE', `--only ${FIVE}: it is measured alone`);
    const { svg, markdown, seed, json } = o;
    const few = { svg, markdown, seed, json, topologies: Math.max(2, topologies ?? 4) };
    return (await import('../lab/bench/race.js')).benchRace(few);
  }
  if (matrix !== undefined)
    return (await import('../lab/bench/matrix-race.js')).benchMatrixRace({
      ...o,
      matrix,
      topologies: topologies ?? 4,
      replicas: o.replicas ?? 400,
      asymmetric: o.asymmetric === true,
      only,
    });
  const alone = (['replicas', 'asymmetric', 'only'] as const).find((key) => o[key] !== undefined);
  if (alone !== undefined) throw new FirstackError('FSA_USAGE', `--${alone} belongs to --matrix`);
  if (topologies === 1) throw new FirstackError('FSA_USAGE', '--topologies: two at least without --matrix');
  return (await import('../lab/bench/race.js')).benchRace({ ...o, topologies: topologies ?? 40 });
}
