/** A gateway's pipeline with an IPv6 service in configuration A, its origin and two replicas, over a device in memory. */
import { gatewayMemory } from '../../gateway/race/gauges.js';
import { createPipeline } from '../../gateway/race/pipeline.js';
import type { GatewaySnapshot } from '../../gateway/race/state.js';
import { ManualClock } from '../../src/device/clock.js';
import { HoldQueue } from '../../src/device/hold-queue.js';
import { memoryPair } from '../../src/device/memory.js';
import { Batch, EXTRA_SLOT } from '../../src/pipeline/batch.js';
import { type KernelHandles, Runner } from '../../src/pipeline/pipeline.js';
import { MAX_GAUGES, MAX_REASONS } from '../../src/pipeline/reasons.js';
import { parse } from '../../src/wire/address.js';
import { candidateNumber, machineNumber, serviceNumber } from './numbers.js';
import { frame6, read6, type Tcp6 } from './v6.js';
import { gatewayOptions, gatewaySnapshot, WORLD } from './world.js';

export const CLIENT = '2001:db8:0:1:0:0:0:7';
export const SERVICE = '2001:db8:80:0:0:0:0:10';
export const R1 = '2001:db8:11:0:0:0:0:2';
export const R2 = '2001:db8:12:0:0:0:0:2';
export const R2_PORT = 8080;
export const [GATEWAY_RACE, LEARNED] = [1, 2] as const;

/** The service in configuration C. */
export const TUNNELLED: Partial<GatewaySnapshot> = {
  services: [
    {
      ...gatewaySnapshot({ ...WORLD, configuration: 'C' }).services[0],
      address: parse(SERVICE)!,
      port: 80,
    },
  ],
};

export class Gateway6 {
  readonly clock = new ManualClock(5e6);
  readonly batch = new Batch(this.clock, new Float64Array(MAX_REASONS));
  readonly #pair = memoryPair();
  readonly #runner: Runner;
  readonly #names: readonly string[];
  readonly #tick: () => void;

  constructor(
    race: GatewaySnapshot['race'] = GATEWAY_RACE,
    change: Partial<GatewaySnapshot> = {},
    kernel?: KernelHandles,
  ) {
    const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 64 }]);
    const memory = Object.entries(gatewayMemory(64, 64, 4)).map(([name, bytes]) => [
      name,
      new Float64Array(bytes / 8),
    ]);
    const pipeline = createPipeline({
      ...{ clock: this.clock, batch: this.batch, hold, gauges: new Float64Array(MAX_GAUGES) },
      ...{ memory: Object.fromEntries(memory), kernel, options: gatewayOptions(WORLD) },
    });
    const endpoint = (c: number, address: string, port: number) => ({
      ...{
        service: serviceNumber(0),
        machine: machineNumber(c),
        candidate: candidateNumber(c),
        address: parse(address)!,
        port,
      },
      ...{ live: true, load: 0, trials: 0 },
    });
    pipeline.load({
      ...gatewaySnapshot({ ...WORLD, configuration: 'A' }),
      race,
      services: [
        {
          ...gatewaySnapshot({ ...WORLD, configuration: 'A' }).services[0],
          address: parse(SERVICE)!,
          port: 80,
        },
      ],
      endpoints: [endpoint(0, SERVICE, 80), endpoint(1, R1, 80), endpoint(2, R2, R2_PORT)],
      probed: [],
      ...change,
    });
    this.#tick = () => pipeline.tick?.();
    this.#tick();
    this.#names = pipeline.reasons;
    this.#runner = new Runner(this.#pair[0], this.batch, hold, pipeline.stages, this.clock, pipeline.due);
  }

  frames(...frames: Uint8Array[]): Uint8Array[] {
    this.#pair[0].queue.push(...frames);
    this.#runner.run();
    return this.#pair[1].queue.splice(0);
  }
  send(p: Partial<Tcp6> & Pick<Tcp6, 'src' | 'dst'>): ReturnType<typeof read6>[] {
    return this.frames(frame6(p)).map((f) => read6(f));
  }
  /** Lets time pass in which nothing happens. */
  pass(us: number): void {
    for (let left = us; left > 0; left -= 1e5) {
      this.clock.nowUs += Math.min(left, 1e5);
      this.#tick();
    }
  }
  advance(us: number): ReturnType<typeof read6>[] {
    this.clock.nowUs += us;
    this.#runner.release();
    return this.#pair[1].queue.splice(0).map((f) => read6(f));
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

export const SYN = { src: CLIENT, dst: SERVICE };
/** A machine's answer to the SYN. */
export const answer = (from: string, sport: number) => ({
  ...{ src: from, sport, dst: CLIENT, dport: 40_000, seq: 7000, ack: 1001, flags: 'SA' },
});
