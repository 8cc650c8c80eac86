/**
 * `firstack bench flows`: the cost of a million flows, and the fate of flows that are pinned late or left by a killed
 * process.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { FLOW_KEY, FLOW_VALUE } from '../../fastpath/layout.js';
import { bpf, HASH } from '../../fastpath/native.js';
import { FlowTable } from '../../flow/table.js';
import type { Configuration } from '../../race/records.js';
import { isAlive, mustRun, pause, signal, waitUntil } from '../process.js';
import { startRole, statusOf, waitForRoles } from './carriers.js';
import { FIRST_ADDRESS, FIRST_PORT, fillFlows } from './kernel-flows.js';
import { blastArm, ignoreAt } from './packets.js';
import { type ArmReport, type Figure, type Rounds, rounded } from './rounds.js';
import { describeTarget, judge, quantile, type Target } from './statistics.js';
import type { Testbed } from './testbed.js';
import type { Timing } from './throughput.js';
import type { World, WorldSpec } from './world.js';

const MILLION = 1_000_000;
const MAX_FLOWS = 1_048_576;
/** Bytes of a full Ethernet frame. */
const FULL_FRAME = 1514;
/** Bytes of a super-packet that a stack passes to an interface with segmentation offload. */
const SUPER_FRAME = 54 + 40 * 1460;
const MIDFLOW_AFTER = 4;
const MIDFLOW_BYTES = 128 << 10;
const KILLED_TRANSFERS = 1000;
const KILLED_RATE = 100_000;

const MILLION_WORLD = 'million-a';
const midflowWorld = (c: Configuration): string => `midflow-${c.toLowerCase()}`;
const killedWorld = (c: Configuration): string => `killed-${c.toLowerCase()}`;

export interface FlowsPlan extends Timing {
  configurations: readonly Configuration[];
  midflowTransfers: number;
  /** How long the shorter half of the transfers that outlive a gateway runs; the others run twice as long. */
  killedSeconds: number;
}

export function flowsWorlds(configurations: readonly Configuration[]): WorldSpec[] {
  const ours = { kind: 'firstack', fastpath: 'on' } as const;
  return [
    { name: MILLION_WORLD, carrier: { ...ours, configuration: 'A', maxFlows: MAX_FLOWS } },
    ...configurations.flatMap((configuration): WorldSpec[] => [
      {
        name: midflowWorld(configuration),
        carrier: { ...ours, configuration, pinAfterPackets: MIDFLOW_AFTER },
      },
      { name: killedWorld(configuration), carrier: { ...ours, configuration } },
    ]),
  ];
}

export async function flows(
  bed: Testbed,
  rounds: Rounds,
  plan: FlowsPlan,
  say: (line: string) => void,
): Promise<Figure[]> {
  const out = [
    ...(await oneMillion(bed.world(MILLION_WORLD), rounds, plan, say)),
    await oneMillionInMemory(bed, rounds, plan),
    ...bytesPerFlow(rounds.command),
  ];
  for (const c of plan.configurations)
    out.push(...(await pinMidflow(bed.world(midflowWorld(c)), c, rounds, plan, say)));
  for (const c of plan.configurations)
    out.push(...(await killed(bed.world(killedWorld(c)), c, rounds, plan, say)));
  return out;
}

/** A figure that was counted, not estimated. */
function exact(
  id: string,
  value: number,
  target: Target | undefined,
  command: string,
  arms: ArmReport[],
): Figure {
  const interval = { value: rounded(value), low: rounded(value), high: rounded(value) };
  return { id, ...interval, target: describeTarget(target), met: judge(interval, target), arms, command };
}

// ---- a million flows -----------------------------------------------------------------------------------------

async function oneMillion(
  world: World,
  rounds: Rounds,
  timing: Timing,
  say: (line: string) => void,
): Promise<Figure[]> {
  // The next gateway takes over at once the flows that a killed gateway left; flows that are found one by one take a
  // while.
  const [gateway] = world.carriers;
  signal(gateway, 'SIGKILL');
  await waitUntil(() => !isAlive(gateway), 2000);
  const written = fillFlows(world, 0, MILLION);
  if (written !== MILLION) say(`the kernel's map took ${written} of ${MILLION} flows`);
  world.carriers = [startRole(world, 'gateway')];
  await waitForRoles(world);
  say(`${(await statusOf(world, 'gateway'))?.flows} flows, in the kernel and in TypeScript`);
  await ignoreAt(world, true);
  const aim = { saddr: FIRST_ADDRESS, sport: FIRST_PORT, seq: 1, ack: 1 };
  const sizes = { '': undefined, ':full-size': FULL_FRAME, ':super-packets': SUPER_FRAME };
  const arms = Object.entries(sizes).flatMap(([size, bytes]) => [
    blastArm(world, `pps:one-flow${size}`, aim, 1, timing, bytes),
    blastArm(world, `pps:million-flows${size}`, aim, MILLION, timing, bytes),
  ]);
  await rounds.run(arms, timing.rounds, say);
  const note = 'pinned; the map holds the million flows in both arms';
  const target: Target = { kind: 'least', value: 0.9 };
  return Object.keys(sizes).map((size) =>
    rounds.ratio(`flows-1m/1${size}`, `pps:million-flows${size}`, [`pps:one-flow${size}`], target, { note }),
  );
}

