/**
 * The data plane allocates nothing in its steady state: no scavenge over 200,000 packets, on the main thread and in a
 * worker, with a new space of one megabyte, and at most two bytes per packet on the heap (V8's own allocations
 * meanwhile are less, a boxed number for one packet in ten is more). Runs the built code.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { BATCH } from '../../src/pipeline/batch.js';
import { learnedBytes } from '../../src/proximity/learned-table.js';
import {
  asReplica,
  asService,
  CLIENT,
  fromClient,
  ip,
  linuxOptions,
  ORIGIN,
  R1,
  R2,
  SERVICE,
  syn,
  tagged,
  tcp,
  tunnel,
} from '../support/builder.js';
import { Files } from '../support/files.js';
import { frame, type Packet } from '../support/naive.js';
import * as slr from '../support/slr.js';
import { frame6, tunnel6 } from '../support/v6.js';
import {
  type Configuration,
  gatewayOptions,
  gatewaySnapshot,
  originOptions,
  originSnapshot,
  type RoleName,
  replicaOptions,
  replicaSnapshot,
  WORLD,
  type World,
} from '../support/world.js';

const PACKETS = 200_000;
const files = new Files();
const script = fileURLToPath(new URL('../support/steady-state.mjs', import.meta.url));
const dist = process.env.FIRSTACK_TEST_DIST ?? fileURLToPath(new URL('../../dist', import.meta.url));

/** The built pipeline reads the wall clock. */
const epoch = Math.floor(Date.now() / 64_000) % 16;
const page = new Array<number>(500).fill(0x41);
const long = [...page, ...page, ...page];
const open = { open: { gsoSize: page.length } };
const synAck = (): Packet => asService('SA', { options: linuxOptions() });

interface Scenario {
  role: RoleName;
  configuration: Configuration;
  world?: Partial<World>;
  /** Another program's data half than the race's. */
  plane?: { module: string; options: unknown; snapshot: unknown };
  setup: (Packet | Uint8Array)[][];
  steady: (Packet | Uint8Array)[];
  /** Counters that must have changed, which shows that the work was done. */
  moved: string[];
}

function gateway(configuration: Configuration): Scenario {
  const answer = (r: typeof R1 | typeof R2, p: Packet): Packet => {
    if (configuration === 'A') return asReplica(r, p);
    return configuration === 'B' ? tunnel(SERVICE, CLIENT, asReplica(r, p)) : tunnel(r.address, CLIENT, p);
  };
  const data = asService('PA', { payload: page });
  const race = (seq: number): Packet => syn({ sport: 50_000, seq });
  return {
    role: 'gateway',
    configuration,
    setup: [[syn()], [answer(R1, synAck())], [fromClient('A')]],
    steady: [
      fromClient('A'),
      fromClient('PA', { payload: page }),
      fromClient('PA', { payload: long }, open),
      configuration === 'B' ? data : answer(R1, data),
      // A loser, which is reset each time; and new races, which are tagged each time.
      answer(R2, synAck()),
      race(1),
      race(2),
    ],
    moved: ['pass.to-replica', 'pass.from-replica', 'drop.loser', 'emit.loser-reset', 'pass.syn-tagged'],
  };
}

function replica(configuration: Configuration): Scenario {
  const copy = (p: Packet): Packet => tunnel(ORIGIN, R1.address, tagged(p, { epoch }));
  const inward: Packet[] =
    configuration === 'A'
      ? []
      : configuration === 'B'
        ? [
            {
              ...fromClient('A'),
              dst: R1.address,
              body: { ...fromClient('A').body, dport: R1.port } as Packet['body'],
            },
          ]
        : [tunnel(CLIENT, R1.address, fromClient('PA', { payload: page }))];
  const outward: Packet[] =
    configuration === 'A'
      ? []
      : [synAck(), asService('PA', { payload: page }), asService('PA', { payload: long }, open)];
  return {
    role: 'replica',
    configuration,
    setup: [[copy(syn())]],
    steady: [copy(syn({ sport: 50_000 })), ...inward, ...outward],
    moved: [
      'pass.syn-cracked',
      ...{ A: [], B: ['pass.delivered', 'pass.answer-bare'], C: ['pass.opened'] }[configuration],
      ...(configuration === 'A' ? [] : ['pass.answer-tunnelled']),
    ],
  };
}

