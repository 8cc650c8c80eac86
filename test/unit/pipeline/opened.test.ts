// Decapsulated packets are marked for the device, which may coalesce them; no other packets are.
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Row } from '../../contract/row.js';
import { answerOnWan, synAck } from '../../contract/row.js';
import {
  asService,
  CLIENT,
  fromClient,
  NOW_SECONDS,
  ORIGIN,
  R1,
  syn,
  tagged,
  tunnel,
} from '../../support/builder.js';
import { Harness } from '../../support/harness.js';
import { frame, type Packet } from '../../support/naive.js';

// Tags contain the wall clock's epoch.
beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

/** The `opened` flag of each packet that is written to the device. */
function told(role: Row['role'], setup: Packet[][], batch: Packet[]): number[] {
  const h = new Harness(role, { configuration: 'C' });
  for (const packets of setup) h.send(packets.map(frame));
  const { device } = h.runner;
  let seen: number[] = [];
  const write = vi.spyOn(device, 'writeBatch');
  write.mockImplementation((_arena, _at, _lengths, count, opened) => {
    seen = Array.from({ length: count }, (_, i) => opened?.[i] ?? 0);
    return count;
  });
  h.send(batch.map(frame));
  return seen;
}

it('at the gateway', () => {
  const answer = (p: Packet): Packet => answerOnWan('C', R1, p);
  const data = answer(asService('A', { payload: [1] }));
  const setup = [[syn()], [answer(synAck())], [fromClient('A')]];
  expect(told('gateway', setup, [fromClient('A'), data, fromClient('A'), data, data])).toEqual([
    0, 1, 0, 1, 1,
  ]);
  // Dropped packets have no entry.
  const late = asService('PA', { payload: [1] });
  expect(told('gateway', setup, [late, data, fromClient('A')])).toEqual([1, 0]);
});

it('at the replica', () => {
  const inward = tunnel(CLIENT, R1.address, fromClient('A'));
  const setup = [[tunnel(ORIGIN, R1.address, tagged(syn()))]];
  expect(told('replica', setup, [asService('A'), inward, inward, asService('A')])).toEqual([0, 1, 1, 0]);
});
