/** The judge among services: what it says, to whom, and what status and metrics tell. */
import { describe, expect, it } from 'vitest';
import { EvidenceWriter, evidence, evidenceBytes } from '../../../../gateway/race/evidence.js';
import { Fleet } from '../../../../gateway/race/fleet.js';
import { snapshotOf } from '../../../../gateway/race/fleet-orders.js';
import { Judge } from '../../../../gateway/race/judge.js';
import { learnedBytes } from '../../../../src/proximity/learned-table.js';
import type { RaceService, ReplicaRecord } from '../../../../src/race/records.js';
import { candidateNumber, serviceNumber } from '../../../support/numbers.js';
import { raceView } from '../../../support/race-view.js';

const service = (name: string, n: number): RaceService => ({
  ...{ name, address: `203.0.113.${n}`, ports: [79 + n], configuration: 'A' },
  ...{ replicable: true, raceWindowMs: 500 },
});
const replica = (id: string, n: number, state: ReplicaRecord['state'] = 'up'): ReplicaRecord => ({
  ...{ v: 1, id, address: `10.0.0.${n}`, services: [{ name: 'web' }, { name: 'mail' }], state, reason: '' },
  ...{ connections: 0, load: 0, clock: 'free' },
});
const SERVICES = [service('web', 1), service('mail', 2)];
const REPLICAS = [replica('r1', 1), replica('r2', 2)];
const [WEB, MAIL] = [0, 1].map(serviceNumber);
const [R1, R2] = [1, 2].map(candidateNumber);

class World {
  readonly fleet = new Fleet('learned');
  readonly table = new Float64Array(evidenceBytes(4) / 8);
  readonly learned = new Float64Array(learnedBytes(4) / 8);
  readonly writer = new EvidenceWriter(this.table);
  readonly said: unknown[][] = [];
  nowMs = 100_000;
  readonly judge = new Judge(
    this.fleet,
    { say: (...event: unknown[]) => void this.said.push(event) },
    { trialMs: 30_000, mostTrialMs: 300_000 },
    () => 0,
  );

  constructor() {
    this.view();
  }
  view(replicas = REPLICAS): void {
    this.fleet.update(raceView({ services: SERVICES, replicas }), undefined, this.judge);
  }
  /** One look, half a second later. */
  look(): boolean {
    this.nowMs += 500;
    const haveChanged = this.judge.look(this.table, this.learned, this.nowMs);
    if (haveChanged) this.view();
    return haveChanged;
  }
  /** R2 fails for the first service, R1 does not. */
  fails(count = 10): void {
    for (let k = 0; k < count; k++) {
      this.writer.failed(WEB, R2, 7, evidence.noFirstByte);
      this.writer.firstByte(WEB, R1, 7, 20_000);
    }
    this.look();
  }
  live(n = WEB): number[] {
    return snapshotOf(this.fleet, 1500, 1440)
      .endpoints.filter((e) => e.service === n && e.live)
      .map((e) => e.candidate)
      .sort();
  }
}

