import { describe, expect, it } from 'vitest';
import { nearest, parseYaml, readYaml, type Schema, validate } from '../../src/config.js';
import { FirstackError } from '../../src/errors.js';
import { Files, linesOf, problemsOf } from '../support/files.js';

const files = new Files();
const SCHEMA: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['instance', 'registry'],
  properties: {
    instance: { type: 'string', pattern: '^[a-z]+$' },
    registry: { type: 'string' },
    count: { type: 'integer', minimum: 1, default: 7 },
    kind: { enum: ['A', 'B', 'C'] },
    address: { type: 'string', format: 'ipv4' },
    prefixes: { type: 'array', items: { type: 'string', format: 'ipv4-cidr' } },
    admin: {
      type: 'object',
      additionalProperties: false,
      default: {},
      properties: { listen: { type: 'string', default: 'here' }, tls: { type: 'boolean' } },
    },
  },
};
const GOOD = 'instance: edge\nregistry: file:x\n';
const parse = (text: string, over = {}): Record<string, unknown> =>
  parseYaml<Record<string, unknown>>('f.yaml', text, SCHEMA, over).value;
const lines = (text: string, over = {}): string[] =>
  linesOf(
    problemsOf(() => parse(text, over)),
    'f.yaml',
  );

describe('a configuration file', () => {
  it('is filled in with defaults, and frozen at all levels', () => {
    const value = parse(GOOD) as { admin: { listen: string } };
    expect(value).toEqual({ instance: 'edge', registry: 'file:x', count: 7, admin: { listen: 'here' } });
    expect(Object.isFrozen(value)).toBe(true);
    expect(() => {
      value.admin.listen = 'there';
    }).toThrow(TypeError);
  });

  it('is overridden key by key, but not by undefined values', () => {
    const over = { count: 9, registry: undefined, admin: { listen: 'flag' } };
    expect(parse(`${GOOD}admin: {tls: true}\n`, over)).toMatchObject({
      count: 9,
      registry: 'file:x',
      admin: { listen: 'flag', tls: true },
    });
    expect(lines(GOOD, { kind: 'D' })).toEqual(["FSA_CONFIG_VALUE 1:1: 'kind' must be one of A, B, C"]);
  });

  it('is refused for an unknown key, with the nearest known one and its place', () => {
    expect(lines(`${GOOD}\nadmin:\n  lisen: x\n`)).toEqual([
      "FSA_CONFIG_UNKNOWN_KEY 5:3: unknown key 'admin.lisen' (did you mean 'listen'?)",
    ]);
    expect(lines(`${GOOD}zzzzzzzzz: 1\n`)).toEqual([
      "FSA_CONFIG_UNKNOWN_KEY 3:1: unknown key 'zzzzzzzzz' (known keys: instance, registry, count, kind, address, prefixes, admin)",
    ]);
  });

  it.each([
    ['count: x', "FSA_CONFIG_TYPE 3:1: 'count' must be integer, not string"],
    ['count: 1.5', "FSA_CONFIG_TYPE 3:1: 'count' must be integer, not number"],
    ['count:', "FSA_CONFIG_TYPE 3:1: 'count' must be integer, not empty"],
    ['prefixes: {}', "FSA_CONFIG_TYPE 3:1: 'prefixes' must be array, not object"],
    ['admin: [1]', "FSA_CONFIG_TYPE 3:1: 'admin' must be object, not a list"],
    ['count: 0', "FSA_CONFIG_INVALID 3:1: 'count' must be >= 1"],
    ['kind: D', "FSA_CONFIG_VALUE 3:1: 'kind' must be one of A, B, C"],
    ['address: 1.2.3.256', "FSA_CONFIG_VALUE 3:1: 'address' must be ipv4, not '1.2.3.256'"],
    ['address: 01.2.3.4', "FSA_CONFIG_VALUE 3:1: 'address' must be ipv4, not '01.2.3.4'"],
    [
      'prefixes:\n  - 10.0.0.0/8\n  - 10.0.0.0/33',
      "FSA_CONFIG_VALUE 5:5: 'prefixes.1' must be ipv4-cidr, not '10.0.0.0/33'",
    ],
    ['prefixes: [10.0.0.0]', "FSA_CONFIG_VALUE 3:12: 'prefixes.0' must be ipv4-cidr, not '10.0.0.0'"],
  ])('is refused for %j', (text, message) => {
    expect(lines(`${GOOD}${text}\n`)).toEqual([message]);
  });

  it('has all its problems reported at once, with file, line and column', () => {
    const problems = problemsOf(() => parse('instance: E1\ncuont: 3\nkind: Z\nprefixes: [x]\n'));
    expect(problems.map((p) => `${p.code} ${p.message.split(': ')[0]}`).sort()).toEqual([
      'FSA_CONFIG_MISSING f.yaml:1:1',
      'FSA_CONFIG_UNKNOWN_KEY f.yaml:2:1',
      'FSA_CONFIG_VALUE f.yaml:1:1',
      'FSA_CONFIG_VALUE f.yaml:3:1',
      'FSA_CONFIG_VALUE f.yaml:4:12',
    ]);
    expect(() => parse('')).toThrow(FirstackError);
  });

  it.each([
    ['a list', '[]'],
    ['a word', 'hello'],
  ])('must hold keys: %s', (_, text) => {
    expect(lines(text)[0]).toMatch(/^FSA_CONFIG_TYPE 1:1: 'the file' must be object/);
  });

  it('may be empty, and then lacks required keys', () => {
    expect(lines('# nothing\n').map((l) => l.split(' ')[0])).toEqual([
      'FSA_CONFIG_MISSING',
      'FSA_CONFIG_MISSING',
    ]);
  });

  it('is refused where it is not YAML, or has a key twice', () => {
    expect(lines('instance: [1\nregistry: x\n')[0]).toMatch(/^FSA_CONFIG_SYNTAX \d+:\d+: /);
    expect(lines(`${GOOD}instance: again\n`)[0]).toMatch(/^FSA_CONFIG_SYNTAX 3:1: /);
  });

  it('must exist', () => {
    const missing = files.path();
    expect(
      linesOf(
        problemsOf(() => readYaml(missing, SCHEMA)),
        missing,
      ),
    ).toEqual(['FSA_CONFIG_UNREADABLE  no such file']);
    expect(readYaml(files.write(GOOD), SCHEMA).value).toMatchObject({ instance: 'edge' });
  });

  it('gives the place of each of its values', () => {
    const { locate } = parseYaml('f.yaml', `${GOOD}prefixes:\n  - 10.0.0.0/8\n`, SCHEMA);
    expect(locate(['registry'])).toBe('f.yaml:2:1');
    expect(locate(['prefixes', 0])).toBe('f.yaml:4:5');
    expect(locate(['prefixes', 7])).toBe('f.yaml:3:1');
    expect(locate([])).toBe('f.yaml:1:1');
  });
});

describe('the nearest word', () => {
  it('is one that was probably intended, or none', () => {
    expect(nearest('prefixs', ['prefixes', 'registry'])).toBe('prefixes');
    expect(nearest('LAN', ['lan', 'wan'])).toBe('lan');
    expect(nearest('xyzzy', ['prefixes', 'registry'])).toBeUndefined();
    expect(nearest('x', [])).toBeUndefined();
  });
});

describe('validate', () => {
  it('accepts values that come from no file', () => {
    expect(validate({ instance: 'a', registry: 'b' }, SCHEMA, () => 'record')).toEqual([]);
    expect(validate(null, SCHEMA, () => 'record')).toMatchObject([{ code: 'FSA_CONFIG_TYPE' }]);
  });
});
