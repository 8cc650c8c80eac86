/** The judge over simulated traffic, with a clock that the test sets. Requests fail three seconds after they are sent. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EvidenceWriter, evidence, evidenceBytes, rowOf } from '../../../../gateway/race/evidence.js';
import { ServiceJudge, type Verdict } from '../../../../gateway/race/service-judge.js';
import type { CandidateNumber } from '../../../../src/flow/numbers.js';
import { parse } from '../../../../src/wire/address.js';
import { candidateNumber, serviceNumber } from '../../../support/numbers.js';

const S = serviceNumber(0);
const [ORIGIN, R1, R2, R3] = [0, 1, 2, 3].map(candidateNumber);
const FOUR = [ORIGIN, R1, R2, R3];
const STEP_MS = 100;
const STANDS_MS = 3000;
const word = (text: string): number => parse(text)![3];
/** Two clients of different groups. */
const [CLIENT, OTHER] = [word('10.1.0.7'), word('10.1.1.7')];

/** How a machine treats a request: the time to its first byte in ms, or never. */
type Answers = number | 'never';

class World {
  readonly table = new Float64Array(evidenceBytes(1) / 8);
  readonly writer = new EvidenceWriter(this.table);
  readonly row = (c: CandidateNumber) => this.table.subarray(rowOf(S, c), rowOf(S, c) + evidence.stride);
  readonly judge = new ServiceJudge({ trialMs: 30_000, mostTrialMs: 300_000 }, this.row);
  nowMs = 1_000_000;
  readonly said: (Verdict & { atMs: number })[] = [];
  #due: { atMs: number; happens: () => void }[] = [];

  constructor(readonly candidates: readonly CandidateNumber[] = FOUR) {}

  request(c: CandidateNumber, answers: Answers, client = CLIENT): void {
    this.writer.add(S, c, evidence.requested);
    this.#due.push({
      atMs: this.nowMs + (answers === 'never' ? STANDS_MS : answers),
      happens: () =>
        answers === 'never'
          ? this.writer.failed(S, c, client, evidence.noFirstByte)
          : this.writer.firstByte(S, c, client, answers * 1000),
    });
  }

  /** @param traffic called ten times a second */
  run(ms: number, traffic: () => void = () => {}): void {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs += STEP_MS;
      traffic();
      for (const d of this.#due.filter((x) => x.atMs <= this.nowMs)) d.happens();
      this.#due = this.#due.filter((x) => x.atMs > this.nowMs);
      if (this.nowMs % 500 === 0) this.look();
    }
  }
  /** One request to each machine. */
  each(how: (c: CandidateNumber) => Answers): void {
    for (const c of this.candidates) this.request(c, how(c));
  }
  look(): void {
    for (const v of this.judge.look(this.candidates, this.nowMs)) this.said.push({ ...v, atMs: this.nowMs });
  }
  isEjected(c: CandidateNumber): boolean {
    return this.judge.ejections.get(c) !== undefined;
  }
  /** Learned races: the nearest machine that is raced, but a suspect in three of four. */
  learned(
    perStep: number,
    nearest: CandidateNumber,
    next: CandidateNumber,
    how: Answers,
    client = CLIENT,
  ): void {
    for (let k = 0; k < perStep; k++) {
      const avoids = this.judge.suspects.includes(nearest) && this.#n++ % 4 === 0;
      if (this.isEjected(nearest) || avoids) this.request(next, 40, client);
      else this.request(nearest, how, client);
    }
  }
  #n = 0;
  ejections(): Verdict[] {
    return this.said.filter((v) => v.what === 'fails' || v.what === 'slow');
  }
}

