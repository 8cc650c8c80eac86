// Floods of SYNs that reach a replica through its gateway: they have genuine tags.
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  fromClient,
  NOW_SECONDS,
  ORIGIN,
  R1,
  syn,
  tagged,
  tunnel,
  withTcp,
} from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame, type Packet } from '../../../support/naive.js';

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

const asked = (n: number): Uint8Array => frame(tunnel(ORIGIN, R1.address, tagged(syn({ sport: 1024 + n }))));
/** A packet of the client in its tunnel, as the gateway sends it under C. */
const inTunnel = (p: Packet): Uint8Array => frame(tunnel(p.src, R1.address, p));
const confirms = (n: number): Uint8Array => inTunnel(withTcp(fromClient('A'), { sport: 1024 + n }));

describe('a replica in configuration C', () => {
  it('keeps its living connections, and takes new ones, during a flood of ten times its table', () => {
    const h = new Harness('replica', { configuration: 'C', maxFlows: 1024 });
    for (let n = 0; n < 200; n++) h.send([asked(n), confirms(n)]);
    h.clearCounts();
    for (let n = 0; n < 10_240; n++) {
      h.send([asked(1000 + n)]);
      if (n % 20 !== 0) continue;
      // A client's round trip later.
      const honest = 20_000 + n;
      h.send([asked(honest)]);
      h.send(Array.from({ length: 100 }, (_, k) => asked(12_000 + ((n * 7 + k) % 5000))));
      h.send([confirms(honest)]);
    }
    const counts = h.counts();
    expect(counts['drop.tunnel-no-flow'] ?? 0).toBe(0);
    expect(counts['drop.table-full'] ?? 0).toBe(0);
    expect(counts['pass.opened']).toBe(512);
    h.clearCounts();
    for (let n = 0; n < 200; n++) h.send([confirms(n)]);
    expect(h.counts()).toEqual({ 'pass.opened': 200 });
  });

  it('drops SYNs where every entry is that of a living connection', () => {
    const h = new Harness('replica', { configuration: 'C', maxFlows: 16 });
    for (let n = 0; n < 16; n++) h.send([asked(n), confirms(n)]);
    h.clearCounts();
    expect(h.send([asked(99)])).toEqual([]);
    expect(h.counts()).toEqual({ 'drop.table-full': 1 });
  });
});
