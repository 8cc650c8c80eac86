import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import type { FirstackError } from '../../../src/errors.js';
import { argumentsOf, type LoadOptions, readSettings } from '../../../src/load/options.js';

const URL_OF = 'http://192.0.2.1:8080/a?b=c';

function problemsOf(url: string | undefined, options: LoadOptions): string[] {
  try {
    readSettings(url, options);
  } catch (error) {
    expect((error as FirstackError).exitCode).toBe(2);
    return (error as FirstackError).problems.map((p) => p.message);
  }
  return [];
}

describe('options of load', () => {
  it('have defaults', () => {
    const s = readSettings(URL_OF, { seed: '5' });
    expect({ ...s, url: s.url.href }).toEqual({
      url: URL_OF,
      stages: [{ fromPerS: 50, toPerS: 50, lastsS: 10 }],
      arrivals: 'uniform',
      seed: 5,
      mode: 'http',
      sha256: [],
      verify: false,
      servedByHeader: 'x-served-by',
      maxOpen: 1000,
      timeoutMs: 10_000,
    });
  });

  it('are all refused in one error, each with its reason', () => {
    const options = {
      rate: 'fast',
      arrivals: 'bursty',
      mode: 'udp',
      maxOpen: '0',
      timeout: '0s',
      seed: '-1',
      sha256: ['abc'],
      servedByHeader: 'a b',
    };
    expect(problemsOf('https://example.test/', options)).toHaveLength(9);
  });

  it.each<[string | undefined, LoadOptions, RegExp]>([
    [undefined, {}, /which URL/],
    ['example', {}, /a URL is/],
    ['http://me:secret@example.test/', {}, /no user or password/],
    [URL_OF, { rate: '5', ramp: '1:2:3s' }, /leave --rate/],
    [URL_OF, { ramp: '1:2' }, /FROM:TO:DURATION/],
    [URL_OF, { rate: '0' }, /less than one arrival/],
    [URL_OF, { rate: '100000', duration: '1m' }, /at most 2000000/],
    [URL_OF, { verify: true, sha256: ['0'.repeat(64)] }, /one of them/],
    [URL_OF, { mode: 'connect', verify: true }, /no body/],
  ])('%s %j: one problem', (url, options, text) => {
    const problems = problemsOf(url, options);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(text);
  });

  it('are the same after they are written as arguments and read again', () => {
    const options: LoadOptions = {
      ramp: '1:2:3s',
      seed: '9',
      sha256: ['0'.repeat(64), '1'.repeat(64)],
      servedByHeader: 'x-who',
      maxOpen: '7',
      json: true,
      svg: 'a b.svg',
    };
    const command = new Command()
      .exitOverride()
      .option('--sha256 <hex>', '', (h: string, more: string[] = []) => [...more, h])
      .option('--ramp <r>')
      .option('--seed <n>')
      .option('--served-by-header <h>')
      .option('--max-open <n>')
      .option('--svg <file>')
      .option('--json');
    command.parse(argumentsOf(options), { from: 'user' });
    expect(command.opts()).toEqual(options);
    expect(argumentsOf({ json: false, rate: undefined })).toEqual([]);
  });
});
