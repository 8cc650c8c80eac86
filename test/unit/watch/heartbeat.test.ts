import { expect, it } from 'vitest';
import { Heartbeat } from '../../../src/watch/heartbeat.js';

it('a thread is stuck after three seconds without a beat, and alive again with the next one', () => {
  const heartbeat = new Heartbeat();
  expect([1, 6, 11].map((beats) => heartbeat.look(beats))).toEqual([true, true, true]);
  expect(Array.from({ length: 7 }, () => heartbeat.look(11))).toEqual([
    ...new Array(5).fill(true),
    ...new Array(2).fill(false),
  ]);
  expect(heartbeat.look(12)).toBe(true);
});
