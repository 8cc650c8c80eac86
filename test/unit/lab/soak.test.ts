import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accountOf, type Blow, judge, type Unwell } from '../../../src/lab/bench/soak-account.js';
import { driftOf, plateaus, type Sample } from '../../../src/lab/bench/soak-samples.js';
import { KINDS, LEAD_S, RECOVERY_S, scheduleOf } from '../../../src/lab/bench/soak-schedule.js';

const REPLICAS = ['r1', 'r2', 'r3', 'r4', 'r5'];
const schedule = (seed: number, more = {}) =>
  scheduleOf({ replicas: REPLICAS, seconds: 1200, seed, everyS: 5, leastInService: 2, ...more });

describe('the schedule of a soak', () => {
  it('is the same for the same seed, and differs for another seed', () => {
    expect(schedule(7)).toEqual(schedule(7));
    expect(schedule(7)).not.toEqual(schedule(8));
  });

  it('leaves the least number of replicas in service, never takes out a replica twice, and ends in time', () => {
    const options = fc.record({
      seed: fc.nat(),
      seconds: fc.integer({ min: 20, max: 1500 }),
      everyS: fc.double({ min: 0.3, max: 20, noNaN: true }),
      leastInService: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(options, (o) => {
        const events = schedule(o.seed, o);
        const backS = (e: (typeof events)[number]) => e.atS + e.holdS + RECOVERY_S;
        events.forEach((e, n) => {
          const out = events.slice(0, n).filter((earlier) => backS(earlier) > e.atS);
          expect(out.map((x) => x.replica)).not.toContain(e.replica);
          expect(REPLICAS.length - out.length - 1).toBeGreaterThanOrEqual(o.leastInService);
          expect(e.atS).toBeGreaterThanOrEqual(Math.max(LEAD_S, events[n - 1]?.atS ?? 0));
          expect(e.holdS).toBeGreaterThan(0);
          expect(backS(e)).toBeLessThanOrEqual(o.seconds + 0.01);
        });
      }),
    );
  });

  it('has every kind, and every replica, in twenty minutes', () => {
    const events = schedule(1);
    expect(new Set(events.map((e) => e.kind))).toEqual(new Set(KINDS));
    expect(new Set(events.map((e) => e.replica))).toEqual(new Set(REPLICAS));
  });
});

const unwell = (more: Partial<Unwell> = {}): Unwell => ({
  service: 'web-c',
  configuration: 'C',
  path: '/blob/large',
  startedAt: 1000,
  connectedAt: 1010,
  endedAt: 1100,
  error: 'ECONNRESET',
  servedBy: 'r1',
  bodyBytes: 5,
  localPort: 40_000,
  winner: 'r1',
  ...more,
});
const blow = (more: Partial<Blow> = {}): Blow => ({
  machine: 'r1',
  what: 'web-killed',
  fromMs: 1050,
  toMs: 1055,
  ...more,
});
const kindOf = (c: Partial<Unwell>, b: Partial<Blow> = {}, pinned = true) =>
  judge(unwell(c), [blow(b)], pinned).kind;

describe('the verdict on a failed connection', () => {
  it('is "cut" when the web server that carried it was killed meanwhile, by header or by race record', () => {
    expect(kindOf({})).toBe('cut');
    expect(kindOf({ servedBy: '', bodyBytes: 0 })).toBe('cut');
    expect(kindOf({ servedBy: '', bodyBytes: 0, connectedAt: null })).toBe('cut');
    expect(judge(unwell({ servedBy: '' }), [blow()], true)).toMatchObject({
      by: 'web-killed',
      carrier: 'r1',
      why: "ECONNRESET: carried by r1 (the gateway's race record), web-killed 50 ms after it began, after 5 bytes",
    });
  });

  it.each([
    ['another machine carried it', { servedBy: 'r2' }, {}],
    ['the race record names another machine', { servedBy: '', winner: 'r2' }, {}],
    ['the machine that carried it is unknown', { servedBy: '', winner: null }, {}],
    ['it began after the kill', { startedAt: 1060 }, {}],
    ['it had ended before the kill', { endedAt: 1040 }, {}],
    ['it was never established', { connectedAt: null, error: 'ETIMEDOUT' }, {}],
    ['it was refused', { connectedAt: null, error: 'ECONNREFUSED' }, {}],
    ['it was stuck long before the kill', { endedAt: 11_000 }, { fromMs: 9000, toMs: 9001 }],
    ['the role was killed, and the flow was pinned', {}, { what: 'role-killed' }],
    [
      'the role was stopped before it began',
      { startedAt: 1060 },
      { what: 'role-stopped', fromMs: 1050, toMs: 1500 },
    ],
    [
      'the role was stopped, which in configuration A carries no connection',
      { configuration: 'A' },
      { what: 'role-stopped' },
    ],
  ] as const)('is a failure when %s', (_why, c, b) => {
    expect(kindOf(c, b)).toBe('failed');
  });

  it('is "cut" when the role that carried it was stopped, or killed while no flow was pinned', () => {
    expect(kindOf({}, { what: 'role-stopped' })).toBe('cut');
    expect(kindOf({}, { what: 'role-killed' }, false)).toBe('cut');
    expect(kindOf({ configuration: 'A' }, { what: 'role-killed' }, false)).toBe('failed');
  });

  it('is "mismatch" for a wrong hash, whatever else happened', () => {
    expect(kindOf({ error: 'hash-mismatch' })).toBe('mismatch');
  });

  it('adds up', () => {
    const all = [unwell(), unwell({ servedBy: 'r2' }), unwell({ error: 'hash-mismatch' }), unwell()];
    const { cut, failed, mismatches } = accountOf(all, [blow()], true);
    expect([cut.length, failed.length, mismatches.length]).toEqual([2, 1, 1]);
  });
});

describe('memory', () => {
  it('is compared by the medians of the first and the last quarter', () => {
    expect(driftOf([1, 2, 3])).toBeNull();
    expect(driftOf([10, 10, 99, 5, 5, 5, 11, 11])).toEqual({ first: 10, last: 11, ratio: 1.1 });
  });

  it('of restarted roles is the plateau of each process, a while after its start', () => {
    const at = (s: number, pid: number, rss: number): Sample => ({
      atMs: s * 1000,
      memory: { r1: { pid, rss, own: rss }, gateway: { pid: 1, rss: 7, own: 7 } },
      pinned: null,
      up: null,
    });
    const samples = [at(0, 5, 1), at(15, 5, 50), at(20, 5, 52), at(25, 6, 1), at(30, 7, 2), at(45, 7, 60)];
    expect(plateaus(samples, ['r1'], 'rss')).toEqual([51, 60]);
  });
});
