/**
 * `firstack bench packets`: minimum-size packets a second, counted at the receiver's interface; and the time that the
 * hooks take for one packet.
 */
import { readFileSync } from 'node:fs';
import { FirstackError } from '../../errors.js';
import { bpf } from '../../fastpath/native.js';
import { median } from '../../probe/distance.js';
import { pause } from '../process.js';
import { pinDirectory } from './carriers.js';
import { fillFlows, flowPacket } from './kernel-flows.js';
import { type Arm, type ArmReport, type Figure, type Rounds, rounded, type Sample } from './rounds.js';
import { bootstrap } from './statistics.js';
import type { Testbed } from './testbed.js';
import type { Timing } from './throughput.js';
import { CLIENT, FIRST_PROCESSOR, onProcessor, PORT, type World, type WorldSpec } from './world.js';

const FLOWS_FOR_COST = 65_536;
const TEST_RUNS = 4000;
/** Size of `struct __sk_buff`, and offsets in it that tell the packet's interface. */
const SK_BUFF = 192;
const INGRESS_IFINDEX = 36;
const IFINDEX = 40;
const FRAME = 60;
const OK = 0;
const REDIRECT = 7;

const ours = { kind: 'firstack', configuration: 'A' } as const;
const COST = 'cost-a';

export function packetsWorlds(): WorldSpec[] {
  return [
    { name: 'plain', carrier: { kind: 'plain' } },
    { name: 'nft', carrier: { kind: 'nft' } },
    { name: 'c', carrier: { kind: 'c' } },
    { name: 'tun-a', carrier: { ...ours, fastpath: 'off' } },
    { name: 'pinned-a', carrier: { ...ours, fastpath: 'on' } },
    { name: COST, carrier: { ...ours, fastpath: 'on' } },
  ];
}

/** Source and destination of packets that the bench makes itself. */
export interface Aim {
  saddr: string;
  sport: number;
  seq: number;
  ack: number;
}

export async function packets(
  bed: Testbed,
  rounds: Rounds,
  timing: Timing,
  say: (line: string) => void,
): Promise<Figure[]> {
  const arms: Arm[] = [];
  const worlds = packetsWorlds()
    .filter((s) => s.name !== COST)
    .map((s) => bed.world(s.name));
  for (const world of worlds) {
    const aim = await holdFlow(world);
    await ignoreAt(world, true);
    arms.push(blastArm(world, `pps:${world.name}`, aim, 1, timing));
  }
  await rounds.run(arms, timing.rounds, say);
  for (const world of worlds) await ignoreAt(world, false);
  const cost = await programCost(bed, timing.rounds);
  const atLeast = (id: string, arm: string, other: string, value: number): Figure =>
    rounds.ratio(id, `pps:${arm}`, [`pps:${other}`], { kind: 'least', value });
  return [
    atLeast('pinned/plain:A:pps', 'pinned-a', 'plain', 1),
    atLeast('pinned/nft:A:pps', 'pinned-a', 'nft', 1.1),
    atLeast('tun-pps/c', 'tun-a', 'c', 0.9),
    rounds.figure('ebpf-cost', cost, undefined, [
      costReport(rounds, 'test run, nanoseconds above an empty hook', cost),
      costReport(rounds, 'pinned, nanoseconds above plain routing', above(rounds, 'pinned-a')),
      costReport(rounds, 'nftables DNAT, nanoseconds above plain routing', above(rounds, 'nft')),
      rounds.report('pps:plain'),
      rounds.report('pps:nft'),
      rounds.report('pps:pinned-a'),
    ]),
  ];
}

/** The gateway's interface towards the clients. */
async function lan(world: World): Promise<{ address: string; ifindex: number }> {
  return JSON.parse(await world.exec('gateway', ['ip', '-j', 'link', 'show', 'dev', 'lan0']))[0];
}

/** By round: nanoseconds per packet beyond those of plain routing. */
function above(rounds: Rounds, world: string): number[] {
  const plain = rounds.values('pps:plain');
  return rounds.values(`pps:${world}`).map((v, k) => 1e9 / v - 1e9 / plain[k]);
}