describe('a machine that acknowledges and does not serve', () => {
  it.each([2, 5, 20])(
    'is ejected within 5 s at %i0 connections a second, though it carried everything',
    (perStep) => {
      const w = new World();
      w.run(30_000, () => w.learned(perStep, R2, R1, 20));
      expect(w.said).toEqual([]);
      const brokenMs = w.nowMs;
      w.run(10_000, () => w.learned(perStep, R2, R1, 'never'));
      expect(w.ejections()).toMatchObject([
        { what: 'fails', candidate: R2, failing: { others: { bad: 0 } } },
      ]);
      expect(w.said[0].atMs - brokenMs).toBeLessThanOrEqual(5000);
    },
  );

  it('is ejected when its failures are rare in time, but clearly more than those of the others', () => {
    const w = new World();
    let n = 0;
    w.run(40_000, () => {
      if (n++ % 10 !== 0) return;
      w.request(R1, 20);
      w.request(R2, n % 20 === 1 ? 'never' : 20);
    });
    expect(w.ejections().map((v) => v.candidate)).toEqual([R2]);
  });

  it.each<[string, CandidateNumber, (w: World) => void]>([
    ['all machines fail alike', R2, (w) => w.each(() => 'never')],
    ['all machines fail alike, now and then', R2, (w) => w.each(() => (w.nowMs % 300 === 0 ? 'never' : 20))],
    ['it is the origin', ORIGIN, (w) => w.each((c) => (c === ORIGIN ? 'never' : 20))],
    [
      'it fails less than one in five',
      R2,
      (w) => w.each((c) => (c === R2 && w.nowMs % 1000 === 0 ? 'never' : 20)),
    ],
    ['there is no other to compare it with', R2, (w) => w.request(R2, 'never')],
  ])('is not ejected when %s', (_, __, traffic) => {
    const w = new World();
    w.run(30_000, () => traffic(w));
    expect(w.ejections()).toEqual([]);
  });

  it('is not ejected by fewer than five requests', () => {
    const w = new World();
    w.run(10_000, () => w.request(R1, 20));
    for (let n = 0; n < 4; n++) w.request(R2, 'never');
    w.run(5000, () => w.request(R1, 20));
    expect(w.ejections()).toEqual([]);
    for (let n = 0; n < 5; n++) w.request(R2, 'never');
    w.run(5000, () => w.request(R1, 20));
    expect(w.ejections().map((v) => v.candidate)).toEqual([R2]);
  });

  it("is never ejected beyond a third of a service's machines", () => {
    const w = new World();
    w.run(20_000, () => w.each((c) => (c === R2 || c === R3 ? 'never' : 20)));
    expect(w.ejections()).toHaveLength(1);
    const pair = new World([ORIGIN, R1]);
    pair.run(20_000, () => {
      pair.request(ORIGIN, 20);
      pair.request(R1, 'never');
    });
    expect(pair.ejections()).toEqual([]);
  });

  it('is a suspect as long as the others are not known, and the origin is none', () => {
    const w = new World();
    w.run(3500, () => w.request(R2, 'never'));
    expect(w.judge.suspects).toEqual([R2]);
    w.run(500, () => w.request(R1, 'never'));
    w.run(5000, () => w.request(R1, 'never'));
    // Both fail: there is nothing to be gained from avoiding one.
    expect(w.judge.suspects).not.toContain(R2);
    const o = new World();
    o.run(10_000, () => o.request(ORIGIN, 'never'));
    expect(o.judge.suspects).toEqual([]);
  });
});

describe('one client', () => {
  it('cannot get a machine ejected by letting its own requests stand', () => {
    const w = new World();
    w.run(60_000, () => {
      for (let k = 0; k < 5; k++) w.request(R2, 'never', OTHER);
      if (w.nowMs % 500 === 0) w.request(R2, 20);
      w.request(R1, 20);
    });
    expect(w.ejections()).toEqual([]);
  });

  it('cannot get a machine ejected by being slow', () => {
    const w = new World();
    w.run(60_000, () => {
      w.request(R2, 2000, OTHER);
      if (w.nowMs % 500 === 0) w.request(R2, 20);
      w.request(R1, 20);
    });
    expect(w.ejections()).toEqual([]);
  });

  it.each<[string, Answers]>([
    ['fails', 'never'],
    ['slow', 2000],
  ])('decides alone when no other uses the service: %s', (what, how) => {
    const w = new World();
    w.run(20_000, () => {
      w.request(R2, how);
      w.request(R1, 20);
    });
    expect(w.ejections()).toMatchObject([{ what, candidate: R2 }]);
  });

  it.each<[string, Answers]>([
    ['fails', 'never'],
    ['slow', 2000],
  ])('and another see the same: %s', (what, how) => {
    const w = new World();
    w.run(20_000, () => {
      for (let k = 0; k < 5; k++) w.request(R2, how, OTHER);
      if (w.nowMs % 500 === 0) w.request(R2, how);
      w.request(R1, 20);
    });
    expect(w.ejections()).toMatchObject([{ what, candidate: R2 }]);
  });
});

/** A world in which R2 was just ejected. */
function ejected(): World {
  const w = new World();
  w.run(10_000, () => {
    if (w.isEjected(R2)) return;
    w.request(R2, 'never');
    w.request(R1, 20);
  });
  expect(w.isEjected(R2)).toBe(true);
  // Requests that were sent before fail meanwhile, and count for nothing.
  w.run(5000);
  return w;
}
/** Gives the trial that is ordered, which then ends so. */
function give(w: World, outcome: 'good' | 'bad' | 'none', us = 20_000): void {
  w.writer.add(S, R2, evidence.trials);
  w.run(500);
  if (outcome === 'good') w.writer.trialGood(S, R2, us);
  if (outcome === 'bad') w.writer.add(S, R2, evidence.trialsBad);
  w.run(500);
}
/** Runs until the next trial is ordered. @returns seconds */
function untilTrial(w: World): number {
  const before = w.said.length;
  const from = w.nowMs;
  while (w.said.length === before) w.run(500);
  expect(w.said.at(-1)).toMatchObject({ what: 'trial', candidate: R2 });
  return (w.nowMs - from) / 1000;
}

