/** One role's whole pipeline over a device in memory, with a clock that the test sets. */
import { gatewayMemory } from '../../gateway/race/gauges.js';
import { createPipeline as createGateway } from '../../gateway/race/pipeline.js';
import { createPipeline as createOrigin } from '../../origin/race/pipeline.js';
import { createPipeline as createReplica } from '../../replica/race/pipeline.js';
import { ManualClock } from '../../src/device/clock.js';
import { FaultDevice, type Faults } from '../../src/device/fault.js';
import { HoldQueue } from '../../src/device/hold-queue.js';
import { type MemoryDevice, memoryPair } from '../../src/device/memory.js';
import { Batch, EXTRA_SLOT } from '../../src/pipeline/batch.js';
import { type KernelHandles, type Memory, Runner } from '../../src/pipeline/pipeline.js';
import { MAX_GAUGES, MAX_REASONS } from '../../src/pipeline/reasons.js';
import {
  gatewayOptions,
  gatewaySnapshot,
  originOptions,
  originSnapshot,
  type RoleName,
  replicaOptions,
  replicaSnapshot,
  WORLD,
  type World,
} from './world.js';

export class Harness {
  readonly clock = new ManualClock();
  readonly hold: HoldQueue;
  /** The size that a gateway needs; the other roles use a part of it. */
  readonly memory: Memory = Object.fromEntries(
    Object.entries(gatewayMemory(64, 64, 4)).map(([name, bytes]) => [name, new Float64Array(bytes / 8)]),
  );
  readonly gauges = new Float64Array(MAX_GAUGES);
  readonly batch = new Batch(this.clock, new Float64Array(MAX_REASONS));
  readonly runner: Runner;
  readonly names: readonly string[];
  readonly tick: () => void;
  readonly #load: (w: World) => void;
  readonly #inside: MemoryDevice;
  readonly #outside: MemoryDevice;
  #world: World;

  constructor(
    readonly role: RoleName,
    world: Partial<World> = {},
    kernel?: KernelHandles,
    /** Damages what is sent. */
    readonly faults?: Faults,
  ) {
    const w = { ...WORLD, ...world };
    this.#world = w;
    this.hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: w.holdSlots }]);
    [this.#inside, this.#outside] = memoryPair();
    const context = {
      clock: this.clock,
      batch: this.batch,
      hold: this.hold,
      memory: this.memory,
      gauges: this.gauges,
      kernel,
    };
    if (role === 'gateway') {
      const p = createGateway({ ...context, options: gatewayOptions(w) });
      this.#load = (x) => p.load(gatewaySnapshot(x));
      [this.names, this.tick] = [p.reasons, p.tick];
      this.runner = this.#run(p.stages, p.due);
    } else if (role === 'origin') {
      const p = createOrigin({ ...context, options: originOptions(w) });
      this.#load = (x) => p.load(originSnapshot(x));
      [this.names, this.tick] = [p.reasons, p.tick];
      this.runner = this.#run(p.stages);
    } else {
      const p = createReplica({ ...context, options: replicaOptions(w) });
      this.#load = (x) => p.load(replicaSnapshot(x));
      [this.names, this.tick] = [p.reasons, p.tick];
      this.runner = this.#run(p.stages);
    }
    this.change({});
    this.tick();
  }

  #run(stages: Runner['stages'], due?: Runner['due']): Runner {
    const device = this.faults === undefined ? this.#inside : new FaultDevice(this.#inside, this.faults);
    return new Runner(device, this.batch, this.hold, stages, this.clock, due);
  }

  /** Loads a changed view of the registry. */
  change(world: Partial<World>): void {
    this.#world = { ...this.#world, ...world };
    this.#load(this.#world);
  }

  /** Puts frames (virtio header and packet) through the pipeline, in one batch where they fit. */
  send(frames: readonly Uint8Array[]): Uint8Array[] {
    this.#inside.queue.push(...frames);
    this.runner.run();
    return this.#outside.queue.splice(0);
  }

  /** Advances the clock; returns the packets that became due. */
  advance(us: number): Uint8Array[] {
    this.clock.nowUs += us;
    this.runner.release();
    return this.#outside.queue.splice(0);
  }

  /** Counters that are not zero, by name. */
  counts(): Record<string, number> {
    return Object.fromEntries(
      this.names.map((name, i) => [name, this.batch.counters[i]] as const).filter(([, n]) => n !== 0),
    );
  }

  clearCounts(): void {
    this.batch.counters.fill(0);
  }
}

/** Sums of counters by verdict, which is the part of the name before the first dot. */
export function sums(counts: Record<string, number>): Record<string, number> {
  const out: Record<string, number> = {
    pass: 0,
    drop: 0,
    hold: 0,
    emit: 0,
    release: 0,
    error: 0,
    queued: 0,
    joined: 0,
  };
  for (const [name, n] of Object.entries(counts)) {
    const verdict = name.slice(0, name.indexOf('.'));
    out[verdict] = (out[verdict] ?? 0) + n;
  }
  return out;
}
