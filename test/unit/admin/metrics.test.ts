import { describe, expect, it } from 'vitest';
import { exposition } from '../../../src/admin/metrics.js';
import { roleMetrics } from '../../../src/admin/role-metrics.js';
import { VERSION } from '../../../src/version.js';

describe('metrics of a role', () => {
  it('tell its build, and what it sees of its registry', async () => {
    const views = { service: { count: 1, hash: 'aaaaaaaa' }, replica: { count: 3, hash: 'bbbbbbbb' } };
    const text = await exposition(
      roleMetrics({ kind: 'redis', connected: false, viewAgeMs: 1234.4, refused: {} }, views),
    );
    expect(text.split('\n').filter((l) => l !== '' && !l.startsWith('#'))).toEqual([
      `firstack_build_info{version="${VERSION}",node="${process.version}"} 1`,
      'firstack_registry_connected{registry="redis"} 0',
      'firstack_registry_view_age_seconds 1.234',
      'firstack_registry_refused 0',
      'firstack_registry_view{kind="service",hash="aaaaaaaa"} 1',
      'firstack_registry_view{kind="replica",hash="bbbbbbbb"} 3',
    ]);
  });

  it('leave out a family without samples', async () => {
    const text = await exposition(
      roleMetrics({ kind: 'file', connected: true, viewAgeMs: 0, refused: {} }, {}),
    );
    expect(text).not.toContain('view{');
  });

  it('escape what a label may hold', async () => {
    const samples = [{ labels: { machine: 'a"b\\c\nd' }, value: 1 }];
    const text = await exposition([{ name: 'x', help: 'X.', type: 'gauge', samples }]);
    expect(text).toContain('x{machine="a\\"b\\\\c\\nd"} 1');
  });

  it('have histograms whose buckets add up', async () => {
    const samples = [{ labels: { machine: 'r1' }, bounds: [0.1, 1], counts: [2, 3, 4], sum: 12.5 }];
    const text = await exposition([{ name: 'took_seconds', help: 'Time.', type: 'histogram', samples }]);
    expect(text.split('\n').filter((l) => l !== '')).toEqual([
      '# HELP took_seconds Time.',
      '# TYPE took_seconds histogram',
      'took_seconds_bucket{machine="r1",le="0.1"} 2',
      'took_seconds_bucket{machine="r1",le="1"} 5',
      'took_seconds_bucket{machine="r1",le="+Inf"} 9',
      'took_seconds_sum{machine="r1"} 12.5',
      'took_seconds_count{machine="r1"} 9',
    ]);
  });

  it('are one family where two programs have it', async () => {
    const of = (program: string) =>
      ({ name: 'x', help: 'X.', type: 'gauge', samples: [{ labels: { program }, value: 1 }] }) as const;
    const text = await exposition([of('a'), of('b')].map((m) => ({ ...m, samples: [...m.samples] })));
    expect(text.match(/# TYPE x gauge/g)).toHaveLength(1);
    expect(text.match(/^x\{/gm)).toHaveLength(2);
  });
});
