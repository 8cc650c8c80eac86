import { describe, expect, it } from 'vitest';
import { exposition } from '../../../src/admin/metrics.js';
import { roleMetrics } from '../../../src/admin/role-metrics.js';
import { VERSION } from '../../../src/version.js';

describe('metrics of a role', () => {
  it('tell its build, and what it sees of its registry', () => {
    const views = { service: { count: 1, hash: 'aaaaaaaa' }, replica: { count: 3, hash: 'bbbbbbbb' } };
    const text = exposition(roleMetrics({ kind: 'redis', connected: false, viewAgeMs: 1234.4 }, views));
    expect(text.split('\n').filter((l) => l !== '' && !l.startsWith('#'))).toEqual([
      `firstack_build_info{version="${VERSION}",node="${process.version}"} 1`,
      'firstack_registry_connected{registry="redis"} 0',
      'firstack_registry_view_age_seconds 1.234',
      'firstack_registry_view{kind="service",hash="aaaaaaaa"} 1',
      'firstack_registry_view{kind="replica",hash="bbbbbbbb"} 3',
    ]);
  });

  it('leave out a family without samples', () => {
    expect(exposition(roleMetrics({ kind: 'file', connected: true, viewAgeMs: 0 }, {}))).not.toContain(
      'view{',
    );
  });
});
