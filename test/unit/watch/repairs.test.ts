import { describe, expect, it } from 'vitest';
import { MOST_REPAIRS, Repairs } from '../../../src/watch/repairs.js';

describe('repairs of one thing', () => {
  it('are bounded, then rest, then begin again', () => {
    const repairs = new Repairs();
    for (let n = 0; n < MOST_REPAIRS; n++) expect(repairs.verdict('rule', n * 1000)).toBe('repair');
    expect(repairs.verdict('rule', 6000)).toBe('gives-way');
    expect(repairs.verdict('rule', 7000)).toBe('rests');
    expect(repairs.verdict('rule', 305_000)).toBe('rests');
    expect(repairs.verdict('rule', 307_000)).toBe('repair');
  });

  it('that failed are not counted: nobody fights', () => {
    const repairs = new Repairs();
    for (let n = 0; n < 30; n++) {
      expect(repairs.verdict('route', n * 1000)).toBe('repair');
      repairs.failed('route');
    }
  });

  it('go on for ever where they are rare, and do not count for another thing', () => {
    const repairs = new Repairs();
    for (let n = 0; n < 100; n++) expect(repairs.verdict('rule', n * 13_000)).toBe('repair');
    for (let n = 0; n < 10; n++) expect(repairs.verdict(`other ${n}`, 1000)).toBe('repair');
  });
});
