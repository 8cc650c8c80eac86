/** The origin role: copies tagged SYNs to the live replicas, in time, and on to its own server. */
import type { Problem } from '../src/errors.js';
import { gatewayKeys, type KeyFile, probeKey, readKeyFile } from '../src/keys.js';
import { Candidates, ORIGIN } from '../src/race/candidates.js';
import { type RaceRecord, RECORDED, readRaces, ringBytes } from '../src/race/record.js';
import { schedule } from '../src/race/release.js';
import {
  endpointConflict,
  type ReplicaRecord,
  type ServiceRecord,
  type View,
} from '../src/registry/records.js';
import { type Duty, type Role, type RoleContext, type RoleFlags, runRole } from '../src/role.js';
import {
  checkForwardChains,
  checkForwarding,
  checkLocalAddress,
  type Host,
  leastMtu,
} from '../src/steer/host.js';
import { type Address, type Prefix, parse, parsePrefix } from '../src/wire/address.js';
import { type OriginConfig, readOriginConfig } from './config.js';
import { Prober } from './prober.js';
import type { OriginPipelineOptions, OriginSnapshot } from './state.js';
import { steering } from './steering.js';

/** How often distances are looked at, and how much one must change to be told. */
const DISTANCES_MS = 250;
const WORTH_TELLING_US = 200;
/** SYNs that may wait for their release at once, server's and copies together. */
const HOLD_SLOTS = 16384;
/** Race records that are kept. */
const RACES_KEPT = 4096;

const bit = (candidate: number): number => (candidate < RECORDED ? 1 << candidate : 0);

export async function main(flags: RoleFlags): Promise<number> {
  return runRole(new Origin(readOriginConfig(flags)), flags);
}

