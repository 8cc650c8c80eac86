import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../../src/device/clock.js';
import { MOST_RACED } from '../../../src/proximity/candidates.js';
import { RaceWriter } from '../../../src/race/record.js';
import { ALONE, COMPARED, HEDGED, RACED, ringBytes } from '../../../src/race/record-layout.js';
import { type RaceRecord, readRaces } from '../../../src/race/record-read.js';

const NAMES = {
  candidate: (_service: number, slot: number): string => (slot === 0 ? 'origin' : `r${slot}`),
  machine: (number: number): string => (number === 0 ? 'origin' : `r${number}`),
  service: (n: number) =>
    n === 5 ? { name: 'web', configuration: 'B', release: 'synchronized' as const } : undefined,
  race: 'origin',
  viewAgeMs: 12,
};
const CLIENT = Int32Array.of(0, 0, 0xffff, 0x0a010007, 99);

/** A ring, and a writer whose clock the test sets with each note. */
function ring(races = 4) {
  const words = new Float64Array(ringBytes(races) / 8);
  const clock = new ManualClock();
  const pen = new RaceWriter(words, clock);
  const at = (us: number): RaceWriter => {
    clock.nowUs = us;
    return pen;
  };
  return {
    at,
    begin: (us: number, port: number, service: number, live: number): number =>
      at(us).begin(CLIENT, port, service, live),
    read: (count = 100): RaceRecord[] => readRaces(words, count, NAMES),
  };
}

describe('a round trip', () => {
  it('counts from when that machine was asked, once', () => {
    const { at, begin } = ring();
    const n = begin(1_000_000, 40_000, 5, 0b10);
    at(1_000_000).asked(n, 0b10, ALONE);
    at(1_030_000).asked(n, 0b111, HEDGED);
    expect(at(1_050_000).roundTripUs(n, 1)).toBe(50_000);
    expect(at(1_050_000.75).roundTripUs(n, 2)).toBe(20_000);
    at(1_050_000).won(n, 2, 2);
    expect(at(1_060_000).roundTripUs(n, 2)).toBe(-1);
    expect(at(1_060_000).roundTripUs(n, MOST_RACED)).toBe(-1);
  });

  // In an earlier version, comparing and repeating had the same number, and nothing was learned from races that
  // compare.
  it.each([
    ['all at once', RACED],
    ['one alone', ALONE],
    ['one, then the others', HEDGED],
    ['those that are too near to be told apart', COMPARED],
  ])('is measured for candidates that were asked %s, until the SYN was retransmitted', (_, manner) => {
    const { at, begin, read } = ring();
    const n = begin(1_000_000, 40_000, 5, 0b110);
    at(1_000_000).asked(n, 0b110, manner);
    expect(at(1_030_000).roundTripUs(n, 1)).toBe(30_000);
    at(1_030_000).won(n, 1, 1);
    const { rule } = read()[0];
    at(1_040_000).repeated(n);
    expect(at(1_050_000).roundTripUs(n, 2)).toBe(-1);
    // The rule of the record is that of the race as it was asked; a repetition has its own rule.
    expect(read()[0].rule === rule).toBe(manner === RACED);
  });

  it('is not measured after a retransmission of the SYN, for any candidate (Karn)', () => {
    const { at, begin } = ring();
    const n = begin(1_000_000, 40_000, 5, 0b10);
    at(2_000_000).repeated(n);
    expect(at(2_010_000).roundTripUs(n, 1)).toBe(-1);
    at(2_010_000).asked(n, 0b111, HEDGED);
    expect(at(2_010_500).roundTripUs(n, 2)).toBe(-1);
  });
});

describe('race records', () => {
  it('contain when each candidate answered, the winner, and the margin', () => {
    const { at, begin, read } = ring();
    const n = begin(1_000_000, 40_000, 5, 0b1111);
    at(1_004_000).won(n, 2, 2);
    at(1_009_500).reset(n, 0);
    at(1_005_000).refused(n, 3);
    const [record] = read();
    expect(record).toEqual({
      v: 1,
      conn: 0,
      configuration: 'B',
      race: 'origin',
      release: 'synchronized',
      client: '10.1.0.7:40000',
      service: 'web',
      candidates: [
        { id: 'r2', sentUs: 0, replyUs: 4000, verdict: 'won', reason: 'its acknowledgement came first' },
        { id: 'r3', sentUs: 0, replyUs: 5000, verdict: 'refused', reason: 'the replica refused the SYN' },
        {
          id: 'origin',
          sentUs: 0,
          replyUs: 9500,
          verdict: 'reset',
          reason: 'another acknowledgement came first: reset at once',
        },
        { id: 'r1', sentUs: 0, replyUs: null, verdict: 'silent', reason: 'no acknowledgement so far' },
      ],
      winner: 'r2',
      rule: 'the first acknowledgement wins',
      marginUs: 5500,
      jitterUs: null,
      viewAgeMs: 12,
    });
  });

  it('are undecided until a candidate answers, and keep the first answer of each', () => {
    const { at, begin, read } = ring();
    const n = begin(0, 1, 5, 1);
    expect(read()[0]).toMatchObject({
      winner: null,
      marginUs: null,
      rule: 'undecided: no acknowledgement yet',
    });
    at(70).reset(n, 1);
    at(90).reset(n, 1);
    expect(read()[0].candidates[0]).toMatchObject({ id: 'r1', replyUs: 70 });
  });

  it('that were overwritten or never made are not changed', () => {
    const { at, begin, read } = ring(2);
    const first = begin(0, 1, 5, 1);
    begin(10, 2, 5, 1);
    begin(20, 3, 5, 1);
    at(99).won(first, 0, 0);
    at(99).won(-1, 0, 0);
    expect(read().map((r) => [r.conn, r.client, r.winner])).toEqual([
      [1, '10.1.0.7:2', null],
      [2, '10.1.0.7:3', null],
    ]);
    expect(read(1).map((r) => r.conn)).toEqual([2]);
  });

  it('leave out candidates beyond those that a record can name', () => {
    const { at, begin, read } = ring();
    const n = begin(0, 1, 6, 1);
    at(50).reset(n, MOST_RACED);
    expect(read()[0].candidates.map((c) => c.id)).toEqual(['origin']);
    // A service that has left the registry has no name any more.
    expect(read()[0]).toMatchObject({ service: '', configuration: '', release: null });
  });

  it('are cleared when their place in the ring is used again', () => {
    const { at, begin, read } = ring(1);
    at(5).won(begin(0, 1, 5, 3), 1, 1);
    begin(100, 2, 5, 3);
    expect(read()[0]).toMatchObject({ winner: null, candidates: [{ replyUs: null }, { replyUs: null }] });
  });
});
