/** What happens to a path while the bench connects steadily: it becomes longer (`shift`), or only for a moment (`spike`). */
import type { DrawnDelays } from '../matrix.js';
import { pause } from '../process.js';
import type { Connection } from './connect.js';
import { type Bed, type Changes, PROBE_ROUND_MS, SERVICE, SERVICE_PORT } from './matrix-bed.js';
import type { Figure } from './scenarios.js';

const PER_SECOND = 100;
/** The round trips of the nearest machine, of the second, and the least of all others. */
const NEAREST_MS = 10;
const SECOND_MS = 14;
const OTHERS_MS = 30;
const SHIFT_MS = 20;
const BEFORE_MS = 3000;
const AFTER_MS = 8000;
const WINDOW_MS = 200;
const LEFT = 0.95;
const SHIFT_TARGET_S = 2;

const SPIKE_CONNECTIONS = 240;
const SPIKE_TARGET = 3;
const LATE_MS = 150;
const LINE_MS = 200;
const LINE_LASTS_MS = 2000;

export type Add = (
  id: string,
  mode: string,
  value: number | string,
  target: string,
  met: Figure['met'],
) => void;
const yes = (met: boolean): Figure['met'] => (met ? 'yes' : 'no');

/** A draw with one machine clearly nearest, a second one within a few ms, and all others well behind. */
function twoNear(draw: DrawnDelays, machines: readonly string[]): { nearest: string; changes: Changes } {
  const roundTrip = (m: string): number => draw.delaysMs[`gateway>${m}`] + draw.delaysMs[`${m}>gateway`];
  const order = [...machines].sort((a, b) => roundTrip(a) - roundTrip(b));
  const changes: Changes = {};
  const set = (m: string, ms: number): void => {
    changes[`gateway>${m}`] = changes[`${m}>gateway`] = ms / 2;
  };
  for (const m of ['origin', ...machines]) if (roundTrip(m) < OTHERS_MS) set(m, OTHERS_MS);
  set(order[0], NEAREST_MS);
  set(order[1], SECOND_MS);
  return { nearest: order[0], changes };
}

/** Starts the gateway with such a draw, and connects steadily until it has had one round of its probes. */
async function begin(bed: Bed, draw: DrawnDelays): Promise<string> {
  const { machines } = bed.lab.farm;
  const { nearest, changes } = twoNear(draw, machines);
  await bed.take(draw, { count: machines.length, changes });
  await pause(PROBE_ROUND_MS);
  await bed.client.connectSteadily(SERVICE, SERVICE_PORT, PER_SECOND, PER_SECOND);
  return nearest;
}

const shareOn = (all: readonly Connection[], machine: string): number =>
  all.filter((c) => c.servedBy === machine).length / Math.max(1, all.length);

export async function shift(bed: Bed, draw: DrawnDelays, add: Add): Promise<void> {
  const nearest = await begin(bed, draw);
  const count = ((BEFORE_MS + AFTER_MS) / 1000) * PER_SECOND;
  const running = bed.client.connectSteadily(SERVICE, SERVICE_PORT, count, PER_SECOND);
  await pause(BEFORE_MS);
  const longer = bed.delaysMs[`${nearest}>gateway`] + SHIFT_MS;
  await bed.lab.wan.setPath(`${nearest}>gateway`, { delayMs: longer });
  const shiftedAtMs = performance.timeOrigin + performance.now();
  const all = (await running).sort((a, b) => a.begunAtMs - b.begunAtMs);
  const before = shareOn(
    all.filter((c) => c.begunAtMs < shiftedAtMs),
    nearest,
  );
  const after = all.filter((c) => c.begunAtMs >= shiftedAtMs);
  const target = `<= ${SHIFT_TARGET_S}`;
  const leftAtMs = before < LEFT ? undefined : leaves(after, nearest);
  if (before < LEFT) add('shift', 'seconds', `the nearest had only ${percent(before)} before`, target, 'no');
  else if (leftAtMs === undefined) add('shift', 'seconds', `not left in ${AFTER_MS / 1000} s`, target, 'no');
  else {
    const seconds = (leftAtMs - shiftedAtMs) / 1000;
    add('shift', 'seconds', Math.max(0, seconds), target, yes(seconds <= SHIFT_TARGET_S));
    const later = after.filter((c) => c.begunAtMs >= leftAtMs);
    add('shift', 'share on the machine after that', shareOn(later, nearest), 'reported', 'reported');
  }
  const failed = all.filter((c) => c.servedBy === '').length;
  add('shift', 'failed connections', failed, '0', yes(failed === 0));
}

/** The first time from which a window's connections avoid the machine; undefined when there is none. */
export function leaves(all: readonly Connection[], machine: string): number | undefined {
  const lastMs = all.length === 0 ? 0 : all[all.length - 1].begunAtMs;
  for (const { begunAtMs } of all) {
    if (begunAtMs + WINDOW_MS > lastMs) return undefined;
    const window = all.filter((c) => c.begunAtMs >= begunAtMs && c.begunAtMs < begunAtMs + WINDOW_MS);
    if (1 - shareOn(window, machine) >= LEFT) return begunAtMs;
  }
  return undefined;
}

const percent = (share: number): string => `${Math.round(share * 100)} %`;

export const SPIKES = ['spike:late', 'spike:lost', 'spike:line'] as const;

export async function spike(bed: Bed, draw: DrawnDelays, id: string, add: Add): Promise<void> {
  const nearest = await begin(bed, draw);
  const { wan } = bed.lab;
  const struckBefore = (await wan.statistics()).struck;
  if (id === 'spike:late')
    await wan.once({ path: `${nearest}>gateway`, next: 'syn', what: { lateMs: LATE_MS } });
  if (id === 'spike:lost') await wan.once({ path: `gateway>${nearest}`, next: 'syn', what: 'dropped' });
  if (id === 'spike:line') await wan.setLine('gateway', LINE_MS);
  const running = bed.client.connectSteadily(SERVICE, SERVICE_PORT, SPIKE_CONNECTIONS, PER_SECOND);
  if (id === 'spike:line') {
    await pause(LINE_LASTS_MS);
    await wan.setLine('gateway', 0);
  }
  const all = await running;
  await wan.once();
  const elsewhere = all.filter((c) => c.servedBy !== nearest).length;
  const hasStruck = id === 'spike:line' || (await wan.statistics()).struck > struckBefore;
  const mode = `connections elsewhere, of ${SPIKE_CONNECTIONS}${hasStruck ? '' : '; no SYN went that way'}`;
  add(id, mode, elsewhere, `<= ${SPIKE_TARGET}`, yes(hasStruck && elsewhere <= SPIKE_TARGET));
}
