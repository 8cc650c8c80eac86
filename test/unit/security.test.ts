// The table of threats in deploy/security.md: each has tests, all of them held when it was made, and they are those of now.
import { describe, expect, it } from 'vitest';
import { heldIn, heldOf, pageNow, pageWith, testsNow, testsOf } from '../security/table.mjs';
import { THREATS } from '../security/threats.mjs';

const tests = testsNow();
const page = pageNow();
const AGAIN = 'made again by: FIRSTACK_REPORTS=DIR npm test; node test/security/table.mjs DIR';

describe('the table of threats', () => {
  it('is what threats.mjs says', () => {
    expect(pageWith(page, heldIn(page)), AGAIN).toBe(page);
  });

  it.each(THREATS.map((t, n) => [`${t.who}: ${t.does}`, n] as const))('%s', (_, n) => {
    for (const [file, title] of THREATS[n].tests)
      expect(
        testsOf({ ...THREATS[n], tests: [[file, title]] }, tests).length,
        `${file} ${title}`,
      ).toBeGreaterThan(0);
    const held = heldIn(page)[n];
    expect({ ...held, cases: held.cases >= held.tests }, AGAIN).toEqual({
      ...{ tests: testsOf(THREATS[n], tests).length, cases: true, failed: 0, untried: 0 },
    });
  });
});

describe('what held', () => {
  const threat = { who: 'w', does: 'd', defence: 'x', tests: [['unit/a']] as [string][] };
  const own = [
    { file: 'unit/a.test.ts', title: 'of %s is 1 (a+b)' },
    { file: 'unit/a.test.ts', title: 'plain' },
    { file: 'unit/b.test.ts', title: 'other' },
  ];
  const result = (title: string, passed = true, file = 'unit/a.test.ts') => ({ file, title, passed });

  it('is a test of which all cases passed', () => {
    const results = [
      result('of x is 1 (a+b)'),
      result('of y is 1 (a+b)'),
      result('plain'),
      result('of y is 1'),
    ];
    expect(heldOf(threat, own, results)).toEqual({ tests: 2, cases: 3, failed: 0, untried: 0 });
  });

  it('is no test of which one case failed, nor one that did not run', () => {
    const results = [
      result('of x is 1 (a+b)'),
      result('of y is 1 (a+b)', false),
      result('plain', true, 'unit/b.test.ts'),
    ];
    expect(heldOf(threat, own, results)).toEqual({ tests: 2, cases: 2, failed: 1, untried: 1 });
  });
});
