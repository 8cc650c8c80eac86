import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VNET_HEADER } from '../../../src/device/device.js';
import { HOLD_HEADROOM, HoldQueue } from '../../../src/device/hold-queue.js';

/** A packet of `length` bytes behind a virtio header, at a given offset. */
function source(length: number, fill: number, offset: number): { from: Uint8Array; at: number } {
  const from = new Uint8Array(offset + VNET_HEADER + length);
  for (let b = 0; b < VNET_HEADER + length; b++) from[offset + b] = (fill * 31 + b * 7 + 1) & 255;
  return { from, at: offset + VNET_HEADER };
}

function bytesOf(q: HoldQueue, i: number): Uint8Array {
  return q.arena.slice(q.at(i) - VNET_HEADER, q.at(i) + q.lengthOf(i));
}

type Step =
  | { do: 'push'; length: number; due: number; offset: number }
  | { do: 'pop'; now: number }
  | { do: 'free' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      length: fc.integer({ min: 1, max: 130 }),
      due: fc.integer({ min: 0, max: 20 }),
      offset: fc.integer({ min: 0, max: 9 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('pop' as const), now: fc.integer({ min: 0, max: 20 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('free' as const) }) },
);

describe('HoldQueue', () => {
  it('agrees with a sorted array, bytes included', () => {
    const classes = [
      { slotBytes: 40, slots: 3 },
      { slotBytes: 120, slots: 4 },
    ];
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const q = new HoldQueue(classes);
        type Held = { i: number; due: number; order: number; meta: number; bytes: Uint8Array; slots: number };
        const held: Held[] = [];
        const popped: Held[] = [];
        const free = classes.map((c) => c.slots);
        let order = 0;
        for (const s of steps) {
          if (s.do === 'push') {
            const { from, at } = source(s.length, order, s.offset);
            const k = classes.findIndex((c, n) => c.slotBytes >= s.length && free[n] > 0);
            const i = q.push(from, at, s.length, s.due, order);
            expect(i >= 0).toBe(k >= 0);
            if (k < 0) continue;
            free[k]--;
            const bytes = from.slice(at - VNET_HEADER);
            held.push({ i, due: s.due, order, meta: order, bytes, slots: k });
            order++;
          } else if (s.do === 'pop') {
            held.sort((a, b) => a.due - b.due || a.order - b.order);
            const want = held[0] !== undefined && held[0].due <= s.now ? held.shift() : undefined;
            const i = q.pop(s.now);
            expect(i).toBe(want?.i ?? -1);
            if (want === undefined) continue;
            expect(q.dueUs(i)).toBe(want.due);
            expect(q.metaOf(i)).toBe(want.meta);
            popped.push(want);
          } else {
            const p = popped.shift();
            if (p === undefined) continue;
            q.free(p.i);
            free[p.slots]++;
          }
          expect(q.size).toBe(held.length);
          expect(q.nextDueUs).toBe(Math.min(Infinity, ...held.map((h) => h.due)));
          // A push must not change a neighbour's bytes, including those of popped slots.
          for (const h of [...held, ...popped]) expect(bytesOf(q, h.i)).toEqual(h.bytes);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('leaves headroom for an outer header in front of every packet', () => {
    const q = new HoldQueue([{ slotBytes: 64, slots: 3 }]);
    const indices = [0, 1, 2].map((n) => {
      const { from, at } = source(64, n, n);
      return q.push(from, at, 64, n, n);
    });
    const before = indices.map((i) => bytesOf(q, i));
    for (const i of indices) q.arena.fill(0xee, q.at(i) - VNET_HEADER - HOLD_HEADROOM, q.at(i) - VNET_HEADER);
    expect(indices.map((i) => bytesOf(q, i))).toEqual(before);
  });

  it('refuses to free a slot twice, or a slot that is still held', () => {
    const q = new HoldQueue([{ slotBytes: 64, slots: 2 }]);
    const { from, at } = source(20, 1, 0);
    const i = q.push(from, at, 20, 5, 0);
    expect(() => q.free(i)).toThrow(RangeError);
    expect(q.pop(5)).toBe(i);
    q.free(i);
    expect(() => q.free(i)).toThrow(RangeError);
  });
});
