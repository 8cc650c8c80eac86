/** The control plane's side of the data plane: starts the thread, hands it snapshots, reads its counters. */
import { Worker } from 'node:worker_threads';
import { FirstackError } from '../errors.js';
import type { PinFds } from '../fastpath/pins.js';
import { GAUGES, MAX_REASONS } from './reasons.js';
import type { FromWorker, ToWorker, TunOptions, WorkerStart } from './worker.js';

export interface DataPlaneOptions {
  /** URL of the role's pipeline module. */
  module: URL;
  /** The role's own options: cloned into the thread. */
  options: unknown;
  tun: TunOptions;
  holdSlots: number;
  /** Bytes of race records, and of what is learned from them. */
  raceBytes: number;
  learnedBytes: number;
  /** The kernel's maps, where flows are pinned. */
  pinFds?: PinFds;
  /** The device is gone, or the thread failed: the role cannot go on. */
  onFailure(error: Error): void;
}

export class DataPlane {
  readonly races: Float64Array;
  readonly learned: Float64Array;
  readonly gauges: Float64Array;
  readonly #counters: Float64Array;
  readonly #worker: Worker;
  readonly #options: DataPlaneOptions;
  #names: readonly string[] = [];
  #loaded: (() => void)[] = [];
  #stopping = false;

  private constructor(options: DataPlaneOptions) {
    this.#options = options;
    const counters = new SharedArrayBuffer(MAX_REASONS * 8);
    const races = new SharedArrayBuffer(options.raceBytes);
    const learned = new SharedArrayBuffer(options.learnedBytes);
    const gauges = new SharedArrayBuffer(GAUGES * 8);
    this.#counters = new Float64Array(counters);
    this.races = new Float64Array(races);
    this.learned = new Float64Array(learned);
    this.gauges = new Float64Array(gauges);
    const workerData: WorkerStart = {
      module: options.module.href,
      options: options.options,
      tun: options.tun,
      holdSlots: options.holdSlots,
      counters,
      races,
      learned,
      gauges,
      pinFds: options.pinFds,
    };
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { workerData });
  }

  /** @throws FirstackError FSA_PERMISSION, FSA_INTERFACE_TAKEN when the TUN cannot be made */
  static async start(options: DataPlaneOptions): Promise<DataPlane> {
    const plane = new DataPlane(options);
    await new Promise<void>((resolve, reject) => {
      plane.#worker.once('error', (error) => reject(explain(error, options.tun.name)));
      plane.#worker.on('message', (message: FromWorker) => {
        if (message.type === 'ready') {
          plane.#names = message.reasons;
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
    if (message.type === 'gone' && !this.#stopping)
      this.#options.onFailure(new Error(`the interface ${this.#options.tun.name} is gone`));
  }

  /** Resolves when the thread uses the snapshot. */
  load(snapshot: unknown, mtu: number): Promise<void> {
    return new Promise((resolve) => {
      this.#loaded.push(resolve);
      this.#post({ type: 'load', snapshot, mtu });
    });
  }

  /** Counters by name, as of now; zeros included. */
  counters(): Record<string, number> {
    return Object.fromEntries(this.#names.map((name, i) => [name, this.#counters[i]]));
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const exited = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#post({ type: 'stop' });
    await exited;
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
