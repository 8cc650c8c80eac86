/** A service-level router's pipeline over a device in memory: a site with two members and a router above. */
import { NONE } from '../../origin/routing/flows.js';
import { createPipeline } from '../../origin/routing/pipeline.js';
import type { MemberNumber, SlrSnapshot } from '../../origin/routing/snapshot.js';
import type { SlrOptions } from '../../origin/routing/state.js';
import { preferenceOf } from '../../src/balance/maglev.js';
import { ManualClock } from '../../src/device/clock.js';
import { HoldQueue } from '../../src/device/hold-queue.js';
import { type MemoryDevice, memoryPair } from '../../src/device/memory.js';
import { Batch, EXTRA_SLOT } from '../../src/pipeline/batch.js';
import { type KernelHandles, Runner } from '../../src/pipeline/pipeline.js';
import { MAX_GAUGES, MAX_REASONS } from '../../src/pipeline/reasons.js';
import { prefixOf } from '../../src/routing/virtual.js';
import { type Address, parse } from '../../src/wire/address.js';
import { frame, type Packet, parseFrame } from './naive.js';

export const VIRTUAL = '203.0.113.80';
export const OWN = '198.51.100.1';
export const UPPER = '198.51.100.9';
export const MEMBERS = ['198.51.100.11', '198.51.100.12'] as const;
/** Below the first member: where its shortcuts may lead. */
export const BELOW = '198.51.101.7';
export const CLIENT = '10.1.0.7';
export const KEYS = [1, 2, 9].map((n) => Uint8Array.from({ length: 16 }, (_, i) => n + i));

const words = (text: string): Address => parse(text) as Address;

/** @param usable the members that may get new connections */
export function snapshot(usable: readonly number[] = [0, 1], more: Partial<SlrSnapshot> = {}): SlrSnapshot {
  const table = usable.map((n) => ({ ...preferenceOf(`m${n}`), weight: 1, member: n as MemberNumber }));
  return {
    address: words(OWN),
    source: prefixOf(`${OWN}/32`),
    hosts: [
      {
        prefix: prefixOf(`${VIRTUAL}/32`),
        protocols: [6, 17],
        ports: [],
        table: table.length === 0 ? -1 : 0,
      },
    ],
    tables: table.length === 0 ? [] : [table],
    members: MEMBERS.map((address, n) => ({
      number: n as MemberNumber,
      address: words(address),
      targets:
        n === 0 ? [prefixOf(`${address}/32`), prefixOf('198.51.101.0/24')] : [prefixOf(`${address}/32`)],
      key: [...KEYS[n]],
      isUsable: usable.includes(n),
    })),
    uppers: [{ address: words(UPPER), sources: [prefixOf(`${UPPER}/32`)], key: [...KEYS[2]] }],
    ...more,
  };
}

/** The same over IPv6, in the form in which `v6.ts` reads addresses. */
export const VIRTUAL6 = '2001:db8:80:0:0:0:0:80';
export const OWN6 = '2001:db8:51:0:0:0:0:1';
export const UPPER6 = '2001:db8:51:0:0:0:0:9';
export const MEMBERS6 = ['2001:db8:51:0:0:0:0:11', '2001:db8:51:0:0:0:0:12'] as const;
export const BELOW6 = '2001:db8:52:0:0:0:0:7';
export const CLIENT6 = '2001:db8:0:1:0:0:0:7';

/**
 * A router that has IPv6 too.
 * @param over6 the members that have an address of IPv6
 */
export function snapshot6(
  usable: readonly number[] = [0, 1],
  over6: readonly number[] = [0, 1],
  more: Partial<SlrSnapshot> = {},
): SlrSnapshot {
  const v4 = snapshot(usable);
  const below = prefixOf('2001:db8:52::/48');
  return {
    ...v4,
    address6: words(OWN6),
    hosts: [...v4.hosts, { ...v4.hosts[0], prefix: prefixOf('2001:db8:80::80/128') }],
    members: v4.members.map((m, n) => ({
      ...m,
      ...(over6.includes(n) ? { address6: words(MEMBERS6[n]) } : {}),
      targets: [...m.targets, prefixOf(`${MEMBERS6[n]}/128`), ...(n === 0 ? [below] : [])],
    })),
    uppers: v4.uppers.map((u) => ({
      ...{ ...u, address6: words(UPPER6) },
      sources: [...u.sources, prefixOf(`${UPPER6}/128`)],
    })),
    ...more,
  };
}

/** With a router of the same level. */
export const BESIDE = '198.51.100.2';
export const LEVEL_KEY = Array.from({ length: 16 }, (_, n) => n + 40);
export const neighbours = (...addresses: string[]): NonNullable<SlrSnapshot['neighbours']> => ({
  addresses: addresses.map(words),
  key: LEVEL_KEY,
});

/** @param max flows at once */
export const options = (max: number): SlrOptions => ({
  flows: {
    max,
    openingTimeoutMs: 240_000,
    establishedTimeoutMs: 7_440_000,
    closingTimeoutMs: 240_000,
    datagramTimeoutMs: 300_000,
  },
  seed: 5,
  epoch: 1_700_000_000,
});

export class SlrHarness {
  readonly clock = new ManualClock();
  readonly batch = new Batch(this.clock, new Float64Array(MAX_REASONS));
  readonly #pipeline;
  readonly #runner: Runner;
  readonly #inside: MemoryDevice;
  readonly #outside: MemoryDevice;

  constructor(first: SlrSnapshot = snapshot(), flows = 1024, kernel?: KernelHandles) {
    [this.#inside, this.#outside] = memoryPair();
    this.#pipeline = createPipeline({
      clock: this.clock,
      batch: this.batch,
      hold: new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 1 }]),
      memory: {},
      gauges: new Float64Array(MAX_GAUGES),
      options: options(flows),
      kernel,
    });
    const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 1 }]);
    this.#runner = new Runner(this.#inside, this.batch, hold, this.#pipeline.stages, this.clock);
    this.load(first);
    this.#pipeline.tick();
  }

  load(s: SlrSnapshot): void {
    this.#pipeline.load(s);
  }

  /** Puts packets through the pipeline as one batch. @returns those that it writes */
  send(...packets: Packet[]): Packet[] {
    return this.sendFrames(packets.map(frame)).map((f) => {
      const parsed = parseFrame(f);
      if (parsed === undefined || !parsed.valid) throw new Error('what was written is no valid packet');
      return parsed.packet;
    });
  }

  sendFrames(frames: Uint8Array[]): Uint8Array[] {
    this.#inside.queue.push(...frames);
    this.#runner.run();
    return this.#outside.queue.splice(0);
  }

  /** @returns what leaves in the tick */
  advance(us: number): Packet[] {
    this.clock.nowUs += us;
    this.#pipeline.tick();
    return this.#outside.queue.splice(0).map((f) => parseFrame(f)!.packet);
  }

  ask(question: unknown): unknown {
    return this.#pipeline.ask!(question);
  }

  counts(): Record<string, number> {
    return Object.fromEntries(
      this.#pipeline.reasons
        .map((name, i) => [name, this.batch.counters[i]] as const)
        .filter(([, n]) => n !== 0),
    );
  }
}

export { NONE };