/** Established flows, and the gateway's own races: the learned candidate is asked, answers and is reset. */
function ownRace(configuration: Configuration, race: 1 | 2): Scenario {
  const established = gateway(configuration);
  const onWan = (p: Packet): Packet =>
    configuration === 'A' ? asReplica(R1, p) : tunnel(R1.address, CLIENT, p);
  const ports = Array.from({ length: BATCH / 4 }, (_, n) => 50_000 + n);
  // Stages process a batch one after another, so the answer to a packet must be in a later batch.
  const batches = [
    ports.map((sport) => syn({ sport, seq: 1 })),
    ports.map((dport) => onWan(asService('SA', { dport, ack: 2, options: linuxOptions() }))),
    ports.map((sport) => fromClient('R', { sport, seq: 2, ack: 0 })),
  ];
  const carried = established.steady.slice(0, -2);
  const steady = batches.flatMap((special) => [
    ...special,
    ...Array.from({ length: BATCH - special.length }, (_, n) => carried[n % carried.length]),
  ]);
  const asked = race === 1 ? ['emit.syn-copy'] : ['queued.hedge', 'cancelled.hedge'];
  return {
    ...established,
    world: { race },
    steady,
    moved: [...established.moved.slice(0, -1), 'pass.syn-raced', 'pass.won-by-replica', ...asked],
  };
}

const origin = (
  name: string,
  world: Partial<World>,
  steady: Packet[],
  moved: string[],
): [string, Scenario] => [name, { role: 'origin', configuration: 'A', world, setup: [], steady, moved }];
const tag = (seq: number): Packet => tagged(syn({ seq }), { epoch });

const SCENARIOS: [string, Scenario][] = [
  ...(['A', 'B', 'C'] as const).map((c): [string, Scenario] => [
    `the gateway in configuration ${c}`,
    gateway(c),
  ]),
  ...(['A', 'C'] as const).flatMap((c): [string, Scenario][] => [
    [`the gateway in configuration ${c}, its own races`, ownRace(c, 1)],
    [`the gateway in configuration ${c}, races by learned times`, ownRace(c, 2)],
  ]),
  ...(['A', 'B', 'C'] as const).map((c): [string, Scenario] => [
    `the replica in configuration ${c}`,
    replica(c),
  ]),
  origin(
    'the origin, untagged SYNs and others',
    {},
    [syn(), fromClient('A')],
    ['pass.syn-untagged', 'pass.not-a-syn'],
  ),
  origin('the origin, copies at once', {}, [tag(1), tag(2)], ['emit.copy', 'pass.syn-to-server']),
  origin(
    'the origin, copies held',
    { serverDelayUs: 900, delaysUs: [300, 0] },
    [tag(1), tag(2), syn()],
    ['hold.syn-for-server', 'queued.copy', 'release.held'],
  ),
];

/** A router below another: new flows, known ones, tunnels and what is told to the router above, packets given back. */
function router(): [string, Scenario] {
  const of = (flags: string, sport: number): Packet =>
    ip(slr.CLIENT, slr.VIRTUAL, tcp(sport, 80, flags, { ack: 9 }));
  const known = [1000, 1001, 1002];
  return [
    'a service-level router',
    {
      ...{ role: 'origin', configuration: 'A' },
      plane: { module: 'origin/routing/pipeline.js', options: slr.options(4096), snapshot: slr.snapshot() },
      setup: [known.map((p) => of('S', p)), known.map((p) => of('A', p))],
      steady: [
        ...known.map((p) => of('A', p)),
        of('S', 2000),
        tunnel(slr.UPPER, slr.OWN, of('A', 1000)),
        tunnel(slr.UPPER, slr.OWN, of('S', 2001)),
        tunnel(slr.MEMBERS[0], slr.OWN, of('A', 3000)),
        tunnel(slr.MEMBERS[0], slr.OWN, of('A', 1001)),
      ],
      moved: ['pass.routed', 'drop.search-bound', 'drop.no-member-has'],
    },
  ];
}
SCENARIOS.push(router(), router6());

