// Floods of SYNs (FAULTS: T8), at the whole pipeline of a gateway with a small table: connections that their client confirms are
// raced as ever, and living ones stay.
import { describe, expect, it } from 'vitest';
import { mix, racesAgain } from '../../../../gateway/race/send-syn.js';
import { asReplica, asService, R1, syn, withTcp } from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame, type Packet, parseFrame } from '../../../support/naive.js';

const MAX = 4096;
/** SYNs a second, and the time between two batches. */
const RATE = 20_000;
const STEP_MS = 5;
const PER_STEP = (RATE * STEP_MS) / 1000;
/** An honest connection's round trip. */
const TRIP_STEPS = 8;

const between = (sport: number, client: string, p: Packet, toClient: boolean): Packet => ({
  ...withTcp(p, toClient ? { dport: sport } : { sport }),
  ...(toClient ? { dst: client } : { src: client }),
});

interface Honest {
  client: string;
  sport: number;
}

class Flood {
  readonly h = new Harness('gateway', { configuration: 'A', race: 1, maxFlows: MAX });
  #sent = 0;
  #step = 0;

  /** @param source the flood's n-th packet's source and port */
  constructor(readonly source: (n: number) => [client: string, sport: number]) {}

  /** @returns the honest connections that were established meanwhile, and how many were tried */
  run(floods: boolean, steps: number): { raced: number; tried: number; established: Honest[] } {
    const { h } = this;
    let tried = 0;
    let raced = 0;
    const established: Honest[] = [];
    const waiting: { at: number; honest: Honest }[] = [];
    for (let n = 0; n < steps; n++) {
      h.clock.nowUs += STEP_MS * 1000;
      if (n % (100 / STEP_MS) === 0) h.tick();
      const frames: Uint8Array[] = [];
      if (floods)
        for (let k = 0; k < PER_STEP; k++) {
          const [client, sport] = this.source(this.#sent++);
          frames.push(frame(between(sport, client, syn(), false)));
        }
      const honest = { client: `10.1.${200 + (this.#step % 40)}.9`, sport: 20_000 + this.#step++ };
      tried++;
      h.send(frames);
      h.clearCounts();
      h.send([frame(between(honest.sport, honest.client, syn(), false))]);
      raced += h.counts()['pass.syn-raced'] ?? 0;
      waiting.push({ at: n + TRIP_STEPS, honest });
      while (waiting.length > 0 && waiting[0].at <= n) {
        const { honest: one } = waiting.shift()!;
        h.send([frame(asReplica(R1, between(one.sport, one.client, asService('SA'), true)))]);
        h.clearCounts();
        const ack = withTcp(syn(), { flags: 'A', seq: 0xffffffff, ack: 0x70000001, options: [] });
        h.send([frame(between(one.sport, one.client, ack, false))]);
        if (h.counts()['pass.to-replica'] === 1) established.push(one);
      }
    }
    return { raced, tried: tried - waiting.length, established };
  }

  /** How many of these connections are still carried. */
  living(all: readonly Honest[]): number {
    const { h } = this;
    h.clearCounts();
    const data = withTcp(syn(), { flags: 'AP', seq: 0xffffffff, ack: 0x70000001, options: [], payload: [1] });
    for (const one of all) h.send([frame(between(one.sport, one.client, data, false))]);
    return h.counts()['pass.to-replica'] ?? 0;
  }
}

const SOURCES: Record<string, (n: number) => [string, number]> = {
  'of random sources': (n) => [`10.1.${(n * 7919) % 200}.${(n * 104_729) % 250}`, 1024 + ((n * 31) % 60_000)],
  'of one source': (n) => ['10.1.7.7', 1024 + (n % 60_000)],
  'of one prefix': (n) => [`10.1.7.${n % 250}`, 1024 + ((n * 31) % 60_000)],
};

describe.each(Object.entries(SOURCES))('a flood %s, ten times the table, at 20,000 a second', (_, source) => {
  it('leaves honest connections raced and carried, and the table is as before soon after', () => {
    const flood = new Flood(source);
    const before = flood.run(false, 200);
    expect(before.established).toHaveLength(before.tried);
    const during = flood.run(true, (10 * MAX) / PER_STEP);
    expect(during.raced / during.tried).toBeGreaterThanOrEqual(0.99);
    expect(during.established.length / during.tried).toBeGreaterThanOrEqual(0.99);
    const all = [...before.established, ...during.established];
    expect(flood.living(all)).toBe(all.length);
    const after = flood.run(false, 400);
    expect([after.raced >= after.tried, after.established.length]).toEqual([true, after.tried]);
  });
});

describe('a source with many connections that it does not confirm', () => {
  const many = 200;
  it.each([
    ['a gateway', 1, 'emit.syn-copy', 'limit.race-of-source'],
    ['the origin', 0, undefined, 'pass.syn-source-busy'],
  ] as const)(
    'costs one SYN for one, in races that %s starts; others are raced',
    (_, race, copied, reason) => {
      const h = new Harness('gateway', { configuration: 'A', race, maxFlows: 8192 });
      for (let n = 0; n < many; n++) h.send([frame(between(2000 + n, '10.1.7.7', syn(), false))]);
      const counts = h.counts();
      expect(counts[reason]).toBe(many - 64);
      if (copied !== undefined) expect(counts[copied]).toBe(64 * 2);
      h.clearCounts();
      h.send([frame(between(2000, '10.1.8.8', syn(), false))]);
      expect(h.counts()[reason]).toBeUndefined();
      expect(h.counts()[race === 1 ? 'pass.syn-raced' : 'pass.syn-tagged']).toBe(1);
    },
  );
});

/** A sequence number whose connections are raced by lot. */
const DRAWN = Array.from({ length: 1000 }, (_, n) => n).find((n) => racesAgain(mix(n)))!;

describe('a flood of many sources, while the pool is full', () => {
  it.each([
    ['whose answers are late', undefined, 'fired.hedge'],
    ['that would all be raced', DRAWN, 'limit.race-when-full'],
  ] as const)('%s costs hardly more than one SYN for one', (_, seq, counted) => {
    const h = new Harness('gateway', { configuration: 'A', race: 2, maxFlows: MAX, holdSlots: 8192 });
    const isSyn = (out: readonly Uint8Array[]): number =>
      out.filter((f) => {
        const { body } = parseFrame(f)!.packet;
        return body.kind === 'tcp' && body.flags === 'S';
      }).length;
    // What is near is known.
    for (let n = 0; n < 30; n++) {
      const [client, sport] = [`10.1.7.${n}`, 60_000 + n];
      h.send([frame(between(sport, client, syn(), false))]);
      h.advance(1000);
      h.send([frame(asReplica(R1, between(sport, client, asService('SA'), true)))]);
      const ack = withTcp(syn(), { flags: 'A', seq: 0xffffffff, ack: 0x70000001, options: [] });
      h.send([frame(between(sport, client, ack, false))]);
      h.advance(500_000);
    }
    h.clearCounts();
    let out = 0;
    let sent = 0;
    for (let n = 0; n < 2000 / STEP_MS; n++) {
      if (n % (100 / STEP_MS) === 0) h.tick();
      const frames = Array.from({ length: PER_STEP }, () =>
        frame(
          between(
            1024 + (sent % 50_000),
            `10.1.7.${sent++ % 250}`,
            syn(seq === undefined ? {} : { seq }),
            false,
          ),
        ),
      );
      out += isSyn(h.send(frames)) + isSyn(h.advance(STEP_MS * 1000));
    }
    expect(h.counts()[counted]).toBeGreaterThan(0);
    // 500 times a second the three others are asked; and for the SYNs from before the pool was full.
    expect(out).toBeGreaterThanOrEqual(sent);
    expect(out).toBeLessThan(sent + 3 * (2 * 500 + MAX / 4));
  });
});

describe('a table that is full', () => {
  it('of connections that have ended: they make room', () => {
    const h = new Harness('gateway', { configuration: 'A', race: 1, maxFlows: 128 });
    const honest = (n: number): Honest => ({ client: `10.1.${n % 100}.9`, sport: 20_000 + n });
    for (let n = 0; n < 128; n++) {
      const one = honest(n);
      h.send([frame(between(one.sport, one.client, syn(), false))]);
      h.send([frame(asReplica(R1, between(one.sport, one.client, asService('SA'), true)))]);
      const ack = withTcp(syn(), { flags: 'A', seq: 0xffffffff, ack: 0x70000001, options: [] });
      h.send([frame(between(one.sport, one.client, ack, false))]);
      // Every other one is reset.
      if (n % 2 === 0) {
        const reset = withTcp(syn(), { flags: 'R', seq: 0xffffffff, options: [] });
        h.send([frame(between(one.sport, one.client, reset, false))]);
      }
    }
    h.clearCounts();
    for (let n = 128; n < 192; n++) h.send([frame(between(honest(n).sport, honest(n).client, syn(), false))]);
    expect(h.counts()['pass.syn-raced']).toBe(64);
    // The search for one that has ended is short, and then the oldest half-open one goes.
    expect(h.counts()['evict.ended']).toBeGreaterThan(56);
  });

  it('of living connections: further SYNs go to the origin', () => {
    const h = new Harness('gateway', { configuration: 'A', race: 1, maxFlows: 16 });
    for (let n = 0; n < 16; n++) {
      h.send([frame(between(n + 1, '10.1.0.7', syn(), false))]);
      h.send([frame(asReplica(R1, between(n + 1, '10.1.0.7', asService('SA'), true)))]);
      const ack = withTcp(syn(), { flags: 'A', seq: 0xffffffff, ack: 0x70000001, options: [] });
      h.send([frame(between(n + 1, '10.1.0.7', ack, false))]);
    }
    h.clearCounts();
    const [out] = h.send([frame(between(99, '10.1.0.8', syn(), false))]);
    expect(h.counts()).toEqual({ 'pass.syn-table-full': 1 });
    expect(out).toEqual(frame(between(99, '10.1.0.8', syn(), false)));
  });
});
