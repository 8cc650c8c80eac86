/** A replica's pipeline with an IPv6 service in configuration C, over a device in memory. */
import { createPipeline } from '../../replica/race/pipeline.js';
import type { ReplicaSnapshot } from '../../replica/race/state.js';
import { ManualClock } from '../../src/device/clock.js';
import { HoldQueue } from '../../src/device/hold-queue.js';
import { memoryPair } from '../../src/device/memory.js';
import { Batch, EXTRA_SLOT } from '../../src/pipeline/batch.js';
import { Runner } from '../../src/pipeline/pipeline.js';
import { MAX_GAUGES, MAX_REASONS } from '../../src/pipeline/reasons.js';
import { parse, parsePrefix } from '../../src/wire/address.js';
import { SERVICE } from './gateway6.js';
import { replicaOptions, replicaSnapshot, WORLD } from './world.js';

export class Replica6 {
  readonly batch: Batch;
  readonly #pair = memoryPair();
  readonly #runner: Runner;
  readonly #names: readonly string[];

  constructor(address: string, change: Partial<ReplicaSnapshot> = {}) {
    const clock = new ManualClock(5e6);
    this.batch = new Batch(clock, new Float64Array(MAX_REASONS));
    const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 16 }]);
    const pipeline = createPipeline({
      ...{ clock, batch: this.batch, hold, gauges: new Float64Array(MAX_GAUGES) },
      ...{ memory: {}, kernel: undefined, options: replicaOptions(WORLD) },
    });
    const snapshot = replicaSnapshot({ ...WORLD, configuration: 'C' });
    pipeline.load({
      ...snapshot,
      address6: parse(address)!,
      services: [{ ...snapshot.services[0], address: parse(SERVICE)!, port: 80 }],
      gateways: snapshot.gateways.map((g) => ({ ...g, prefixes: [parsePrefix('2001:db8:0:1::/64')!] })),
      ...change,
    });
    this.#names = pipeline.reasons;
    this.#runner = new Runner(this.#pair[0], this.batch, hold, pipeline.stages, clock, pipeline.due);
  }

  frames(...frames: Uint8Array[]): Uint8Array[] {
    this.#pair[0].queue.push(...frames);
    this.#runner.run();
    return this.#pair[1].queue.splice(0);
  }
  count(name: string): number {
    return this.batch.counters[this.#names.indexOf(name)];
  }

  /** Counters that are not zero, by name. */
  counts(): Record<string, number> {
    return Object.fromEntries(
      this.#names.map((name, k) => [name, this.batch.counters[k]] as const).filter(([, n]) => n !== 0),
    );
  }
}
