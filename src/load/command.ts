/** `firstack load URL`: runs the load, prints the result on stdout and the progress on stderr. */
import { createHash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { EXIT, FirstackError } from '../errors.js';
import type { Target } from './attempt.js';
import { generate } from './generate.js';
import { type LoadOptions, readSettings, type Settings } from './options.js';
import { plot } from './plot.js';
import { dueTimes, durationS } from './profile.js';
import { follow } from './progress.js';
import type { Recording } from './recording.js';
import { type Report, reportOf } from './report.js';
import { table } from './table.js';

/**
 * @returns 0 when every request that was sent succeeded, else 1
 * @throws FirstackError FSA_USAGE; FSA_EXPECTATION when the name cannot be resolved or the first body not fetched
 */
export async function load(url: string | undefined, options: LoadOptions): Promise<number> {
  const settings = readSettings(url, options);
  if (options.svg !== undefined) mustBeWritable(options.svg);
  const report = await run(settings, options.progress ?? process.stderr.isTTY ?? false);
  if (options.svg !== undefined) writeFileSync(options.svg, plot(report));
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : `${table(report).join('\n')}\n`);
  return report.failed === 0 && report.unsent === 0 ? EXIT.ok : EXIT.expectation;
}

async function run(s: Settings, showProgress: boolean): Promise<Report> {
  const target = await targetOf(s);
  const lastsS = durationS(s.stages);
  const plan = {
    mode: s.mode,
    target,
    dueMs: dueTimes(s.stages, s.arrivals, s.seed),
    maxOpen: s.maxOpen,
  };
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  let unfollow = () => {};
  const watch = (recording: Recording) => {
    if (showProgress) unfollow = follow(recording.counts, plan.dueMs.length, lastsS, process.stderr);
  };
  try {
    const recording = await generate(plan, watch, stop.signal);
    const { mode, arrivals, seed, stages } = s;
    const verified = target.sha256.size > 0;
    return reportOf(
      { url: s.url.href, mode, arrivals, seed, stages, durationS: lastsS, verified },
      recording,
    );
  } finally {
    unfollow();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** Resolves the name once, because the resolver's delays are not the service's. */
async function targetOf(s: Settings): Promise<Target> {
  const { hostname, port, host, pathname, search } = s.url;
  const name = hostname.replace(/^\[|\]$/g, '');
  const { address } = await lookup(name).catch((error: NodeJS.ErrnoException) => {
    throw new FirstackError('FSA_EXPECTATION', `${name}: ${error.code ?? error.message}`);
  });
  const target: Target = {
    address,
    port: port === '' ? 80 : Number(port),
    host,
    path: pathname + search,
    servedByHeader: s.servedByHeader,
    sha256: new Set(s.sha256),
    timeoutMs: s.timeoutMs,
  };
  return s.verify ? { ...target, sha256: new Set([await hashOfFirst(target)]) } : target;
}

/** SHA-256 of the body, in hex. */
function hashOfFirst({ address, port, host, path, timeoutMs }: Target): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) =>
      reject(new FirstackError('FSA_EXPECTATION', `--verify: the first body of ${host}${path}: ${why}`));
    const signal = AbortSignal.timeout(timeoutMs);
    const headers = { Host: host };
    get({ host: address, port, path, headers, setHost: false, agent: false, signal }, (response) => {
      const hash = createHash('sha256');
      response.on('data', (chunk) => hash.update(chunk));
      response.once('error', (error) => fail(error.message));
      response.once('end', () => {
        if (response.statusCode === 200) resolve(hash.digest('hex'));
        else fail(`status ${response.statusCode}`);
      });
    }).once('error', (error) => fail(signal.aborted ? 'timeout' : error.message));
  });
}

/** Checks before the run, because after it an error would come too late. */
function mustBeWritable(file: string): void {
  try {
    closeSync(openSync(file, 'a'));
  } catch (error) {
    throw new FirstackError('FSA_USAGE', `--svg ${file}: ${(error as Error).message}`);
  }
}
