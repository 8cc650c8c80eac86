/** What a program hands to the data plane: its stages in order, and functions for snapshots, ticks and due packets. */

import type { Clock } from '../device/clock.js';
import { BATCH_BYTES, type Device, DeviceError, VNET_HEADER } from '../device/device.js';
import type { HoldQueue } from '../device/hold-queue.js';
import { BATCH, type Batch, DROP, HOLD, OPEN, SLOT, type Stage } from './batch.js';
import { Patience } from './patience.js';
import { common } from './reasons.js';

export interface PipelineContext<Options> {
  options: Options;
  clock: Clock;
  batch: Batch;
  hold: HoldQueue;
  /** Shared memory by name, as the program's control half requested it (`Run.plane.memory`). */
  memory: Memory;
  /** One word per name in {@link Pipeline.gauges}, in shared memory. */
  gauges: Float64Array;
  /** What the kernel's hooks share with this thread, where flows are pinned. Only `src/fastpath` interprets it. */
  kernel?: KernelHandles;
}

export type Memory = Readonly<Record<string, Float64Array>>;

/** Descriptors of the kernel's maps by name, which are valid in the whole process, and numbers that belong to them. */
export type KernelHandles = Readonly<Record<string, number>>;

export interface Pipeline<Snapshot> {
  readonly stages: readonly Stage[];
  /** Names of the counters, in order. */
  readonly reasons: readonly string[];
  /** Names of the gauges, in order. */
  readonly gauges: readonly string[];
  /** Takes over the control plane's latest snapshot. May allocate. */
  load(snapshot: Snapshot): void;
  /** Whether decided flows may be given to the kernel from now on; flows that it has are carried on. */
  allowPinning?(allowed: boolean): void;
  /** Answers an operator's question between two batches of packets. May allocate; takes a few milliseconds at the most. */
  ask?(question: unknown): unknown;
  /** Runs ten times a second: expiry and gauges. */
  tick(): void;
  /** Runs every few milliseconds, for a pipeline that must follow events that arrive without a packet. */
  poll?(): void;
  /** Decides about held packets that are due. Without it they are written unchanged. */
  readonly due?: Due;
}

/** Handles held packets that are due. `meta` is the word with which a packet was held. */
export interface Due {
  /** By how much a packet may be late, so that one wake-up serves several packets. */
  readonly slackUs: number;
  /** Whether the reason for holding the packet no longer exists: then it is dropped without {@link decide}. */
  isSettled(meta: number): boolean;
  /** Decides about the packet, which is alone in a batch. The packets that result are written. */
  decide(batch: Batch, meta: number): void;
}

export type CreatePipeline<Options, Snapshot> = (context: PipelineContext<Options>) => Pipeline<Snapshot>;

/** What a program's pipeline module exports. */
export interface PipelineModule {
  createPipeline: CreatePipeline<unknown, unknown>;
  /** Runs the program's stages over packets that it makes itself (`rehearsal.ts`). */
  rehearse?(create: CreatePipeline<unknown, unknown>, options: unknown): void;
}

/** The most reads of one wake-up, so that timers are not starved. */
const ROUNDS = 8;
const NONE_OPENED = new Uint8Array(0);

/**
 * Carries packets from a device through the stages and back to the device.
 * `run` is called when the device can be read, `release` when a held packet is due.
 */
export class Runner {
  readonly #outAt = new Int32Array(1024);
  readonly #outLength = new Int32Array(1024);
  readonly #outOpened = new Uint8Array(1024);
  readonly #patience = new Patience();

  constructor(
    readonly device: Device,
    readonly batch: Batch,
    readonly hold: HoldQueue,
    readonly stages: readonly Stage[],
    readonly clock: Clock,
    readonly due?: Due,
  ) {
    batch.flush = () => this.#writeExtras();
  }

