/**
 * The options of `firstack load`: reads and checks them, reports all problems at once, and writes them as arguments
 * for another process.
 */
import { FirstackError } from '../errors.js';
import { MODES, type Mode } from './attempt.js';
import {
  ARRIVALS,
  type Arrivals,
  durationS,
  expectedArrivals,
  parseDuration,
  parseRamp,
  parseRate,
  type Stage,
} from './profile.js';

/** The options as they are on the command line. */
export interface LoadOptions {
  rate?: string;
  duration?: string;
  ramp?: string;
  arrivals?: string;
  seed?: string;
  mode?: string;
  sha256?: string[];
  verify?: boolean;
  servedByHeader?: string;
  maxOpen?: string;
  timeout?: string;
  json?: boolean;
  progress?: boolean;
  svg?: string;
}

export interface Settings {
  url: URL;
  stages: Stage[];
  arrivals: Arrivals;
  seed: number;
  mode: Mode;
  sha256: string[];
  /** Uses the hash of the first body, which is fetched before the run, as the right one. */
  verify: boolean;
  servedByHeader: string;
  maxOpen: number;
  timeoutMs: number;
}

export const DEFAULTS = {
  rate: '50',
  duration: '10s',
  arrivals: 'uniform',
  mode: 'http',
  servedByHeader: 'x-served-by',
  maxOpen: '1000',
  timeout: '10s',
} as const;

/** The limit exists because columns of numbers are kept for every arrival. */
const MOST_ARRIVALS = 2_000_000;
const MOST_SEED = 2 ** 31 - 1;
const MOST_OPEN = 60_000;
/** The longest time that a timer can hold. */
const MOST_TIMEOUT_S = 3600;

/** @throws FirstackError FSA_USAGE with all problems */
export function readSettings(url: string | undefined, o: LoadOptions): Settings {
  const problems: string[] = [];
  const fail = (problem: string): undefined => {
    problems.push(problem);
  };
  const whole = (name: string, text: string, least: number, most: number): number => {
    const n = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(n >= least && n <= most)) fail(`${name} ${text}: a whole number from ${least} to ${most}`);
    return n;
  };
  const oneOf = <T extends string>(name: string, text: string, known: readonly T[]): T => {
    if (!known.includes(text as T)) fail(`${name} ${text}: one of ${known.join(', ')}`);
    return text as T;
  };
  const timeoutS = parseDuration(o.timeout ?? DEFAULTS.timeout);
  if (!timeoutS || timeoutS > MOST_TIMEOUT_S) fail(`--timeout ${o.timeout}: as in 10s, up to an hour`);
  const mode = oneOf('--mode', o.mode ?? DEFAULTS.mode, MODES);
  const sha256 = (o.sha256 ?? []).map((h) => h.toLowerCase());
  for (const hash of sha256)
    if (!/^[0-9a-f]{64}$/.test(hash)) fail(`--sha256 ${hash}: 64 hexadecimal digits`);
  if (o.verify && sha256.length > 0) fail('--verify and --sha256: one of them says which body is right');
  if (mode === 'connect' && (o.verify || sha256.length > 0))
    fail('--mode connect: there is no body to check');
  const servedByHeader = (o.servedByHeader ?? DEFAULTS.servedByHeader).toLowerCase();
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(servedByHeader))
    fail(`--served-by-header ${servedByHeader}: no header`);
  const settings = {
    url: readUrl(url, fail) as URL,
    stages: readStages(o, fail) ?? [],
    arrivals: oneOf('--arrivals', o.arrivals ?? DEFAULTS.arrivals, ARRIVALS),
    seed:
      o.seed === undefined ? Math.floor(Math.random() * MOST_SEED) : whole('--seed', o.seed, 0, MOST_SEED),
    mode,
    sha256,
    verify: o.verify ?? false,
    servedByHeader,
    maxOpen: whole('--max-open', o.maxOpen ?? DEFAULTS.maxOpen, 1, MOST_OPEN),
    timeoutMs: (timeoutS ?? 0) * 1000,
  };
  if (problems.length > 0)
    throw FirstackError.ofProblems(problems.map((message) => ({ code: 'FSA_USAGE', message })));
  return settings;
}

type Fail = (problem: string) => undefined;

function readUrl(text: string | undefined, fail: Fail): URL | undefined {
  if (text === undefined) return fail('load: which URL? http://HOST[:PORT]/PATH, or --lab NAME');
  if (!URL.canParse(text)) return fail(`${text}: a URL is http://HOST[:PORT]/PATH`);
  const url = new URL(text);
  if (url.protocol !== 'http:') return fail(`${text}: only http:// is spoken`);
  if (url.username !== '' || url.password !== '') return fail(`${url.host}: no user or password in the URL`);
  return url;
}

function readStages(o: LoadOptions, fail: Fail): Stage[] | undefined {
  if (o.ramp !== undefined && (o.rate ?? o.duration) !== undefined) {
    return fail('--ramp says the rate and the duration: leave --rate and --duration out');
  }
  const stages = o.ramp === undefined ? constantRate(o, fail) : parseRamp(o.ramp);
  if (stages === undefined)
    return o.ramp === undefined ? undefined : fail(`--ramp ${o.ramp}: FROM:TO:DURATION, as in 50:500:30s`);
  const arrivals = expectedArrivals(stages);
  if (arrivals < 1) return fail('the profile has less than one arrival');
  if (arrivals > MOST_ARRIVALS) {
    return fail(`${Math.round(arrivals)} arrivals in ${durationS(stages)} s: at most ${MOST_ARRIVALS} a run`);
  }
  return stages;
}

function constantRate(o: LoadOptions, fail: Fail): Stage[] | undefined {
  const rate = parseRate(o.rate ?? DEFAULTS.rate);
  const lastsS = parseDuration(o.duration ?? DEFAULTS.duration);
  if (rate === undefined) fail(`--rate ${o.rate}: arrivals a second`);
  if (!lastsS) fail(`--duration ${o.duration}: as in 500ms, 30s, 2m`);
  if (rate === undefined || !lastsS) return undefined;
  return [{ fromPerS: rate, toPerS: rate, lastsS }];
}

/** Writes the options as command-line arguments. */
export function argumentsOf(o: LoadOptions): string[] {
  const out: string[] = [];
  for (const [key, value] of Object.entries(o)) {
    const name = `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
    if (value === true) out.push(name);
    else if (typeof value === 'string') out.push(`${name}=${value}`);
    else if (Array.isArray(value)) out.push(...value.map((v) => `${name}=${v}`));
  }
  return out;
}