class Origin implements Role {
  readonly name = 'origin';
  readonly module = new URL('./pipeline.js', import.meta.url);
  readonly pipelineOptions: OriginPipelineOptions;
  readonly holdSlots = HOLD_SLOTS;
  readonly raceBytes = ringBytes(RACES_KEPT);
  readonly #candidates = new Candidates();
  readonly learnedBytes = 0;
  readonly topics = ['service', 'replica', 'gateway', 'origin'];
  readonly #master: KeyFile;
  readonly #prober: Prober;
  /** By replica id; as used in the present schedule. */
  readonly #distancesUs = new Map<string, number>();
  #context: RoleContext | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(readonly config: OriginConfig) {
    this.#master = readKeyFile(config.tag.keyFile, 'master');
    this.#prober = new Prober(config.address, probeKey(this.#master));
    this.pipelineOptions = { flows: { max: Math.min(config.flows.max, 65536) } };
  }

  check(host: Host, view: View): Problem[] {
    const { wan, lan, tun, address } = this.config;
    const legs = [...wan, ...lan].flatMap((other) => [{ iif: tun.name, oif: other }]);
    return [
      ...this.#conflicts(view),
      ...checkLocalAddress(host, address, 'copies could not be sent from it'),
      ...checkForwarding(host),
      ...checkForwardChains(host, [...legs, ...wan.map((w) => ({ iif: w, oif: tun.name }))]),
    ];
  }

  /** Another origin, or the file, has published one of our services differently. */
  #conflicts(view: View): Problem[] {
    return this.#services().flatMap((ours) => {
      const theirs = view.services.find((s) => s.name === ours.name);
      const others =
        view.origins?.some((o) => o.id !== this.config.instance && o.services.includes(ours.name)) ?? true;
      if (theirs === undefined || !others || theirs.configuration === ours.configuration) return [];
      return [
        {
          code: 'FSA_CONFIGURATION_MISMATCH',
          message: `service ${ours.name} is published with configuration ${theirs.configuration}, this role was started with ${ours.configuration}`,
        },
      ];
    });
  }

  #services(): ServiceRecord[] {
    return this.config.services.map((s) => ({
      v: 1,
      name: s.name,
      address: s.address,
      ports: s.ports,
      configuration: (s.configuration ?? this.config.configuration)!,
      replicable: s.replicable,
      raceWindowMs: s.raceWindowMs,
    }));
  }

  duty(host: Host, view: View): Duty {
    const { config } = this;
    const ours = new Set(config.services.map((s) => s.name));
    this.#prober.setTargets(view.replicas.filter((r) => r.services.some((s) => ours.has(s.name))));
    const words = (text: string): Address => parse(text) as Address;
    const snapshot: OriginSnapshot = {
      address: words(config.address),
      gateways: view.gateways.map((g) => ({
        id: g.id,
        prefixes: g.prefixes.map((p) => parsePrefix(p) as Prefix),
        keys: gatewayKeys(this.#master, g.id),
      })),
      services: this.#services().flatMap((service) => {
        const live = view.replicas.filter((r) => this.#whyNotRaced(view, service, r) === '');
        const plan = schedule(
          config.release,
          live.map((r) => this.#distancesUs.get(r.id) ?? 0),
          service.raceWindowMs * 1000,
        );
        return service.ports.map((port) => ({
          address: words(service.address),
          port,
          replicable: service.replicable,
          serverDelayUs: plan.serverDelayUs,
          copies: live.map((r, i) => ({
            address: words(r.address),
            delayUs: plan.delayUs[i],
            candidate: this.#candidates.slotOf(r.id),
          })),
          candidates: live.reduce((bits, r) => bits | bit(this.#candidates.slotOf(r.id)), bit(ORIGIN)),
        }));
      }),
    };
    const mtu = config.tun.mtu ?? leastMtu(host, config.wan);
    return { steering: steering(config), snapshot, tunMtu: mtu };
  }

  /** Why a replica takes no part in this service's races; '' when it does. */
  #whyNotRaced(view: View, service: ServiceRecord, r: ReplicaRecord): string {
    if (!r.services.some((s) => s.name === service.name)) return 'does not carry the service';
    if (r.state !== 'up') return `${r.state}${r.reason === '' ? '' : `: ${r.reason}`}`;
    const conflict = endpointConflict(view, r);
    if (conflict !== undefined) return conflict;
    if (this.#distancesUs.has(r.id)) return '';
    return 'its distance is not known: it does not answer probes (UDP 7417)';
  }

  async start(context: RoleContext): Promise<void> {
    this.#context = context;
    await this.#prober.start();
    for (const service of this.#services()) context.registry.publish('service', service);
    this.#publish();
    this.#timer = setInterval(() => this.#followDistances(), DISTANCES_MS);
  }

  /** Takes over distances that changed, came or went, and asks for a new schedule. */
  #followDistances(): void {
    const { log, registry, refresh } = this.#context!;
    let changed = false;
    const known = new Set(registry.view.replicas.map((r) => r.id));
    for (const id of this.#distancesUs.keys())
      if (!known.has(id)) changed = this.#distancesUs.delete(id) || changed;
    for (const r of registry.view.replicas) {
      const now = this.#prober.distanceUs(r.address, this.#synchronized(r));
      const before = this.#distancesUs.get(r.id);
      if (now === undefined) {
        if (before === undefined) continue;
        this.#distancesUs.delete(r.id);
        log.warn({ replica: r.id }, 'a replica no longer answers probes: not raced');
      } else if (before === undefined || Math.abs(now - before) >= WORTH_TELLING_US) {
        this.#distancesUs.set(r.id, now);
        if (before === undefined)
          log.info({ replica: r.id, distanceMs: now / 1000 }, 'a replica is measured');
      } else continue;
      changed = true;
    }
    if (!changed) return;
    this.#publish();
    refresh();
  }

  /** Timestamps of two hosts are compared only where both say that their clocks allow it. */
  #synchronized(r: ReplicaRecord): boolean {
    return this.config.clock === 'synchronized' && r.clock === 'synchronized';
  }

  #publish(): void {
    const { config } = this;
    this.#context?.registry.publish('origin', {
      v: 1,
      id: config.instance,
      address: config.address,
      services: config.services.map((s) => s.name),
      release: config.release,
      distancesMs: Object.fromEntries([...this.#distancesUs].map(([id, us]) => [id, Math.round(us) / 1000])),
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#context !== undefined) this.#prober.stop();
  }

  status(): Record<string, unknown> {
    const view = this.#context?.registry.view;
    const { release } = this.config;
    const candidate = (r: ReplicaRecord, service: ServiceRecord): Record<string, unknown> => {
      const us = this.#distancesUs.get(r.id);
      const distanceMs = us === undefined ? null : us / 1000;
      const beyondWindow = distanceMs !== null && distanceMs > service.raceWindowMs;
      const excessMs = release === 'synchronized' && beyondWindow ? distanceMs - service.raceWindowMs : 0;
      const why = this.#whyNotRaced(view!, service, r);
      return {
        id: r.id,
        service: service.name,
        state: r.state,
        distanceMs,
        measure: this.#synchronized(r) ? 'one-way' : 'rtt/2',
        raced: why === '',
        why,
        excessMs,
      };
    };
    return {
      release,
      held: this.#context?.plane.gauges[0] ?? 0,
      services: this.#services(),
      candidates: this.#services().flatMap((s) => (view?.replicas ?? []).map((r) => candidate(r, s))),
    };
  }

  /** The origin's account of races: when each copy left. Who answered, only the gateway knows. */
  races(count: number): RaceRecord[] {
    if (this.#context === undefined) return [];
    const services = this.#services().flatMap((s) => s.ports.map(() => s));
    return readRaces(this.#context.plane.races, count, {
      candidate: (slot) => this.#candidates.idOf(slot),
      service: (n) => services[n] && { ...services[n], release: this.config.release },
      race: 'origin',
      viewAgeMs: Math.round(this.#context.registry.viewAgeMs),
    });
  }
}