  /** @returns the number of packets read; -1 when the device no longer exists */
  run(): number {
    const { batch, clock, hold } = this;
    const slackUs = this.due?.slackUs ?? 0;
    let read = 0;
    let waitUs = 0;
    let isBehind = true;
    for (let round = 0; round < ROUNDS; round++) {
      batch.reset();
      let n: number;
      try {
        n = this.device.readBatch(batch.arena, batch.at, batch.length, BATCH, SLOT, waitUs);
      } catch (error) {
        batch.counters[common.readError]++;
        if (error instanceof DeviceError) return -1;
        throw error;
      }
      if (waitUs > 0) this.#learn(n);
      if (n === 0) {
        isBehind = false;
        break;
      }
      read += n;
      clock.update();
      this.process(n);
      const mayBeMore = n === BATCH || this.#isFull(n);
      isBehind = mayBeMore;
      waitUs = mayBeMore ? 0 : this.#patience.next(hold.dueInUs(clock) + slackUs);
      if (!mayBeMore && waitUs === 0) break;
    }
    if (!isBehind) batch.behindSinceUs = 0;
    else if (batch.behindSinceUs === 0) batch.behindSinceUs = clock.nowUs;
    return read;
  }

  /** Passes whole µs, because other numbers would be boxed, which is garbage for each batch. */
  #learn(packets: number): void {
    const { clock } = this;
    const beforeUs = clock.nowUs;
    clock.update();
    this.#patience.learn(packets, (clock.nowUs - beforeUs) | 0);
  }

  /** Whether the device ended this batch at its limit of bytes: then there may be more packets. */
  #isFull(n: number): boolean {
    let bytes = 0;
    for (let i = 0; i < n; i++) bytes += this.batch.length[i];
    return bytes >= BATCH_BYTES;
  }

  /** Takes the first `n` packets of the batch through the stages and writes the packets that result. */
  process(n: number): void {
    const { batch } = this;
    batch.begin(n);
    for (let s = 0; s < this.stages.length; s++) this.stages[s](batch);
    this.#writeBatch(n);
  }

  #writeBatch(n: number): void {
    const { batch } = this;
    let out = 0;
    for (let i = 0; i < n; i++) {
      const verdict = batch.verdict[i];
      if (verdict === OPEN) batch.pass(i, common.passDefault);
      if (verdict === DROP || verdict === HOLD) continue;
      this.#outAt[out] = batch.at[i];
      this.#outOpened[out] = batch.opened[i];
      this.#outLength[out++] = batch.length[i];
    }
    if (out > 0) this.#write(batch.arena, out, this.#outOpened);
    this.#writeExtras();
  }

  /** Sends every held packet that is due. @returns when the next one is due; 0 when none is held */
  release(): number {
    const { hold, clock } = this;
    clock.update();
    for (let e = hold.popDue(clock); e >= 0; e = hold.popDue(clock)) {
      if (this.due === undefined) {
        this.#outAt[0] = hold.at(e);
        this.#outLength[0] = hold.lengthOf(e);
        this.batch.counters[common.release]++;
        this.#write(hold.arena, 1, NONE_OPENED);
        hold.free(e);
      } else if (this.due.isSettled(hold.metaOf(e))) hold.free(e);
      else this.#decideDue(e, this.due);
    }
    return hold.size > 0 ? hold.nextDueUs : 0;
  }

  /** A held packet that is due goes through the program again, alone in the batch. */
  #decideDue(e: number, due: Due): void {
    const { batch, hold } = this;
    batch.reset();
    const at = hold.at(e);
    const length = hold.lengthOf(e);
    // A loop, because `set(subarray())` makes an object per packet, and these packets are short.
    const { arena } = batch;
    const from = at - VNET_HEADER;
    const to = batch.at[0] - VNET_HEADER;
    for (let b = 0; b < length + VNET_HEADER; b++) arena[to + b] = hold.arena[from + b];
    batch.length[0] = length;
    const meta = hold.metaOf(e);
    hold.free(e);
    batch.begin(1);
    due.decide(batch, meta);
    this.#writeBatch(1);
  }

  #writeExtras(): void {
    const { batch } = this;
    const extras = batch.total - batch.count;
    if (extras === 0) return;
    for (let k = 0; k < extras; k++) {
      this.#outAt[k] = batch.at[batch.count + k];
      this.#outLength[k] = batch.length[batch.count + k];
    }
    batch.total = batch.count;
    this.#write(batch.arena, extras, NONE_OPENED);
  }

  #write(arena: Uint8Array, count: number, opened: Uint8Array): void {
    const written = this.device.writeBatch(arena, this.#outAt, this.#outLength, count, opened);
    if (written < count) this.batch.counters[common.writeError] += count - written;
  }
}
