/**
 * Runs a policy's module in a thread of its own, which is ended when it does not answer in time. What traps, is late or is not
 * finite has no value: the caller keeps the last good one.
 */
import { Worker } from 'node:worker_threads';

/** After so many failures in a row the module is not run any more. */
const MOST_FAILURES = 3;
const MEMORY_MB = 64;

/** CommonJS, because a thread of text is that. It knows nothing of this process, and is given nothing but numbers. */
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
let instance;
const call = (rows, kind) => {
  instance ??= new WebAssembly.Instance(new WebAssembly.Module(workerData.code), {});
  const { cost, begin, add, end } = instance.exports;
  if (kind === 'cost') return rows.map((r) => cost(...r));
  begin();
  for (const r of rows) add(...r);
  return [end()];
};
parentPort.on('message', ({ id, rows }) => {
  let values = [];
  try {
    values = call(rows, workerData.kind).map((x) => (typeof x === 'number' ? x : NaN));
  } catch {
    instance = undefined;
  }
  parentPort.postMessage({ id, values });
});
`;

interface Waiting {
  id: number;
  resolve(values: number[]): void;
  timer: NodeJS.Timeout;
}

export class Sandbox {
  #worker: Worker | undefined;
  #waiting: Waiting | undefined;
  #id = 0;
  #failures = 0;
  /** Why the last call had no value; '' where it had. */
  problem = '';

  /**
   * @param code a checked module
   * @param deadlineMs how long one call may take, its start included
   */
  constructor(
    readonly code: Uint8Array,
    readonly kind: 'cost' | 'aggregate',
    readonly deadlineMs: number,
  ) {}

  /** Whether the module is not run any more. */
  get isOut(): boolean {
    return this.#failures >= MOST_FAILURES;
  }

  /**
   * Calls the module. One call at a time.
   * @param rows the arguments of each member
   * @returns a value for each row (`cost`) or one (`aggregate`); none where it failed
   */
  call(rows: readonly (readonly number[])[]): Promise<number[]> {
    if (this.isOut || this.#waiting !== undefined) return Promise.resolve([]);
    const worker = this.#worker ?? this.#begin();
    const id = ++this.#id;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#end(`no answer in ${this.deadlineMs} ms`), this.deadlineMs);
      this.#waiting = { id, resolve, timer };
      worker.postMessage({ id, rows });
    });
  }

  #begin(): Worker {
    const worker = new Worker(THREAD, {
      eval: true,
      workerData: { code: this.code, kind: this.kind },
      // It needs no environment, no arguments and no output.
      env: {},
      argv: [],
      execArgv: [],
      stdin: false,
      stdout: true,
      stderr: true,
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB, maxYoungGenerationSizeMb: 4, stackSizeMb: 1 },
    });
    worker.unref();
    worker.on('message', ({ id, values }: { id: number; values: number[] }) => {
      if (this.#waiting?.id !== id) return;
      this.#settle(values, values.length === 0 ? 'it trapped' : '');
    });
    worker.on('error', (error) => this.#end(error.message));
    this.#worker = worker;
    return worker;
  }

  #settle(values: number[], problem: string): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    clearTimeout(waiting?.timer);
    this.problem = problem;
    this.#failures = problem === '' ? 0 : this.#failures + 1;
    waiting?.resolve(values);
  }

  /** Ends the thread; the next call begins another one. */
  #end(problem: string): void {
    const worker = this.#worker;
    this.#worker = undefined;
    worker?.removeAllListeners('message');
    void worker?.terminate();
    if (this.#waiting !== undefined) this.#settle([], problem);
  }

  stop(): void {
    this.#end('stopped');
  }
}
