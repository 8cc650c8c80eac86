/**
 * Reads YAML files against a JSON schema (ajv), once, and returns a frozen object with defaults filled
 * in. All problems of a file are reported together, each with file, line and column, and an unknown
 * key with the nearest known one. Knows no role: each role brings its own schema (`gateway/config.ts` …).
 */
import { readFileSync } from 'node:fs';
import { Ajv, type ErrorObject } from 'ajv';
import { distance } from 'fastest-levenshtein';
import { type Document, isMap, isNode, LineCounter, parseDocument } from 'yaml';
import { type ErrorCode, FirstackError, type Problem } from './errors.js';
import { format, isSpecial, parse } from './wire/address.js';

export type Schema = Record<string, unknown>;

/** The place of a value in the file that it came from: `file:line:column`. */
export type Locate = (path: readonly (string | number)[]) => string;

export interface Parsed<T> {
  value: T;
  locate: Locate;
}

/**
 * @param overrides values that take precedence over the file's (flag > env > file > default)
 * @throws FirstackError FSA_CONFIG_* with all problems of the file
 */
export function readYaml<T>(
  file: string,
  schema: Schema,
  overrides: Record<string, unknown> = {},
): Parsed<T> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message;
    throw new FirstackError('FSA_CONFIG_UNREADABLE', `${file}: ${why}`);
  }
  return parseYaml<T>(file, text, schema, overrides);
}

export function parseYaml<T>(
  file: string,
  text: string,
  schema: Schema,
  overrides: Record<string, unknown> = {},
): Parsed<T> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    throw FirstackError.ofProblems(
      document.errors.map((e) => {
        const { line, col } = lines.linePos(e.pos[0]);
        return {
          code: 'FSA_CONFIG_SYNTAX',
          message: `${file}:${line}:${col}: ${e.message.split('\n')[0].replace(/:$/, '')}`,
        };
      }),
    );
  }
  const locate: Locate = (path) => position(file, document, lines, path);
  const value = merge(document.toJS() ?? {}, overrides);
  const problems = validate(value, schema, locate);
  if (problems.length > 0) throw FirstackError.ofProblems(problems);
  return { value: deepFreeze(value) as T, locate };
}

/**
 * Validates a part of a file, or a value from another source (environment, flags, records), and fills in defaults.
 * @param locate finds the place of a path inside `value`
 * @param named the keys that lead to `value`, for the messages
 */
export function validate(
  value: unknown,
  schema: Schema,
  locate: Locate,
  named: readonly string[] = [],
): Problem[] {
  const check = compile(schema);
  if (check(value)) return [];
  return (check.errors ?? []).map((e) => problem(e, locate, named));
}

/**
 * One for all schemas. That these obey the meta-schema is shown by a test: to compile it here takes a good part of a
 * role's start.
 */
const ajv = new Ajv({
  validateSchema: false,
  meta: false,
  allErrors: true,
  useDefaults: true,
  verbose: true,
  strict: true,
  allowUnionTypes: true,
});
addFormats(ajv);

/** The formats that schemas of this project name. */
export function addFormats(to: Ajv): void {
  to.addFormat('ipv4-cidr', isIpv4Cidr);
  to.addFormat('ipv4', isIpv4);
  to.addFormat('ipv6', isIpv6);
  to.addFormat('ip', (text) => isIpv4(text) || isIpv6(text));
  to.addFormat('service-ip', isServiceAddress);
  to.addFormat('ipv6-cidr', isIpv6Cidr);
  to.addFormat('cidr', (text) => isIpv4Cidr(text) || isIpv6Cidr(text));
}

const compiled = new WeakMap<Schema, ReturnType<Ajv['compile']>>();
function compile(schema: Schema): ReturnType<Ajv['compile']> {
  let check = compiled.get(schema);
  if (check === undefined) {
    check = ajv.compile(schema);
    compiled.set(schema, check);
  }
  return check;
}

/** What messages call a format whose name does not say it. */
const FORMATS: Record<string, string> = {
  ip: 'an IPv4 address, or an IPv6 address in the form of RFC 5952',
  'service-ip': 'an address that other hosts reach (no loopback, link-local or multicast address)',
  ipv6: 'an IPv6 address in the form of RFC 5952',
  cidr: 'ADDRESS/BITS, of IPv4, or of IPv6 in the form of RFC 5952',
};

function isIpv4(text: string): boolean {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((p) => /^(0|[1-9]\d{0,2})$/.test(p) && Number(p) <= 255);
}

