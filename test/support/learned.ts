/** What a gateway has learned, made up for tests: a table, its clock, and past races. */
import { beforeEach } from 'vitest';
import { ManualClock } from '../../src/device/clock.js';
import { MOST_RACED } from '../../src/proximity/candidates.js';
import { Learned } from '../../src/proximity/learned.js';
import { learnedBytes, rttOf } from '../../src/proximity/learned-table.js';
import { fromV4 } from '../../src/wire/address.js';
import { serviceNumber } from './numbers.js';

export const CLIENT = 0xc0000207 | 0;
export const NOW = 5e6;
export const IDLE = new Float64Array(MOST_RACED);
export const bits = (...candidates: number[]): number => candidates.reduce((all, c) => all | (1 << c), 0);
export const ALL = bits(0, 1, 2);

/** Set back to {@link NOW} before each test. */
export const clock = new ManualClock(NOW);
beforeEach(() => {
  clock.nowUs = NOW;
});
export const fresh = (entries = 64): Learned =>
  new Learned(new Float64Array(learnedBytes(entries) / 8), clock);
/** An IPv4 address as four words. */
export const words = (v4: number): Int32Array => Int32Array.from(fromV4(v4));

export const rtt = (learned: Learned, entry: number, candidate: number): number =>
  learned.table[rttOf(entry, candidate)];
/** The result of `call` at another time. */
export function at<T>(us: number, call: () => T): T {
  clock.nowUs = us;
  return call();
}

/** An entry whose candidates were measured with these round trips, in a full race. */
export function raced(learned: Learned, rttMs: Record<number, number>, live = ALL, times = 1): number {
  const entry = learned.entry(serviceNumber(0), words(CLIENT), 0);
  learned.raced(entry, live);
  for (let n = 0; n < times; n++)
    for (const [c, ms] of Object.entries(rttMs)) learned.note(entry, Number(c), ms * 1000);
  return entry;
}

/** How often each candidate is chosen, over evenly distributed hashes. */
export function shares(learned: Learned, entry: number, loads = IDLE, live = ALL): Record<number, number> {
  const counts: Record<number, number> = {};
  const of = 4096;
  for (let n = 0; n < of; n++) {
    const c = learned.choose(entry, live, loads, (n * (2 ** 32 / of)) | 0);
    counts[c] = (counts[c] ?? 0) + 1 / of;
  }
  return counts;
}
