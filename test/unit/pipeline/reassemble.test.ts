import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../../src/device/clock.js';
import { BATCH, Batch, DATAGRAMS, PASS } from '../../../src/pipeline/batch.js';
import { common, MAX_REASONS } from '../../../src/pipeline/reasons.js';
import { Reassembler } from '../../../src/pipeline/reassemble.js';
import { validateWhole } from '../../../src/pipeline/validate.js';
import { CLIENT, fragmentsOf, ip, raw, SERVICE } from '../../support/builder.js';
import { frame, type Packet } from '../../support/naive.js';

const UDP = 17;

/** A datagram whose bytes and identification are told apart from another's. */
const datagram = (id: number, bytes: number): Packet =>
  ip(
    CLIENT,
    SERVICE,
    raw(UDP, [
      0,
      7,
      0,
      7,
      bytes >> 8,
      bytes & 255,
      0,
      0,
      ...Array.from({ length: bytes - 8 }, (_, n) => (n * 7 + id) & 255),
    ]),
    {
      ...{ id, df: false },
    },
  );

class Bed {
  readonly clock = new ManualClock();
  readonly batch = new Batch(this.clock, new Float64Array(MAX_REASONS));
  readonly stage = validateWhole(new Reassembler(this.clock));

  /** Sends packets in one batch, laid behind each other as a device does. @returns the bytes of those that are whole */
  send(packets: readonly Packet[]): number[][] {
    const { batch } = this;
    batch.reset();
    let at = batch.at[0] as number;
    packets.forEach((p, n) => {
      const bytes = frame(p);
      batch.arena.set(bytes, at - 10);
      batch.at[n] = at as never;
      batch.length[n] = bytes.length - 10;
      at += bytes.length + 64;
    });
    batch.begin(packets.length);
    this.stage(batch);
    const out: number[][] = [];
    for (let n = 0; n < packets.length; n++) {
      if (batch.verdict[n] !== 0 && batch.verdict[n] !== PASS) continue;
      out.push([...batch.arena.subarray(batch.at[n], batch.at[n] + batch.length[n])]);
    }
    return out;
  }

  count(reason: number): number {
    return this.batch.counters[reason];
  }
}

const whole = (p: Packet): number[] => [...frame(p).subarray(10)];

describe('fragments', () => {
  it('of any size and in any order become their datagrams', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ bytes: fc.integer({ min: 40, max: 9000 }), piece: fc.integer({ min: 4, max: 180 }) }),
          {
            minLength: 1,
            maxLength: 5,
          },
        ),
        fc.infiniteStream(fc.nat()),
        (sizes, order) => {
          const bed = new Bed();
          const datagrams = sizes.map(({ bytes }, n) => datagram(n + 1, bytes));
          const pieces = datagrams.flatMap((d, n) => fragmentsOf(d, 8 * sizes[n].piece));
          const shuffled = pieces.map((p) => [order.next().value, p] as const).sort(([a], [b]) => a - b);
          const out: number[][] = [];
          for (let n = 0; n < shuffled.length; n += BATCH)
            out.push(...bed.send(shuffled.slice(n, n + BATCH).map(([, p]) => p)));
          expect(out.sort()).toEqual(datagrams.map(whole).sort());
        },
      ),
      { numRuns: 60 },
    );
  });

  it('of the largest packet become it, which leaves room for a tunnel', () => {
    const largest = datagram(5, 65_535 - 20 - 20);
    const bed = new Bed();
    const out = fragmentsOf(largest, 1480).flatMap((p) => bed.send([p]));
    expect(out).toEqual([whole(largest)]);
  });

  it('of more datagrams than there is room for push out the oldest, and memory stays as it is', () => {
    const bed = new Bed();
    const many = Array.from({ length: 10 * DATAGRAMS }, (_, n) => fragmentsOf(datagram(n + 1, 200), 104));
    const size = bed.batch.arena.length;
    for (const [first] of many) {
      bed.clock.nowUs += 1;
      expect(bed.send([first])).toEqual([]);
    }
    expect(bed.batch.arena.length).toBe(size);
    // The second fragment of the oldest begins a datagram anew, that of the latest ends its own.
    expect(bed.send([many[0][1]])).toEqual([]);
    expect(bed.send([many[10 * DATAGRAMS - 1][1]])).toHaveLength(1);
  });

  it('of as many datagrams as one batch can hold become whole in it', () => {
    const bed = new Bed();
    const pairs = Array.from({ length: BATCH / 2 }, (_, n) => fragmentsOf(datagram(n + 1, 200), 104));
    for (let round = 0; round < 5; round++) expect(bed.send(pairs.flat())).toHaveLength(BATCH / 2);
    expect(bed.count(common.dropFragment)).toBe(0);
  });
});
