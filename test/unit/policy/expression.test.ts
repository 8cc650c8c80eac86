import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExpressionError, parseExpression } from '../../../src/policy/expression.js';

const KNOWN = ['load', 'distance', 'metrics.'];
const value = (text: string, scope: Record<string, number> = {}): number =>
  parseExpression(text, KNOWN).evaluate((name) => scope[name]);

describe('an expression', () => {
  it.each([
    ['1 + 2 * 3', 7],
    ['(1 + 2) * 3', 9],
    ['8 - 3 - 2', 3],
    ['-2 * -3', 6],
    ['7 % 4', 3],
    ['1 < 2 && 2 < 1 || !0', 1],
    ['if(1 >= 1, 4, 5)', 4],
    ['min(3, 1, 2) + max(1, 2)', 3],
    ['clamp(9, 0, 1)', 1],
    ['pow(2, 10) + sqrt(9) + abs(-1)', 1028],
    ['.5 + 1.25', 1.75],
  ])('%s is %d', (text, expected) => expect(value(text)).toBe(expected));

  it('knows its variables', () => {
    expect(value('0.5 * load + distance / 100', { load: 0.4, distance: 30 })).toBeCloseTo(0.5);
    expect(value('metrics.queue', { 'metrics.queue': 3 })).toBe(3);
    expect(value('metrics.none')).toBeNaN();
  });

  it('has aggregates over members where they are allowed', () => {
    const members = [0.2, 0.6].map((load) => (name: string) => (name === 'load' ? load : undefined));
    const of = (text: string): number =>
      parseExpression(text, KNOWN, true).evaluate(() => undefined, members);
    expect(of('sum(load)')).toBeCloseTo(0.8);
    expect(of('mean(load * 2)')).toBeCloseTo(0.8);
    expect(of('least(load) + most(load)')).toBeCloseTo(0.8);
    expect(of('count(load > 0.5)')).toBe(1);
    expect(() => parseExpression('sum(load)', KNOWN)).toThrow('is no function');
  });

  it.each([
    ['', 'column 1: the end is not expected here'],
    ['1 +', 'column 4: the end is not expected here'],
    ['speed', "'speed' is no variable"],
    ['load load', "column 6: 'load' is not expected here"],
    ['min()', "column 5: ')' is not expected here"],
    ['clamp(1, 2)', 'clamp takes 3 values, not 2'],
    ['load(1)', "'load' is no function"],
    ['constructor(1)', 'is no function'],
    ['1; 2', 'cannot be read from column 2 on'],
    ['"a"', 'cannot be read from column 1 on'],
    [`${'('.repeat(60)}1${')'.repeat(60)}`, 'nested too deeply'],
    ['1+'.repeat(600), 'longer than 1000 characters'],
  ])('%j is refused', (text, why) => {
    expect(() => value(text)).toThrow(ExpressionError);
    expect(() => value(text)).toThrow(why);
  });

  it('of any text is an error or a number, and never anything else', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        try {
          return typeof value(text) === 'number';
        } catch (error) {
          return error instanceof ExpressionError;
        }
      }),
      { numRuns: 2000 },
    );
  });
});
