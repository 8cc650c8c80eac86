import { describe, expect, it } from 'vitest';
import { FirstackError } from '../../../src/errors.js';
import { ageMs } from '../../../src/operate/events.js';
import { differencesOf } from '../../../src/operate/status.js';

const seeing = (instance: string, views?: Record<string, { count: number; hash: string }>) => ({
  instance,
  registry: { views },
});

describe('differencesOf', () => {
  it('names the roles and what each sees, for each kind of which two see different records', () => {
    const a = { service: { count: 1, hash: 'a' }, replica: { count: 2, hash: 'b' } };
    expect(differencesOf([seeing('gw', a), seeing('or', a)])).toEqual([]);
    expect(
      differencesOf([seeing('gw', a), seeing('or', { ...a, replica: { count: 1, hash: 'c' } })]),
    ).toEqual(['views of replica records differ: gw b (2), or c (1)']);
  });

  it('does not compare kinds that a role does not follow, nor roles of an older version', () => {
    const views = { service: { count: 1, hash: 'a' }, replica: { count: 2, hash: 'b' } };
    const only = { service: { count: 1, hash: 'a' } };
    expect(differencesOf([seeing('gw', views), seeing('r1', only), seeing('old')])).toEqual([]);
    expect(differencesOf([])).toEqual([]);
  });
});

describe('ageMs', () => {
  it.each([
    ['90s', 90_000],
    ['15m', 900_000],
    ['1h', 3_600_000],
    ['2d', 172_800_000],
    ['0s', 0],
  ])('reads %s', (text, ms) => {
    expect(ageMs(text)).toBe(ms);
  });

  it.each(['', '1', 'h', '1w', '-1h', '1.5h', '1 h', '1h '])("refuses '%s'", (text) => {
    expect(() => ageMs(text)).toThrow(FirstackError);
    expect(() => ageMs(text)).toThrow(/--since/);
  });
});
