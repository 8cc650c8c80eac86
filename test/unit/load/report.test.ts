import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plot } from '../../../src/load/plot.js';
import { bar } from '../../../src/load/progress.js';
import { Recording } from '../../../src/load/recording.js';
import { percentiles, type Report, reportOf } from '../../../src/load/report.js';
import { table } from '../../../src/load/table.js';

const setting = {
  url: 'http://192.0.2.1/?a=<b>&c',
  mode: 'http',
  arrivals: 'uniform',
  seed: 1,
  stages: [{ fromPerS: 4, toPerS: 4, lastsS: 1.5 }],
  durationS: 1.5,
  verified: true,
} as const;

/** Six arrivals: two successes from a, one mismatch from b, one refused, one missed, one not sent. */
function recorded(): Report {
  const r = new Recording(Float64Array.of(100, 300, 600, 900, 1100, 1400));
  const sent = { startedAt: 5101, localPort: 40_000 };
  const at = { ...sent, connectedAt: Number.NaN, firstByteAt: Number.NaN, bodyBytes: 0 };
  const begunAt = 5000;
  for (const i of [0, 1, 2, 3]) r.begin(i, r.dueMs[i] + 1);
  const good = { ...sent, connectedAt: 5110, firstByteAt: 5120, bodyBytes: 10, error: '', servedBy: 'a' };
  r.end(0, { ...good, endedAt: 5130 }, begunAt);
  r.end(1, { ...good, connectedAt: 5310, firstByteAt: 5320, endedAt: 5350 }, begunAt);
  r.end(2, { ...good, connectedAt: 5610, endedAt: 5999, error: 'hash-mismatch', servedBy: 'b' }, begunAt);
  r.end(3, { ...at, endedAt: 5901, error: 'ECONNREFUSED', servedBy: '' }, begunAt);
  r.miss(4);
  return reportOf(setting, r);
}

describe('percentiles', () => {
  it('are values that occurred, by nearest rank', () => {
    const thousand = Array.from({ length: 1000 }, (_, i) => 1000 - i);
    expect(percentiles(thousand)).toEqual({ p50: 500, p90: 900, p99: 990, p99_9: 999, max: 1000 });
    expect(percentiles([7])).toEqual({ p50: 7, p90: 7, p99: 7, p99_9: 7, max: 7 });
    expect(percentiles([1, 2, 3, 4])).toMatchObject({ p50: 2, p90: 4 });
    expect(percentiles([Number.NaN])).toBeNull();
    expect(percentiles([3, Number.NaN, 1])).toMatchObject({ p50: 1, max: 3 });
  });

  it('have that share of the values at or below them, and the next smaller value has not', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 300 }), (values) => {
        const p = percentiles(values)!;
        for (const [share, value] of [
          [0.5, p.p50],
          [0.9, p.p90],
          [0.99, p.p99],
          [0.999, p.p99_9],
        ]) {
          const most = values.filter((v) => v <= value).length;
          const less = values.filter((v) => v < value).length;
          expect(most).toBeGreaterThanOrEqual(share * values.length - 1e-9);
          expect(less).toBeLessThan(share * values.length);
        }
      }),
    );
  });
});

describe('a report', () => {
  it('adds up', () => {
    const r = recorded();
    const { scheduled, started, ok, failed, missed, unsent, noResponse } = r;
    expect({ scheduled, started, ok, failed, missed, unsent, noResponse }).toEqual({
      scheduled: 6,
      started: 4,
      ok: 2,
      failed: 2,
      missed: 1,
      unsent: 1,
      noResponse: 1,
    });
    expect(r.errors).toEqual({ ECONNREFUSED: 1, 'hash-mismatch': 1 });
    expect(Object.entries(r.replicas).map(([name, of]) => [name, of.ok, of.failed])).toEqual([
      ['a', 2, 0],
      ['b', 0, 1],
    ]);
    expect(r.bodyBytes).toBe(30);
  });

  it('counts from the due time, and counts an arrival in the second in which it was due', () => {
    const r = recorded();
    expect(r.latencyMs.connect).toMatchObject({ p50: 10, max: 10 });
    expect(r.latencyMs.total).toMatchObject({ p50: 30, max: 50 });
    expect(r.replicas.b.totalMs).toBeNull();
    expect(r.generator).toMatchObject({ late: false, lagMs: { p50: 1, max: 1 } });
    expect(r.timeline).toEqual([
      { atS: 0, started: 4, ok: 2, failed: 2, missed: 0, p50Ms: 30, p99Ms: 50 },
      { atS: 1, started: 0, ok: 0, failed: 0, missed: 1, p50Ms: null, p99Ms: null },
    ]);
  });

  it('reports when the generator fell behind', () => {
    const r = new Recording(Float64Array.of(0));
    r.begin(0, 40);
    const report = reportOf(setting, r);
    expect(report.generator.late).toBe(true);
    expect(table(report).join('\n')).toMatch(/fell behind/);
    expect(table(recorded()).join('\n')).not.toMatch(/fell behind/);
  });

  it('is printed as a table', () => {
    const text = table(recorded()).join('\n');
    expect(text).toMatch(/6 arrivals: 4 sent, 1 missed, 1 not sent \(interrupted\)/);
    expect(text).toMatch(/4 sent: 2 ok, 2 failed \(ECONNREFUSED 1, hash-mismatch 1\)/);
    expect(text).toMatch(/^a +30\.0 .* 2 +0$/m);
    expect(text).toMatch(/^no response: 1$/m);
  });

  it('is a plot with a title, a line per quantity, and gaps in seconds without a success', () => {
    const svg = plot(recorded());
    expect(svg).toMatch(
      /<title>firstack load: GET http:\/\/192\.0\.2\.1\/\?a=&lt;b&gt;&amp;c, per second<\/title>/,
    );
    expect(svg.match(/<path /g)).toHaveLength(4);
    for (const name of ['due', 'ok', 'p50', 'p99', 'failed', 'missed'])
      expect(svg).toContain(`>${name}</text>`);
    expect(svg).not.toMatch(/NaN|undefined|null|Infinity/);
  });

  it('keeps only some of many names, so that a server that invents names fills no memory', () => {
    const n = 6000;
    const r = new Recording(new Float64Array(n));
    const moments = { startedAt: 1, connectedAt: 1, firstByteAt: 1, endedAt: 1 };
    const attempt = { ...moments, localPort: 40_000, bodyBytes: 0, error: '' };
    for (let i = 0; i < n; i++) {
      r.begin(i, 0);
      r.end(i, { ...attempt, servedBy: `name-${i}` }, 0);
    }
    const { replicas } = reportOf(setting, r);
    expect(Object.keys(replicas).length).toBeLessThanOrEqual(4097);
    expect(Object.values(replicas).reduce((sum, of) => sum + of.ok, 0)).toBe(n);
  });
});

it('a progress bar keeps its width', () => {
  const counts = { started: 5, ok: 3, failed: 1, missed: 2, open: 1 };
  expect(bar(counts, 100, 5, 10)).toBe(
    'load: [############............] 5.0/10.0 s    5/100 sent  open 1     failed 1     missed 2    ',
  );
});
