import { describe, expect, it } from 'vitest';
import { describeRace, join, summarizeRace } from '../../../src/race/explain.js';
import type { RaceCandidate, RaceRecord } from '../../../src/race/record-read.js';

const candidate = (id: string, replyMs: number | null, more: Partial<RaceCandidate> = {}): RaceCandidate => ({
  id,
  sentUs: 0,
  replyUs: replyMs === null ? null : replyMs * 1000,
  verdict: replyMs === null ? 'silent' : 'reset',
  reason: 'because',
  ...more,
});
const race = (more: Partial<RaceRecord> = {}): RaceRecord => ({
  v: 1,
  conn: 4,
  configuration: 'A',
  race: 'origin',
  release: 'synchronized',
  client: '192.0.2.7:40000',
  service: 'web',
  candidates: [
    candidate('r1', 30, { verdict: 'won', reason: 'its acknowledgement came first' }),
    candidate('origin', 45.25),
    candidate('r2', null),
  ],
  winner: 'r1',
  rule: 'the first acknowledgement wins',
  marginUs: 15_250,
  jitterUs: null,
  viewAgeMs: 120,
  ...more,
});
const atOrigin = (...ids: [string, number][]): RaceRecord =>
  race({ candidates: ids.map(([id, ms]) => candidate(id, null, { sentUs: ms * 1000 })), winner: null });

describe('the records of gateway and origin', () => {
  it('agree', () => {
    const e = join(race(), atOrigin(['origin', 40], ['r1', 10], ['r2', 0]), []);
    expect(e.disagreements).toEqual([]);
    const text = describeRace(e);
    expect(text.find((l) => l.startsWith('r1'))).toContain('held 10.0 ms at the origin');
    expect(text.some((l) => l.includes('DISAGREEMENT'))).toBe(false);
  });

  it('that disagree are reported, each difference once', () => {
    const e = join(race(), atOrigin(['origin', 40], ['r3', 5]), []);
    expect(e.disagreements).toEqual([
      'r1 answered, but the origin sent it no copy',
      'the gateway expected r2, the origin left it out',
      'the origin sent r3 a copy, the gateway did not expect it',
    ]);
    expect(describeRace(e).filter((l) => l.startsWith('DISAGREEMENT: '))).toHaveLength(3);
  });

  it('are not compared where there is only one', () => {
    const path = { form: 'tunnel', state: 'narrow', mtuOut: 1400, mtuIn: 1380 };
    const e = join(race(), undefined, [{ id: 'r9', why: 'busy' }], path);
    expect(e.disagreements).toEqual([]);
    const text = describeRace(e);
    expect(text.join('\n')).not.toContain('held');
    expect(text).toContain(
      `path to ${race().winner} now: tunnel, narrow: packets of 1400 bytes arrive there, of 1380 here`,
    );
    expect(text.find((l) => l.startsWith('r9'))).toMatch(/left out: busy$/);
  });
});

describe('a race in words', () => {
  const words = (more: Partial<RaceRecord> = {}): string =>
    describeRace(join(race(more), undefined, [])).join('\n');

  it('names the winner, the rule, and the age of the view', () => {
    expect(words()).toContain('192.0.2.7:40000 → web: configuration A, race origin, synchronized release');
    expect(words()).toContain('decided: r1: the first acknowledgement wins');
    expect(words()).toContain("the registry's view was 120 ms old");
    expect(words({ winner: null, rule: 'undecided' })).toContain('decided: no winner: undecided');
  });

  it('names a release only where an origin releases', () => {
    expect(words({ race: 'gateway' })).toContain('race gateway\n');
    expect(words({ release: null })).toContain('race origin\n');
  });

  it('compares the margin with the measured jitter', () => {
    expect(words()).toContain('margin: 15.3 ms, jitter not measured');
    expect(words({ jitterUs: 2000 })).toMatch(/margin: 15\.3 ms, measured jitter 2\.0 ms$/m);
    expect(words({ jitterUs: 16_000 })).toMatch(/measured jitter 16\.0 ms: too close to call$/m);
    expect(words({ marginUs: null })).not.toContain('margin');
  });

  it('has a line for every candidate', () => {
    const text = words().split('\n');
    expect(text.find((l) => l.startsWith('origin'))).toMatch(/0\.0 +45\.3 +reset: because$/);
    expect(text.find((l) => l.startsWith('r2'))).toMatch(/never +silent: because$/);
  });

  it('has a line for a log', () => {
    expect(summarizeRace(race())).toBe('#4 192.0.2.7:40000 → web: r1 (r1 30.0, origin 45.3 ms)');
    expect(summarizeRace(race({ winner: null, candidates: [candidate('r2', null)] }))).toBe(
      '#4 192.0.2.7:40000 → web: undecided (no answer ms)',
    );
  });
});
