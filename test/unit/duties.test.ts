import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Duties, restMs } from '../../src/duties.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** Duties of a large fleet that take so much processor time, each. */
function taking(ms: number, isLarge = true): { duties: Duties; performed: () => number } {
  let performed = 0;
  vi.spyOn(process, 'cpuUsage').mockImplementation((before) => ({
    user: before === undefined ? 0 : ms * 1000,
    system: 0,
  }));
  const duties = new Duties(
    async () => {
      performed++;
    },
    { error: () => {} },
    () => isLarge,
  );
  return { duties, performed: () => performed };
}

it.each([
  [4, true],
  [1000, false],
])('duties of %i ms follow each other at once, large: %s', async (ms, isLarge) => {
  const { duties, performed } = taking(ms, isLarge);
  for (let n = 1; n <= 5; n++) {
    duties.refresh();
    await vi.advanceTimersByTimeAsync(25);
    expect(performed()).toBe(n);
  }
});

it('a duty that takes long is followed by a rest, and what changes meanwhile by one more', async () => {
  const { duties, performed } = taking(24);
  duties.refresh();
  await vi.advanceTimersByTimeAsync(25);
  for (let n = 0; n < 19; n++) {
    duties.refresh();
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(performed()).toBe(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(performed()).toBe(2);
});

it('what is urgent waits for no rest', async () => {
  const { duties, performed } = taking(1000);
  duties.refresh();
  await vi.advanceTimersByTimeAsync(25);
  duties.refresh(true);
  await vi.advanceTimersByTimeAsync(25);
  expect(performed()).toBe(2);
});

it('a rest ends with the duties', async () => {
  const { duties, performed } = taking(1000);
  duties.refresh();
  await vi.advanceTimersByTimeAsync(25);
  duties.refresh();
  await duties.end();
  expect(performed()).toBe(1);
});

it('a rest is a hundred times what is beyond the free part, five seconds at most', () => {
  expect([0, 4, 5, 24, 54, 10_000].map(restMs)).toEqual([0, 0, 100, 2000, 5000, 5000]);
});