/** The same over IPv6. */
function router6(): [string, Scenario] {
  const of = (flags: string, sport: number): Uint8Array =>
    frame6({ src: slr.CLIENT6, dst: slr.VIRTUAL6, sport, flags, seq: 100, ack: flags === 'S' ? 0 : 9 });
  const known = [1000, 1001, 1002];
  return [
    'a service-level router over IPv6',
    {
      ...{ role: 'origin', configuration: 'A' },
      plane: { module: 'origin/routing/pipeline.js', options: slr.options(4096), snapshot: slr.snapshot6() },
      setup: [known.map((p) => of('S', p)), known.map((p) => of('A', p))],
      steady: [
        ...known.map((p) => of('A', p)),
        of('S', 2000),
        tunnel6(of('A', 1000), slr.UPPER6, slr.OWN6),
        tunnel6(of('S', 2001), slr.UPPER6, slr.OWN6),
        tunnel6(of('A', 3000), slr.MEMBERS6[0], slr.OWN6),
        tunnel6(of('A', 1001), slr.MEMBERS6[0], slr.OWN6),
      ],
      moved: ['pass.routed', 'drop.search-bound', 'drop.no-member-has'],
    },
  ];
}

interface Measured {
  scavenges: string[];
  /** The allocated bytes; true where no collection happened meanwhile. */
  allocated: number;
  written: number;
  counts: Record<string, number>;
}

function measure(s: Scenario, worker: boolean, allocate = false): Measured {
  const w = { ...WORLD, configuration: s.configuration, ...s.world };
  const base64 = (p: Packet | Uint8Array): string =>
    Buffer.from(p instanceof Uint8Array ? p : frame(p)).toString('base64');
  const path = files.path();
  const work = {
    dist,
    module: `${s.role}/race/pipeline.js`,
    worker,
    allocate,
    learnedBytes: learnedBytes(64),
    packets: PACKETS,
    options: { gateway: gatewayOptions, origin: originOptions, replica: replicaOptions }[s.role](w),
    snapshot: { gateway: gatewaySnapshot, origin: originSnapshot, replica: replicaSnapshot }[s.role](w),
    ...s.plane,
    setup: s.setup.map((list) => list.map(base64)),
    steady: s.steady.map(base64),
  };
  writeFileSync(path, JSON.stringify(work));
  const text = execFileSync(
    process.execPath,
    ['--trace-gc', '--expose-gc', '--max-semi-space-size=1', script, path],
    { encoding: 'utf8' },
  );
  const lines = text.split('\n');
  const begin = lines.indexOf('BEGIN');
  const end = lines.indexOf('END');
  if (begin < 0 || end < begin) throw new Error(`no markers in:\n${text}`);
  const result = lines.slice(end).find((line) => line.startsWith('{'));
  return { scavenges: lines.slice(begin, end).filter((l) => l.includes('Scavenge')), ...JSON.parse(result!) };
}

describe.each([
  ['on the main thread', false],
  ['in a worker', true],
])('%s', (_, worker) => {
  it('one small object for each packet is detected', () => {
    const { scavenges, allocated } = measure(SCENARIOS[0][1], worker, true);
    // The engine may place objects that live on outside the nursery, where no scavenge finds them.
    expect(scavenges.length >= 3 || allocated >= 2 * PACKETS, `${scavenges.length}, ${allocated} B`).toBe(
      true,
    );
  });

  it.each(SCENARIOS)(`%s allocates nothing over ${PACKETS} packets`, (_name, scenario) => {
    const { scavenges, allocated, counts, written } = measure(scenario, worker);
    const passed = Object.entries(counts).filter(([name]) => /^(pass|drop|hold)\./.test(name));
    expect(passed.reduce((sum, [, n]) => sum + n, 0)).toBe(PACKETS);
    for (const name of scenario.moved) expect(counts[name], name).toBeGreaterThan(PACKETS / 50);
    expect(written).toBeGreaterThan(PACKETS / 2);
    expect(scavenges).toEqual([]);
    expect(allocated).toBeLessThan(2 * PACKETS);
  });
});