describe('an ejected machine', () => {
  it('is tried after 30 s, then half as often after each failure, every 300 s at the least', () => {
    const w = ejected();
    const since = w.judge.ejections.get(R2)!.sinceMs;
    untilTrial(w);
    expect(w.nowMs - since).toBe(30_000);
    const waits = [1, 2, 3, 4, 5].map(() => {
      give(w, 'bad');
      return Math.round(untilTrial(w));
    });
    expect(waits).toEqual([60, 120, 240, 300, 300]);
  });

  it('waits for a connection, as long as there is none', () => {
    const w = ejected();
    untilTrial(w);
    const said = w.said.length;
    w.run(1_000_000);
    expect(w.said).toHaveLength(said);
  });

  it('is raced again after three good trials in a row', () => {
    const w = ejected();
    untilTrial(w);
    give(w, 'good');
    expect(untilTrial(w)).toBeLessThanOrEqual(1);
    give(w, 'bad');
    untilTrial(w);
    for (let n = 1; n <= 3; n++) {
      expect(w.isEjected(R2)).toBe(true);
      give(w, 'good');
      if (n < 3) untilTrial(w);
    }
    expect(w.isEjected(R2)).toBe(false);
    expect(w.said.at(-1)).toMatchObject({ what: 'back', candidate: R2 });
    w.run(20_000, () => w.each(() => 20));
    expect(w.ejections()).toHaveLength(1);
  });

  it('learns nothing from a trial on which the client sent no request', () => {
    const w = ejected();
    untilTrial(w);
    give(w, 'none');
    expect(untilTrial(w)).toBeLessThanOrEqual(30);
    give(w, 'good');
    expect(untilTrial(w)).toBeLessThanOrEqual(1);
  });

  it('is tried at twice its interval when it fails again soon after its return', () => {
    const w = ejected();
    untilTrial(w);
    for (let n = 1; n <= 3; n++) {
      give(w, 'good');
      if (n < 3) untilTrial(w);
    }
    w.run(10_000, () => {
      if (w.isEjected(R2)) return;
      w.request(R2, 'never');
      w.request(R1, 20);
    });
    expect(w.judge.ejections.get(R2)!.intervalMs).toBe(60_000);
  });

  it('that is slow must be quick in its trials', () => {
    const w = new World();
    w.run(10_000, () => {
      if (w.isEjected(R2)) return;
      w.request(R2, 2000);
      w.request(R1, 20);
    });
    expect(w.ejections()).toMatchObject([{ what: 'slow', candidate: R2 }]);
    untilTrial(w);
    give(w, 'good', 2_000_000);
    expect(w.judge.ejections.get(R2)).toMatchObject({ goodTrials: 0, intervalMs: 60_000 });
    untilTrial(w);
    give(w, 'good', 30_000);
    expect(w.judge.ejections.get(R2)).toMatchObject({ goodTrials: 1 });
  });

  it('has no history once its number means another machine', () => {
    const w = ejected();
    const row = w.row(R2);
    w.judge.forget(R2);
    expect(w.isEjected(R2)).toBe(false);
    // The data plane clears the counters a moment later.
    w.run(1000, () => w.request(R1, 20));
    w.writer.forgetCandidate(S, R2);
    w.run(20_000, () => w.each(() => 20));
    expect(w.ejections()).toHaveLength(1);
    expect(row[evidence.firstBytes]).toBeGreaterThan(0);
    expect(row[evidence.noFirstByte]).toBe(0);
  });
});

it('the origin and more than a third are never ejected, whatever machines do', () => {
  const answers = fc.constantFrom<Answers>('never', 20, 2000);
  const seconds = fc.array(fc.tuple(fc.nat(8), fc.integer({ min: 1, max: 20 }), answers), { maxLength: 20 });
  fc.assert(
    fc.property(seconds, fc.integer({ min: 1, max: 9 }), (list, size) => {
      const w = new World(Array.from({ length: size }, (_, n) => candidateNumber(n)));
      for (const [c, count, how] of list) {
        for (let k = 0; k < count; k++)
          w.request(candidateNumber(c % size), how, k % 2 === 0 ? CLIENT : OTHER);
        w.run(1000);
        const out = w.judge.ejections.all;
        expect(out).not.toContain(ORIGIN);
        expect(out.length).toBeLessThanOrEqual(size / 3);
      }
    }),
    { numRuns: 60 },
  );
});
