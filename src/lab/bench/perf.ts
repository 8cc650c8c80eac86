/** The machine's processor time by function, while something runs: samples of `perf`. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { FirstackError } from '../../errors.js';
import { mustRun, run } from '../process.js';

/** Per processor; an odd number, so that samples do not coincide with the kernel's own clock. */
export const SAMPLES_PER_SECOND = 4999;

/** Samples of all processors. A processor that sleeps for long gives none. */
export interface Samples {
  total: number;
  /** By the function that was running. */
  self: Map<string, number>;
  /** By every function on the stack. */
  inclusive: Map<string, number>;
}

export const noSamples = (): Samples => ({ total: 0, self: new Map(), inclusive: new Map() });

/** @throws FirstackError FSA_TOOL_MISSING */
export async function requirePerf(): Promise<void> {
  const { status } = await run(['perf', '--version']).catch(() => ({ status: 127 }));
  if (status !== 0)
    throw new FirstackError('FSA_TOOL_MISSING', "the program 'perf' is not installed (linux-perf)");
}

/** Samples all processors for `seconds`, by the clock, because a virtual machine may not count cycles. */
export async function record(file: string, seconds: number): Promise<void> {
  const what = ['-a', '-g', '-e', 'cpu-clock', '-F', String(SAMPLES_PER_SECOND), '-o', file];
  await mustRun(['perf', 'record', '-q', ...what, '--', 'sleep', String(seconds)]);
}

/** Adds the recorded samples to `samples`. */
export async function count(file: string, samples: Samples): Promise<void> {
  const script = spawn('perf', ['script', '-i', file, '-F', 'comm,ip,sym'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let command = '';
  let stack: string[] = [];
  const take = (): void => {
    if (stack.length > 0) {
      samples.total++;
      add(samples.self, stack[0]);
      for (const name of new Set(stack)) add(samples.inclusive, name);
    }
    command = '';
    stack = [];
  };
  // A sample is a line with the command, the stack from the innermost function on, and an empty line.
  for await (const line of createInterface({ input: script.stdout })) {
    const text = line.trim();
    if (text === '') take();
    else if (command === '') command = text;
    else stack.push(nameOf(text.replace(/^[0-9a-f]+\s+/, ''), command));
  }
  take();
}

/** Code that V8 compiled has no name; eBPF hooks have a name that changes with every load. */
function nameOf(symbol: string, command: string): string {
  if (symbol === '[unknown]') return `(no name, in ${command})`;
  return symbol.replace(/^bpf_prog_[0-9a-f]{16}_/, 'bpf:').replace(/\(.*$/, '');
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
