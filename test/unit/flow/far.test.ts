// Keys from decoded columns, and the second index by the far pair.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FlowEntry } from '../../../src/flow/numbers.js';
import { FlowTable, type Tuples } from '../../../src/flow/table.js';
import { offset } from '../../support/numbers.js';

const SEED: [number, number] = [3, 4];
const TCP = 6;
const UDP = 17;
type Pair = { address: [number, number, number, number]; port: number };
const word = fc.constantFrom(0, 1, -1, 7);
const pair: fc.Arbitrary<Pair> = fc.record({
  address: fc.tuple(word, word, word, word),
  port: fc.constantFrom(0, 1, 80, 65535),
});

/** One packet at index 1 of the columns, so that offsets matter. */
function packet(from: Pair, to: Pair, protocol: number): Tuples {
  return {
    saddr: Int32Array.of(9, 9, 9, 9, ...from.address),
    daddr: Int32Array.of(8, 8, 8, 8, ...to.address),
    sport: Uint16Array.of(9, from.port),
    dport: Uint16Array.of(8, to.port),
    protocol: Uint8Array.of(0, protocol),
  };
}
const P = 1;

function write(t: FlowTable, e: FlowEntry, source: Pair, target: Pair): void {
  t.source.set(source.address, 4 * e);
  t.sourcePort[e] = source.port;
  t.target.set(target.address, 4 * e);
  t.targetPort[e] = target.port;
}

describe('a key', () => {
  it('of a packet is the same in both directions, and differs by every part of the tuple', () => {
    fc.assert(
      fc.property(pair, pair, fc.constantFrom(TCP, UDP), (client, service, protocol) => {
        const t = new FlowTable(8, SEED);
        t.keyOf(packet(client, service, protocol), P);
        const key = [...t.key];
        const e = t.insert();
        t.keyOfAnswer(packet(service, client, protocol), P);
        expect([...t.key]).toEqual(key);
        expect(t.find()).toBe(e);
        const words = Int32Array.of(5, 5, 5, 5, ...service.address);
        const elsewhere: Pair = { address: [1, 2, 3, 4], port: 5 };
        t.keyForService(packet(elsewhere, client, protocol), P, false, words, 1, service.port);
        expect([...t.key]).toEqual(key);
        t.keyForService(packet(client, elsewhere, protocol), P, true, words, 1, service.port);
        expect([...t.key]).toEqual(key);
        t.keyOf(packet(client, service, protocol === TCP ? UDP : TCP), P);
        expect(t.find()).toBe(-1);
      }),
    );
  });

  it('of TCP is the same as before there were other protocols', () => {
    const t = new FlowTable(8, SEED);
    t.keyV4(0x0a000001, 40_000, 0x01020304, 80);
    const before = [...t.key];
    const client: Pair = { address: [0, 0, 0xffff, 0x0a000001], port: 40_000 };
    const service: Pair = { address: [0, 0, 0xffff, 0x01020304], port: 80 };
    t.keyOf(packet(client, service, TCP), P);
    expect([...t.key]).toEqual(before);
    expect(before[9]).toBe(0);
  });
});

describe('the far index', () => {
  type Step = { do: 'add' | 'remove' | 'move'; client: Pair; source: Pair; target: Pair };
  const step: fc.Arbitrary<Step> = fc.record({
    do: fc.constantFrom('add', 'add', 'remove', 'move'),
    client: pair,
    source: pair,
    target: pair,
  });
  const service: Pair = { address: [0, 0, 0xffff, 1], port: 80 };

  it('agrees with a Map under any operations, deletions included', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const t = new FlowTable(12, SEED, { far: true });
        const oracle = new Map<string, FlowEntry>();
        const farOf = new Map<FlowEntry, string>();
        for (const s of steps) {
          const far = JSON.stringify([s.source, s.target]);
          t.keyOf(packet(s.client, service, UDP), P);
          let e = t.find();
          if (s.do === 'add' && e < 0 && !oracle.has(far)) {
            e = t.insert();
            if (e < 0) continue;
          } else if (s.do === 'remove' && e >= 0) {
            t.remove(e);
            oracle.delete(farOf.get(e)!);
            farOf.delete(e);
            continue;
          } else if (s.do !== 'move' || e < 0 || oracle.has(far)) continue;
          oracle.delete(farOf.get(e) ?? '');
          write(t, e, s.source, s.target);
          t.link(e);
          oracle.set(far, e);
          farOf.set(e, far);
        }
        for (const s of steps) {
          const far = JSON.stringify([s.source, s.target]);
          expect(t.findFar(packet(s.target, s.source, UDP), P)).toBe(oracle.get(far) ?? -1);
          expect(t.findFar(packet(s.target, s.source, TCP), P)).toBe(-1);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('takes no memory where a program does not use it', () => {
    const t = new FlowTable(1000, SEED);
    expect([t.source.length, t.sourcePort.length]).toEqual([0, 0]);
    t.keyV4(1, 2, 3, 4);
    const e = t.insert();
    t.unlink(e);
    t.remove(e);
    expect(t.size).toBe(0);
  });

  it('another kind of number does not compile', () => {
    const t = new FlowTable(8, SEED);
    // @ts-expect-error an offset is no entry
    expect(() => t.keyWord(0, 0) && t.unlink(offset(3))).not.toThrow();
  });
});
