import { describe, expect, it } from 'vitest';
import { drawRace } from '../../../src/lab/drawing.js';
import type { RaceRecord } from '../../../src/race/record-read.js';

function record(candidates: RaceRecord['candidates']): RaceRecord {
  return {
    v: 1,
    conn: 1,
    configuration: 'A',
    race: 'origin',
    release: 'synchronized',
    client: '192.0.2.2:40000',
    service: 'web',
    candidates,
    winner: 'r2',
    rule: 'first acknowledgement',
    marginUs: 30_000,
    jitterUs: 0,
    viewAgeMs: 0,
  };
}

describe('drawRace', () => {
  it('draws when each candidate answered, the earliest first', () => {
    const lines = drawRace(
      record([
        { id: 'origin', sentUs: 0, replyUs: 190_200, verdict: 'reset', reason: '' },
        { id: 'r2', sentUs: 0, replyUs: 100_000, verdict: 'won', reason: '' },
        { id: 'r1', sentUs: 0, replyUs: null, verdict: 'silent', reason: 'busy' },
      ]),
    );
    const track = (text: string) => text.padEnd(61);
    expect(lines).toEqual([
      'ms        0         40        80        120       160       200       240',
      '          |---------|---------|---------|---------|---------|---------|',
      `r2        ${track(`${'.'.repeat(25)}W`)}   100.0 won`,
      `origin    ${track(`${'.'.repeat(48)}x`)}   190.2 reset`,
      `r1        ${track('(no answer)')}         silent`,
    ]);
  });

  it.each([0, 900, 61_000, 145_900, 1_800_000, 25_000_000])('stays within 100 columns at %d us', (us) => {
    const lines = drawRace(
      record([
        { id: 'origin', sentUs: 12, replyUs: us, verdict: 'reset', reason: 'a long reason, and more of it' },
        { id: 'r2', sentUs: 12, replyUs: us / 2, verdict: 'won', reason: '' },
      ]),
    );
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
  });
});
