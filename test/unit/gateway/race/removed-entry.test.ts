// A SYN that ends an old connection's entry and begins none, followed in the same batch by packets that were found to
// belong to that entry: they belong to none, and the table stays whole. Found by a long fuzz run.
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { asReplica, asService, fromClient, NOW_SECONDS, R1, syn, withTcp } from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame } from '../../../support/naive.js';

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

it('packets behind a SYN that ends their entry belong to none', () => {
  const h = new Harness('gateway', { configuration: 'A', race: 1, maxFlows: 16 });
  h.send([frame(syn())]);
  h.send([frame(asReplica(R1, asService('SA')))]);
  // The connection ends; its entry stays for four minutes.
  h.send([frame(fromClient('R'))]);
  h.clearCounts();
  const withData = withTcp(syn(), { seq: 77, payload: [1, 2, 3] });
  h.send([frame(withData), frame(fromClient('R')), frame(fromClient('A'))]);
  expect(h.counts()).toEqual({ 'pass.syn-with-payload': 1, 'pass.no-flow': 2 });
  // Long after, when every entry has expired, the table takes as many connections as ever.
  for (let n = 0; n < 5000; n++) {
    h.clock.nowUs += 1e5;
    h.tick();
  }
  h.clearCounts();
  h.send(Array.from({ length: 16 }, (_, n) => frame(withTcp(syn(), { sport: 30_000 + n }))));
  expect(h.counts()['pass.syn-raced']).toBe(16);
});
