/**
 * The emulator's process, started by `wan.ts` inside the wan namespace:
 *   node emulator-main.js PLAN APPLIED STATISTICS
 * SIGHUP: read PLAN again. APPLIED then holds its generation. SIGUSR2, SIGTERM: write STATISTICS.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { MonotonicClock, PreciseTimer } from '../device/clock.js';
import { Tun } from '../device/tun.js';
import { Emulator, type WanPlan } from './emulator.js';

const [planFile, appliedFile, statisticsFile] = process.argv.slice(2);

// High priority, because a late packet is a wrong delay, and the machines under test run on the same processors.
setPriority(-20);

const readPlan = () => JSON.parse(readFileSync(planFile, 'utf8')) as WanPlan;
function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

const plan = readPlan();
const clock = new MonotonicClock();
const tuns = plan.hosts.map((host) => new Tun(`w-${host.name}`, { offload: true }));
const emulator = new Emulator(tuns, plan, clock);
const writeStatistics = () => writeWhole(statisticsFile, JSON.stringify(emulator.statistics()));

let armedUs = Infinity;
const timer = new PreciseTimer(() => {
  armedUs = Infinity;
  turn();
});

/** Writes the packets that are due, and arms the timer for the next packet if it is due earlier than the timer. */
function turn(): void {
  emulator.release();
  const nextUs = emulator.nextDueUs;
  if (nextUs < armedUs) {
    armedUs = nextUs;
    timer.arm(nextUs);
  }
}

tuns.forEach((tun, n) => {
  tun.onReadable(() => {
    emulator.receive(n);
    turn();
  });
});

process.on('SIGHUP', () => {
  const next = readPlan();
  emulator.apply(next);
  writeWhole(appliedFile, String(next.generation));
});
process.on('SIGUSR2', writeStatistics);
process.on('SIGTERM', () => {
  writeStatistics();
  timer.release();
  for (const tun of tuns) tun.release();
  process.exit(0);
});

writeWhole(appliedFile, String(plan.generation));
