/** The control plane's side of the data plane: starts the thread, sends it snapshots, reads its counters. */
import { Worker } from 'node:worker_threads';
import { FirstackError } from '../errors.js';
import { type FromWorker, type ToWorker, type TunOptions, type WorkerStart, wordsOf } from './messages.js';
import type { KernelHandles, Memory } from './pipeline.js';
import { MAX_GAUGES, MAX_REASONS } from './reasons.js';

export interface DataPlaneOptions {
  /** URL of the program's pipeline module. */
  module: URL;
  /** The program's own options, which are cloned into the thread. */
  options: unknown;
  tun: TunOptions;
  holdSlots: number;
  /** Bytes of shared memory by name. */
  memory: Readonly<Record<string, number>>;
  /** What the kernel's hooks share, where flows are pinned. */
  kernel?: KernelHandles;
  /** Called when the interface no longer exists or the thread failed: the program cannot continue. */
  onFailure(error: Error): void;
}

/** The data plane allocates next to nothing, and gets a snapshot once in a while. */
const YOUNG_MB = 24;

export class DataPlane {
  readonly memory: Memory;
  readonly #gauges: Float64Array;
  readonly #counters: Float64Array;
  readonly #beats: Float64Array;
  readonly #worker: Worker;
  readonly #options: DataPlaneOptions;
  #names: readonly string[] = [];
  #gaugeNames: readonly string[] = [];
  #loaded: (() => void)[] = [];
  readonly #asked = new Map<number, (answer: unknown) => void>();
  #nextQuestion = 0;
  #stopping = false;
  readonly #exited: Promise<void>;

  private constructor(options: DataPlaneOptions) {
    this.#options = options;
    const counters = new SharedArrayBuffer(MAX_REASONS * 8);
    const gauges = new SharedArrayBuffer(MAX_GAUGES * 8);
    const beats = new SharedArrayBuffer(8);
    const memory = Object.fromEntries(
      Object.entries(options.memory).map(([name, bytes]) => [name, new SharedArrayBuffer(bytes)]),
    );
    this.#counters = new Float64Array(counters);
    this.#gauges = new Float64Array(gauges);
    this.#beats = new Float64Array(beats);
    this.memory = wordsOf(memory);
    const { module, tun, holdSlots, kernel } = options;
    const workerData: WorkerStart = {
      ...{ module: module.href, options: options.options, tun, holdSlots, kernel },
      ...{ counters, gauges, memory, beats },
    };
    const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_MB };
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { workerData, resourceLimits });
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
  }

  /** @throws FirstackError FSA_PERMISSION, FSA_INTERFACE_TAKEN when the TUN cannot be made */
  static async start(options: DataPlaneOptions): Promise<DataPlane> {
    const plane = new DataPlane(options);
    await new Promise<void>((resolve, reject) => {
      plane.#worker.once('error', (error) => reject(explain(error, options.tun.name)));
      plane.#worker.on('message', (message: FromWorker) => {
        if (message.type === 'ready') {
          plane.#names = message.reasons;
          plane.#gaugeNames = message.gauges;
          resolve();
        } else plane.#onMessage(message);
      });
    });
    plane.#worker.removeAllListeners('error');
    plane.#worker.on('error', (error) => options.onFailure(error as Error));
    return plane;
  }

  #onMessage(message: FromWorker): void {
    if (message.type === 'loaded') this.#loaded.shift()?.();
    if (message.type === 'answer') {
      this.#asked.get(message.id)?.(message.answer);
      this.#asked.delete(message.id);
    }
    if (message.type === 'gone' && !this.#stopping)
      this.#options.onFailure(new Error(`the interface ${this.#options.tun.name} no longer exists`));
  }

  /** Resolves when the thread uses the snapshot. */
  load(snapshot: unknown, mtu: number): Promise<void> {
    return new Promise((resolve) => {
      this.#loaded.push(resolve);
      this.#post({ type: 'load', snapshot, mtu });
    });
  }

  /** Asks the program's data half. Undefined where it answers no questions. */
  ask(question: unknown): Promise<unknown> {
    const id = this.#nextQuestion++;
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      this.#post({ type: 'ask', id, question });
    });
  }

  /** Whether decided flows may be given to the kernel from now on. */
  allowPinning(allowed: boolean): void {
    this.#post({ type: 'pinning', allowed });
  }

  /** Counters by name, as of now; zeros included. */
  counters(): Record<string, number> {
    return Object.fromEntries(this.#names.map((name, i) => [name, this.#counters[i]]));
  }

  /** Ticks of the thread so far, ten a second. */
  get beats(): number {
    return this.#beats[0];
  }

  /** A gauge as of now; 0 where the program has no gauge of this name. */
  gauge(name: string): number {
    return this.#gauges[this.#gaugeNames.indexOf(name)] ?? 0;
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#post({ type: 'stop' });
    // A thread that failed has ended already, so this does not wait.
    await this.#exited;
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}

function explain(error: unknown, tun: string): Error {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'EPERM' || code === 'EACCES')
    return new FirstackError('FSA_PERMISSION', `no permission to make the interface ${tun} (CAP_NET_ADMIN)`);
  if (code === 'EBUSY')
    return new FirstackError(
      'FSA_INTERFACE_TAKEN',
      `tun.name: the interface ${tun} is in use by another process`,
    );
  if (code === 'ENOENT' || code === 'ENODEV')
    return new FirstackError('FSA_TOOL_MISSING', 'this kernel has no TUN: /dev/net/tun (modprobe tun)');
  return error as Error;
}
