/** How this gateway measures all replicas by itself (`near-probes.ts`), and what it has measured. */
import type { Metric } from '../../src/admin/metrics.js';
import { ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { learnedSize } from '../../src/proximity/learned-table.js';
import { gatewayKind } from '../../src/race/records.js';
import type { View } from '../../src/registry/kinds.js';
import type { GatewayConfig } from './config.js';
import type { Fleet } from './fleet.js';
import { type NearOrder, NO_PROBES, near, probedBy } from './near-probes.js';

/** A machine gets twenty packets a second from all gateways together, and a probe is three at the most. */
const PAUSE_MS = 150;
const LEAST_PAUSE_TICKS = 20;
const TICK_MS = 100;
/** How often, and how many times, it is asked at first which machines are the nearest. */
const FIRST_MS = 100;
const FIRST_LOOKS = 20;

export class Measuring {
  #memory: Float64Array | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param hasKeys whether this gateway can make probes that a role on a replica answers */
  constructor(
    readonly config: Pick<GatewayConfig, 'race' | 'probe'>,
    readonly hasKeys: boolean,
    readonly fleet: Fleet,
  ) {}

  /**
   * Reads what the data plane measures from now on. At first each answer is news.
   * @param refresh is called when other machines turn out to be the nearest
   */
  start(memory: Float64Array, refresh: () => void): void {
    this.#memory = memory;
    let left = FIRST_LOOKS;
    this.#timer = setInterval(() => {
      if (this.fleet.isOutdated()) refresh();
      if (--left === 0) this.stop();
    }, FIRST_MS);
    this.fleet.rttUsOf = (machine) => memory[machine * near.stride + near.rttUs] || undefined;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** What the data plane is to do: where a race asks only some, it must know which are near. */
  order(view: View): NearOrder {
    const { probe, race } = this.config;
    if (race === 'origin' || probe.method === 'off') return NO_PROBES;
    const gateways = view.of(gatewayKind).length;
    return {
      perSecond: probe.perSecond,
      udp: probe.method !== 'syn' && this.hasKeys,
      syn: probe.method !== 'udp',
      pauseTicks: Math.max(LEAST_PAUSE_TICKS, Math.ceil((gateways * PAUSE_MS) / TICK_MS)),
    };
  }

  /** A machine's round trip, µs; undefined while it is not known. */
  get(id: string): number | undefined {
    const machine = this.fleet.machines.find(id);
    return machine === undefined ? undefined : this.fleet.rttUsOf(machine);
  }

  metrics(learned: Float64Array): Metric[] {
    const counts = { udp: 0, syn: 0, none: 0 };
    for (const id of this.fleet.machines.ids) {
      const machine = this.fleet.machines.find(id);
      if (machine === undefined || machine === ORIGIN_MACHINE || this.#memory === undefined) continue;
      counts[probedBy(this.#memory, machine).probe ?? 'none']++;
    }
    const { entries, room } = learnedSize(learned);
    return [
      {
        name: 'firstack_measured_machines',
        help: 'Replicas by how background probes measure them: udp, syn, or none.',
        type: 'gauge',
        samples: Object.entries(counts).map(([how, value]) => ({ labels: { how }, value })),
      },
      {
        name: 'firstack_learned_pairs',
        help: 'Pairs of service and client prefix of which times are kept, and how many there is room for.',
        type: 'gauge',
        samples: [
          { labels: { what: 'used' }, value: entries },
          { labels: { what: 'room' }, value: room },
        ],
      },
    ];
  }

  /** For status. */
  describe(id: string): Record<string, unknown> {
    const rttUs = this.get(id);
    const machine = this.fleet.machines.find(id);
    return {
      rttMs: rttUs === undefined ? null : rttUs / 1000,
      ...(machine === undefined || this.#memory === undefined ? {} : probedBy(this.#memory, machine)),
    };
  }
}
