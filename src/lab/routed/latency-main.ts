/**
 * Requests at random moments, whether the ones before are answered or not, each on a connection of its own.
 *
 *   node latency-main.js PER_SECOND SECONDS SEED ADDRESS PORT PATH     prints a line of JSON at the end
 */
import { get } from 'node:http';
import { generator } from '../../load/generator.js';

/** One request; a failed one has taken {@link TIMEOUT_MS}. */
export interface Answered {
  /** By the wall clock. */
  at: number;
  ms: number;
  servedBy: string;
}

const [perSecond, seconds, seed] = process.argv.slice(2, 5).map(Number);
const [host, port, path] = process.argv.slice(5);
const TIMEOUT_MS = 10_000;

const random = generator(seed);
const all: Answered[] = [];
let open = 0;
let isOver = false;

function one(): void {
  open++;
  const at = Date.now();
  const begun = performance.now();
  let isEnded = false;
  const end = (ms: number, servedBy: string): void => {
    if (isEnded) return;
    isEnded = true;
    all.push({ at, ms, servedBy });
    open--;
    if (isOver && open === 0) finish();
  };
  const headers = { 'accept-encoding': 'gzip' };
  const request = get({ host, port: Number(port), path, agent: false, headers }, (response) => {
    response.resume();
    response.once('end', () => end(performance.now() - begun, String(response.headers['x-served-by'])));
    response.once('error', () => end(TIMEOUT_MS, ''));
  });
  request.once('error', () => end(TIMEOUT_MS, ''));
  setTimeout(() => {
    end(TIMEOUT_MS, '');
    request.destroy();
  }, TIMEOUT_MS).unref();
}

function finish(): void {
  process.stdout.write(`${JSON.stringify(all)}\n`, () => process.exit(0));
}

const until = performance.now() + seconds * 1000;
let due = performance.now();
function next(): void {
  for (; due <= performance.now() && due < until; due -= (Math.log(1 - random()) / perSecond) * 1000) one();
  if (due < until) setTimeout(next, Math.max(1, due - performance.now()));
  else {
    isOver = true;
    if (open === 0) finish();
  }
}
next();