describe('an ejection', () => {
  it('is for one service, and said once, when the data plane acts by it', () => {
    const w = new World();
    w.fails();
    expect([w.live(WEB), w.live(MAIL)]).toEqual([
      [0, 1],
      [0, 1, 2],
    ]);
    expect(w.judge.ejectedIds).toEqual(['r2']);
    expect(w.said).toEqual([]);
    w.judge.performed();
    w.judge.performed();
    expect(w.said).toEqual([
      [
        'warn',
        'ejected',
        'web/r2',
        'r2 is not raced for web: 10 of 10 requests had no first byte (others: 0 of 10)',
        { own: { good: 0, bad: 10 }, others: { good: 10, bad: 0 }, clientGroups: 1, nextTrialMs: 30_000 },
      ],
    ]);
  });

  it('ends after three trials; the first is said, and an order is in the snapshot while the machine is up', () => {
    const w = new World();
    w.fails();
    w.nowMs += 29_500;
    expect(w.look()).toBe(true);
    const trials = () =>
      snapshotOf(w.fleet, 1500, 1440).endpoints.find((e) => e.service === WEB && e.candidate === R2)?.trials;
    expect(trials()).toBe(1);
    w.view([REPLICAS[0], replica('r2', 2, 'draining')]);
    expect(trials()).toBe(0);
    w.view();
    for (let n = 1; n <= 3; n++) {
      expect(trials()).toBe(n);
      w.writer.add(WEB, R2, evidence.trials);
      w.writer.trialGood(WEB, R2, 20_000);
      for (let k = 0; k < 3; k++) w.look();
    }
    w.judge.performed();
    expect(w.said.map(([, kind, subject]) => `${kind} ${subject}`)).toEqual([
      'ejected web/r2',
      'trial web/r2',
      'back web/r2',
    ]);
    expect(w.live()).toEqual([0, 1, 2]);
  });

  it('of a slow machine tells the times', () => {
    const w = new World();
    for (let k = 0; k < 10; k++) {
      w.writer.firstByte(WEB, R2, 7, 900_000);
      w.writer.firstByte(WEB, R1, 7, 20_000);
    }
    w.look();
    w.judge.performed();
    expect(w.said[0].slice(2, 4)).toEqual([
      'web/r2',
      'r2 is not raced for web: its first byte takes 900 ms (others: 20 ms)',
    ]);
  });

  it('is in status and metrics', () => {
    const w = new World();
    w.writer.asked(WEB, 0b111);
    w.writer.add(WEB, R2, evidence.answered);
    w.fails();
    const report = w.judge.report(w.table, w.nowMs);
    expect(report).toHaveLength(6);
    expect(report.find((m) => m.service === 'web' && m.id === 'r2')).toEqual({
      ...{ service: 'web', port: 80, id: 'r2', state: 'ejected', why: 'fails', goodTrials: 0 },
      ...{ since: '1970-01-01T00:00:00.000Z', nextTrialMs: 30_000, firstByteMs: null },
      firstByteSumMs: 0,
      ...{ asked: 1, answered: 1, refused: 0, won: 0, requested: 0, firstBytes: 0, noFirstByte: 10 },
      ...{ reset: 0, trials: 0, silent: 0 },
    });
    expect(report.find((m) => m.service === 'web' && m.id === 'r1')).toMatchObject({
      ...{ state: 'live', firstBytes: 10, firstByteMs: 20, silent: 1 },
    });
    w.writer.replied(WEB, R2, 30_000);
    const [total, gauge, replies, firstBytes] = w.judge.metrics(w.table);
    expect(total.samples).toContainEqual({
      labels: { service: 'web', machine: 'r2', what: 'noFirstByte' },
      value: 10,
    });
    // No client has used the other service yet.
    expect(gauge.samples).toEqual([
      { labels: { service: 'web', machine: 'r1' }, value: 0 },
      { labels: { service: 'web', machine: 'r2' }, value: 1 },
    ]);
    expect(replies.samples.find((x) => x.labels.machine === 'r2')).toMatchObject({
      ...{ counts: [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], sum: 0.03 },
    });
    expect(firstBytes.samples.find((x) => x.labels.machine === 'r1')).toMatchObject({
      ...{ counts: [0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0], sum: 0.2 },
    });
  });
});

it('a suspect is one for its service only', () => {
  const w = new World();
  for (let k = 0; k < 6; k++) w.writer.add(WEB, R2, evidence.requested);
  expect(w.look()).toBe(true);
  expect(snapshotOf(w.fleet, 1500, 1440).services.map((s) => s.suspects)).toEqual([1 << R2, 0]);
});

it('a number that means another machine has no history', () => {
  const w = new World();
  w.fails();
  expect(w.live()).toEqual([0, 1]);
  w.fleet.services[WEB].candidates.release('r2');
  w.view([REPLICAS[0], replica('r3', 3)]);
  w.look();
  expect(w.fleet.services[WEB].candidates.find('r3')).toBe(R2);
  w.writer.forgetCandidate(WEB, R2);
  w.view([REPLICAS[0], replica('r3', 3)]);
  expect(w.live()).toContain(R2);
  expect(w.judge.ejectedIds).toEqual([]);
});