/** The same for TypeScript's own table, without a device. */
async function oneMillionInMemory(bed: Testbed, rounds: Rounds, timing: Timing): Promise<Figure> {
  const script = fileURLToPath(new URL('./memory-main.js', import.meta.url));
  const { rounds: count, measureMs } = timing;
  const text = await mustRun([process.execPath, script, String(count), String(measureMs)]);
  const { one, million } = JSON.parse(text) as { one: number[]; million: number[] };
  bed.say('flows: the same in memory, by TypeScript');
  return rounds.figure(
    'flows-1m/1:typescript',
    million.map((v, round) => v / one[round]),
    undefined,
    [
      rateReport(
        'memory:million-flows',
        million,
        "the gateway's stages over a device of memory, minimum-size packets",
      ),
      rateReport('memory:one-flow', one),
    ],
  );
}

function rateReport(arm: string, values: readonly number[], note?: string): ArmReport {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => rounded(quantile(values, q)));
  return { arm, unit: 'packets/s', median: middle, quartiles: [low, high], rounds: values.length, note };
}

function bytesPerFlow(command: string): Figure[] {
  const entries = MAX_FLOWS;
  const before = process.memoryUsage().arrayBuffers;
  const table = new FlowTable(entries, [1, 2]);
  const own = (process.memoryUsage().arrayBuffers - before) / table.capacity;
  const fd = bpf.createMap(HASH, FLOW_KEY, FLOW_VALUE, entries, 0, 'bench_flows');
  const memlock = Number(/^memlock:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]);
  bpf.close(fd);
  const most = (value: number): Target => ({ kind: 'most', value });
  return [
    exact('bytes-per-flow:typescript', own, most(96), command, []),
    exact('bytes-per-flow:ebpf', memlock / entries, most(152), command, []),
  ];
}

// ---- transfers -----------------------------------------------------------------------------------------------

/** The last line that `load many` prints. */
interface Outcome {
  ok: number;
  resets: number;
  wrong: number;
  unclean: number;
  lost: number;
  serverErrors: number;
  serverOpen: number;
  seconds: number;
  bytes: number;
}

function transferReport(arm: string, o: Outcome, note: string): ArmReport {
  const rate = rounded((o.bytes * 8) / o.seconds / 1e9);
  return { arm, unit: 'Gbit/s', median: rate, quartiles: [rate, rate], rounds: 1, note };
}

/** Segments that arrived out of order, at both ends of all connections so far. */
const outOfOrder = (world: World): number =>
  world.tcpExt('client', 'TCPOFOQueue') + world.tcpExt('r1', 'TCPOFOQueue');

async function pinMidflow(
  world: World,
  c: Configuration,
  rounds: Rounds,
  plan: FlowsPlan,
  say: (line: string) => void,
): Promise<Figure[]> {
  const count = plan.midflowTransfers;
  const before = outOfOrder(world);
  const o = await world.load<Outcome>(['many'], [count, MIDFLOW_BYTES, 0, 90_000].map(String));
  const reordered = outOfOrder(world) - before;
  const counters = (await statusOf(world, 'gateway'))?.counters ?? {};
  const inKernel = (await statusOf(world, 'gateway'))?.fastpath?.['out.packets'] ?? 0;
  const note =
    `${count} transfers both ways, pinned after ${MIDFLOW_AFTER} packets: ${o.ok} whole, ` +
    `${counters['pass.to-replica'] ?? 0} packets outward through TypeScript, ${inKernel} in the kernel`;
  say(`pin-midflow ${c}: ${note}`);
  const arms = [transferReport(world.name, o, note)];
  const none: Target = { kind: 'most', value: 0 };
  return [
    exact(`pin-midflow:${c}:lost`, o.lost + o.wrong, none, rounds.command, arms),
    exact(`pin-midflow:${c}:resets`, o.resets + o.serverErrors, none, rounds.command, arms),
    exact(`pin-midflow:${c}:reordered`, reordered, undefined, rounds.command, arms),
  ];
}

/** The gateway is killed while transfers run; half of them end before its successor starts, half of them after. */
async function killed(
  world: World,
  c: Configuration,
  rounds: Rounds,
  plan: FlowsPlan,
  say: (line: string) => void,
): Promise<Figure[]> {
  const seconds = plan.killedSeconds;
  const pinned = async (): Promise<number> => (await statusOf(world, 'gateway'))?.fastpath?.flows ?? 0;
  // Flows of earlier connections are still counted.
  const earlier = await pinned();
  const load = world.load<Outcome>(
    ['many'],
    [KILLED_TRANSFERS, KILLED_RATE * seconds, KILLED_RATE, seconds * 6000].map(String),
  );
  // An error of the load is handled after the rest is done.
  load.catch(() => {});
  const began = performance.now();
  await waitUntil(async () => (await pinned()) - earlier >= KILLED_TRANSFERS, seconds * 500);
  await pause(seconds * 200);
  const reached = (await pinned()) - earlier;
  const gateway = world.carriers.at(-1)!;
  const at = performance.now() - began;
  signal(gateway, 'SIGKILL');
  await waitUntil(() => !isAlive(gateway), 2000);
  await pause(seconds * 1200 - at);
  world.carriers[world.carriers.length - 1] = startRole(world, 'gateway');
  await waitForRoles(world);
  const back = performance.now() - began;
  const o = await load;
  const note =
    `${KILLED_TRANSFERS} transfers both ways in ${o.seconds} s: ${reached} pinned when the gateway was killed after ` +
    `${(at / 1000).toFixed(1)} s, its successor ready after ${(back / 1000).toFixed(1)} s; ${o.ok} whole`;
  say(`killed ${c}: ${note}`);
  const arms = [transferReport(world.name, o, note)];
  const none: Target = { kind: 'most', value: 0 };
  return [
    exact(`killed:${c}:resets`, o.resets + o.serverErrors, none, rounds.command, arms),
    exact(`killed:${c}:wrong`, o.wrong, none, rounds.command, arms),
    exact(`killed:${c}:unclean`, o.unclean + o.serverOpen, none, rounds.command, arms),
  ];
}