function isServiceAddress(text: string): boolean {
  return (isIpv4(text) || isIpv6(text)) && !isSpecial(parse(text)!);
}

/** In the form of RFC 5952, and no address that holds an IPv4 address: an address has one text and one family. */
function isIpv6(text: string): boolean {
  const address = text.includes(':') ? parse(text) : undefined;
  return address !== undefined && (address[0] | address[1]) !== 0 && format(address) === text;
}

function isIpv6Cidr(text: string): boolean {
  const [address, prefix, more] = text.split('/');
  const bits = /^\d{1,3}$/.test(prefix ?? '') ? Number(prefix) : 129;
  return more === undefined && isIpv6(address) && bits <= 128;
}

function isIpv4Cidr(text: string): boolean {
  const [address, prefix, more] = text.split('/');
  return more === undefined && isIpv4(address) && /^\d{1,2}$/.test(prefix ?? '') && Number(prefix) <= 32;
}

function problem(e: ErrorObject, locate: Locate, named: readonly string[]): Problem {
  const path = e.instancePath
    .split('/')
    .slice(1)
    .map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~'));
  const full = [...named, ...path];
  const name = full.length === 0 ? 'the file' : full.join('.');
  const at = (code: ErrorCode, message: string, p: string[] = path): Problem => ({
    code,
    message: `${locate(p)}: ${message}`,
  });
  if (e.keyword === 'additionalProperties') {
    const key = String(e.params.additionalProperty);
    const known = Object.keys((e.parentSchema?.properties as object | undefined) ?? {});
    const near = nearest(key, known);
    const hint = near === undefined ? `known keys: ${known.join(', ')}` : `did you mean '${near}'?`;
    return at('FSA_CONFIG_UNKNOWN_KEY', `unknown key '${[...full, key].join('.')}' (${hint})`, [
      ...path,
      key,
    ]);
  }
  if (e.keyword === 'required') {
    return at('FSA_CONFIG_MISSING', `'${[...full, String(e.params.missingProperty)].join('.')}' is missing`);
  }
  if (e.keyword === 'type') {
    return at('FSA_CONFIG_TYPE', `'${name}' must be ${e.params.type}, not ${typeName(e.data)}`);
  }
  if (e.keyword === 'enum') {
    return at('FSA_CONFIG_VALUE', `'${name}' must be one of ${e.params.allowedValues.join(', ')}`);
  }
  if (e.keyword === 'format') {
    return at(
      'FSA_CONFIG_VALUE',
      `'${name}' must be ${FORMATS[e.params.format] ?? e.params.format}, not '${String(e.data)}'`,
    );
  }
  if (e.keyword === 'pattern') {
    return at('FSA_CONFIG_VALUE', `'${name}' must match ${e.params.pattern}, not '${String(e.data)}'`);
  }
  return at('FSA_CONFIG_INVALID', `'${name}' ${e.message ?? 'is invalid'}`);
}

function typeName(value: unknown): string {
  if (value === null) return 'empty';
  return Array.isArray(value) ? 'a list' : typeof value;
}

/** The known name nearest to a mistyped one, if it is near enough to be the intended one. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 2)) + 1;
  for (const k of known) {
    const d = distance(word.toLowerCase(), k.toLowerCase());
    if (d < least) {
      least = d;
      best = k;
    }
  }
  return best;
}

function position(
  file: string,
  document: Document,
  lines: LineCounter,
  path: readonly (string | number)[],
): string {
  // The key itself where the path ends in a map, else the nearest node that the file has.
  for (let depth = path.length; depth > 0; depth--) {
    const parent = depth === 1 ? document.contents : document.getIn(path.slice(0, depth - 1), true);
    if (isMap(parent)) {
      const pair = parent.items.find((item) => String(item.key) === String(path[depth - 1]));
      if (pair !== undefined && isNode(pair.key) && pair.key.range) return at(pair.key.range[0]);
    }
    const node = document.getIn(path.slice(0, depth), true);
    if (isNode(node) && node.range) return at(node.range[0]);
  }
  return at(0);
  function at(offset: number): string {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  }
}

function merge(base: unknown, over: Record<string, unknown>): unknown {
  if (typeof base !== 'object' || base === null || Array.isArray(base)) return base;
  const out: Record<string, unknown> = { ...(base as Record<string, unknown>) };
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value);
    out[key] = nested ? merge(out[key] ?? {}, value as Record<string, unknown>) : value;
  }
  return out;
}

function deepFreeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const v of Object.values(value)) deepFreeze(v);
  }
  return value;
}
