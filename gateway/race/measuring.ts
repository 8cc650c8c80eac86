/** How this gateway measures all replicas by itself (`near-probes.ts`), and what it has measured. */
import { gatewayKind } from '../../src/race/records.js';
import type { View } from '../../src/registry/kinds.js';
import type { GatewayConfig } from './config.js';
import type { Fleet } from './fleet.js';
import { type NearOrder, NO_PROBES, near, probedBy } from './near-probes.js';

/** A machine gets twenty packets a second from all gateways together, and a probe is three at the most. */
const PAUSE_MS = 150;
const LEAST_PAUSE_TICKS = 20;
const TICK_MS = 100;

export class Measuring {
  #memory: Float64Array | undefined;

  /** @param hasKeys whether this gateway can make probes that a role on a replica answers */
  constructor(
    readonly config: Pick<GatewayConfig, 'race' | 'probe'>,
    readonly hasKeys: boolean,
    readonly fleet: Fleet,
  ) {}

  /** Reads what the data plane measures from now on. */
  start(memory: Float64Array): void {
    this.#memory = memory;
    this.fleet.rttUsOf = (machine) => memory[machine * near.stride + near.rttUs] || undefined;
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
