import { describe, expect, it } from 'vitest';
import { describeError, ERROR_CODES, EXIT, FirstackError } from '../../src/errors.js';

describe('errors', () => {
  it('have stable codes, each with an exit code that scripts may rely on', () => {
    const exits = Object.values(EXIT) as number[];
    expect(exits).toEqual([0, 1, 2, 69, 77, 78]);
    for (const code of ERROR_CODES) {
      expect(code).toMatch(/^FSA_[A-Z]+(_[A-Z]+)*$/);
      const { exitCode } = new FirstackError(code, '');
      expect(exits.slice(1), code).toContain(exitCode);
    }
    expect(new FirstackError('FSA_USAGE', '').exitCode).toBe(2);
    expect(new FirstackError('FSA_REGISTRY_UNAVAILABLE', '').exitCode).toBe(69);
    expect(new FirstackError('FSA_PERMISSION', '').exitCode).toBe(77);
    expect(new FirstackError('FSA_CONFIG_TYPE', '').exitCode).toBe(78);
  });

  it('of one problem have its code; several problems are in one error', () => {
    const one = new FirstackError('FSA_USAGE', 'no');
    expect(describeError(one)).toEqual(['FSA_USAGE: no']);
    const two = FirstackError.ofProblems([
      { code: 'FSA_CONFIG_TYPE', message: 'a' },
      { code: 'FSA_USAGE', message: 'b' },
    ]);
    expect([two.code, two.exitCode, two.message]).toEqual(['FSA_CONFIG_TYPE', 78, 'a; b']);
    expect(describeError(two)).toEqual(['FSA_CONFIG_TYPE: a', 'FSA_USAGE: b']);
  });

  it('that are not in the catalogue show their stack', () => {
    const [line] = describeError(new TypeError('oops'));
    expect(line).toMatch(/^FSA_INTERNAL: TypeError: oops\n\s+at /);
    expect(describeError('text')).toEqual(['FSA_INTERNAL: text']);
  });
});
