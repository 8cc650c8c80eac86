/** The messages between the control plane and the data plane's thread. */
import type { Faults } from '../device/fault.js';
import type { KernelHandles, Memory } from './pipeline.js';

export interface TunOptions {
  name: string;
  queueLength: number;
  /** Writes every packet, both ways, to this file. */
  pcapFile?: string;
  /** Damages the packets that are read, for tests. */
  fault?: Faults;
}

/** The data with which the control plane starts the thread. */
export interface WorkerStart {
  module: string;
  options: unknown;
  tun: TunOptions;
  /** The most packets that may wait for their release at once. */
  holdSlots: number;
  counters: SharedArrayBuffer;
  gauges: SharedArrayBuffer;
  /** One double that the thread raises with each tick. */
  beats: SharedArrayBuffer;
  memory: Readonly<Record<string, SharedArrayBuffer>>;
  kernel?: KernelHandles;
}

export type ToWorker =
  | { type: 'load'; snapshot: unknown; mtu: number }
  /** Whether decided flows may be given to the kernel from now on. */
  | { type: 'pinning'; allowed: boolean }
  /** A question to the program's {@link Pipeline.ask}. */
  | { type: 'ask'; id: number; question: unknown }
  | { type: 'stop' };

export type FromWorker =
  | { type: 'ready'; reasons: readonly string[]; gauges: readonly string[] }
  | { type: 'loaded' }
  | { type: 'answer'; id: number; answer: unknown }
  | { type: 'gone' };

/** Shared memory as the words that both sides read. */
export function wordsOf(memory: Readonly<Record<string, SharedArrayBuffer>>): Memory {
  return Object.fromEntries(Object.entries(memory).map(([name, buffer]) => [name, new Float64Array(buffer)]));
}