function costReport(rounds: Rounds, arm: string, values: readonly number[]): ArmReport {
  const { value, low, high } = bootstrap(values, rounds.random);
  return {
    arm,
    unit: 'ns/packet',
    median: rounded(value),
    quartiles: [rounded(low), rounded(high)],
    rounds: values.length,
    note: 'the two values beside the median are the ends of its interval',
  };
}

/** Opens a connection and keeps it, as the flow of the bench's packets. */
export async function holdFlow(world: World): Promise<Aim> {
  const what = `${world.name}-hold`;
  const argv = [world.bed.program('load'), 'hold', world.address, String(PORT)];
  world.bed.spawn(what, world.namespace('client'), argv);
  const said = (): string => readFileSync(world.bed.logFile(what), 'utf8');
  await world.bed.until(what, () => said().includes('}'));
  const { port, seq, ack } = JSON.parse(said()) as { port: number; seq: number; ack: number };
  return { saddr: CLIENT, sport: port, seq, ack };
}

/** @param on whether the receiver drops the packets after its interface has counted them */
export async function ignoreAt(world: World, on: boolean): Promise<void> {
  const text = on
    ? 'table netdev bench { chain in { type filter hook ingress device wan0 priority 0; ip protocol tcp drop; }; }'
    : 'delete table netdev bench';
  await world.exec('r1', ['nft', text]);
}

/** Packets of `bytes` bytes in `flows` flows, as fast as one processor can send them. */
export function blastArm(
  world: World,
  name: string,
  aim: Aim,
  flows: number,
  { warmMs, measureMs }: Timing,
  bytes = FRAME,
): Arm {
  return {
    name,
    unit: 'packets/s',
    pids: () => world.pids(),
    async measure(): Promise<Sample> {
      const { address } = await lan(world);
      const all = warmMs + measureMs + 100;
      const blast = world.exec('client', [
        ...onProcessor(FIRST_PROCESSOR),
        world.bed.program('blast'),
        ...['lan0', address, aim.saddr, String(aim.sport), world.address, String(PORT)],
        ...[aim.seq, aim.ack, all, flows, bytes].map(String),
      ]);
      await pause(warmMs);
      const [from, before] = [performance.now(), world.received('r1', 'wan0')];
      await pause(measureMs);
      const [until, after] = [performance.now(), world.received('r1', 'wan0')];
      await blast;
      return { value: ((after - before) / (until - from)) * 1000 };
    },
  };
}

/** By round: the median run of the gateway's hook less that of an empty hook. */
async function programCost(bed: Testbed, rounds: number): Promise<number[]> {
  const world = bed.world(COST);
  fillFlows(world, 0, FLOWS_FOR_COST);
  const { ifindex } = await lan(world);
  const empty = bpf.get(await bed.loadEmptyProgram());
  const program = bpf.get(`${pinDirectory(world, 'gateway')}/hooks/gateway_lan_l2`);
  // While the next hop has no neighbour entry, a packet takes another path.
  await world.load(['crr'], ['1', '0', '20']);
  try {
    return Array.from({ length: rounds }, () =>
      world.within('gateway', () => medianRun(program, ifindex, REDIRECT) - medianRun(empty, ifindex, OK)),
    );
  } finally {
    bpf.close(empty);
    bpf.close(program);
  }
}

/** Median nanoseconds of a run over a packet that no earlier run has seen. */
function medianRun(fd: number, ifindex: number, verdict: number): number {
  const input = new Uint8Array(FRAME);
  const output = new Uint8Array(FRAME + 256);
  const context = new Uint8Array(SK_BUFF);
  const view = new DataView(context.buffer);
  const durations: number[] = [];
  for (let n = 0; n < TEST_RUNS; n++) {
    flowPacket((n * 40_503) % FLOWS_FOR_COST, input);
    context.fill(0);
    view.setInt32(INGRESS_IFINDEX, ifindex, true);
    view.setInt32(IFINDEX, ifindex, true);
    const said = bpf.testRun(fd, input, output, context, 1);
    if (said !== verdict) throw new FirstackError('FSA_LAB_FAILED', `bench: a test run returned ${said}`);
    durations.push(view.getUint32(4, true));
  }
  return median(durations);
}
