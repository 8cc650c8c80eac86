/** The origin role: copies tagged SYNs to the live replicas, in time, and on to its own server. */
import { createHash } from 'node:crypto';
import { FirstackError, type Problem } from '../../src/errors.js';
import { gatewayKeys, type KeyFile, probeKey, readKeyFile } from '../../src/keys.js';
import { Prober } from '../../src/probe/prober.js';
import { Candidates, ORIGIN } from '../../src/proximity/candidates.js';
import { type RaceRecord, RECORDED, readRaces, ringBytes } from '../../src/race/record.js';
import { schedule } from '../../src/race/release.js';
import {
  endpointConflict,
  type ReplicaRecord,
  type ServiceRecord,
  type View,
} from '../../src/registry/records.js';
import { type Duty, type Role, type RoleContext, runRole } from '../../src/role.js';
import type { RoleFlags } from '../../src/role-config.js';
import {
  checkAdjacent,
  checkForwardChains,
  checkForwarding,
  checkLocalAddress,
  type Host,
  leastMtu,
} from '../../src/steer/host.js';
import type { NextHops } from '../../src/steer/next-hops.js';
import { type Address, type Prefix, parse, parsePrefix } from '../../src/wire/address.js';
import { type OriginConfig, type OriginService, readOriginConfig } from './config.js';
import { Servers } from './servers.js';
import type { OriginPipelineOptions, OriginServicePlan, OriginSnapshot } from './state.js';
import { steering } from './steering.js';

/** How often distances are looked at, and how much one must change to be told. */
const DISTANCES_MS = 250;
const WORTH_TELLING_US = 200;
/** SYNs that may wait for their release at once, server's and copies together. */
const HOLD_SLOTS = 16384;
/** Race records that are kept. */
const RACES_KEPT = 4096;

const remoteSlots = (remote: OriginServicePlan['remote']): number[] =>
  remote?.servers.map((s) => s.candidate) ?? [];
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
  readonly #servers: Servers;
  /** Of the hash that spreads connections over servers: the same in every origin that has the master key. */
  readonly #seed: number;
  /** The services of the file, with the servers that they have now. */
  #ours: readonly OriginService[];
  #context: RoleContext | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(readonly config: OriginConfig) {
    this.#ours = config.services;
    this.#master = readKeyFile(config.tag.keyFile, 'master');
    this.#prober = new Prober(config.address, probeKey(this.#master));
    this.#seed = seedOf(this.#master);
    this.pipelineOptions = { flows: { max: Math.min(config.flows.max, 65536) }, seed: this.#seed };
    this.#servers = new Servers((service, server, reason) => {
      this.#context?.log.info(
        { service, server, reason },
        reason === '' ? 'a server is up' : 'a server is down',
      );
      this.#context?.refresh();
    });
  }

  check(host: Host, view: View): Problem[] {
    const { wan, lan, tun, address } = this.config;
    const legs = [...wan, ...lan].flatMap((other) => [{ iif: tun.name, oif: other }]);
    return [
      ...this.#conflicts(view),
      ...checkLocalAddress(host, address, 'copies could not be sent from it'),
      ...this.#adjacent().servers.flatMap((server) => checkAdjacent(host, lan, server)),
      ...(this.config.local ? this.#services().flatMap((s) => checkService(host, s)) : []),
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
    return this.#ours.map((s) => ({
      v: 1,
      name: s.name,
      address: s.address,
      ports: s.ports,
      configuration: (s.configuration ?? this.config.configuration)!,
      replicable: s.replicable,
      raceWindowMs: s.raceWindowMs,
      ...(s.servers === undefined ? {} : { servers: s.servers }),
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
        const able = view.replicas.filter((r) => this.#whyNotRaced(view, service, r) === '');
        const live = service.replicable ? able : [];
        const remote = this.#remote(service, able);
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
          candidates: [...live.map((r) => this.#candidates.slotOf(r.id)), ...remoteSlots(remote)].reduce(
            (bits, candidate) => bits | bit(candidate),
            bit(ORIGIN),
          ),
          ...(remote === undefined ? {} : { remote }),
        }));
      }),
    };
    const mtu = config.tun.mtu ?? leastMtu(host, config.wan);
    return { steering: steering(config, this.#adjacent()), snapshot, tunMtu: mtu };
  }

  /** The remote servers of a service, and which connections fall to them. */
  #remote(service: ServiceRecord, able: readonly ReplicaRecord[]): OriginServicePlan['remote'] {
    const ours = this.#ours.find((s) => s.name === service.name)!;
    const servers = ours.servers ?? [];
    const remote = servers.filter((s) => able.some((r) => r.id === s.replica));
    if (remote.length === 0) return undefined;
    const place = servers.map((s) => remote.indexOf(s));
    const slots = this.#servers.allSlots(ours, (id) => able.some((r) => r.id === id));
    return {
      slots: slots.map((server) => (server < 0 ? -1 : place[server])),
      servers: remote.map(({ replica }) => ({
        address: parse(able.find((r) => r.id === replica)!.address) as Address,
        candidate: this.#candidates.slotOf(replica!),
      })),
    };
  }

  /** The adjacent servers of all services, and which connections fall to each. */
  #adjacent(): Pick<NextHops, 'servers' | 'services' | 'seed'> {
    const services = this.#ours;
    const addresses = services.flatMap((s) => (s.servers ?? []).flatMap((x) => x.address ?? []));
    const servers = [...new Set(addresses)];
    return {
      seed: this.#seed,
      servers,
      services: services.flatMap((service) => {
        const own = service.servers ?? [];
        if (!own.some((s) => s.address !== undefined)) return [];
        const place = own.map((s) => (s.address === undefined ? -1 : servers.indexOf(s.address)));
        const slots = this.#servers.slots(service).map((server) => (server < 0 ? -1 : place[server]));
        return service.ports.map((port) => ({ address: service.address, port, slots }));
      }),
    };
  }

  /**
   * Takes over the servers that the role's file has now: weights, new ones, ones no longer there.
   * @throws FirstackError FSA_CONFIG_*; then nothing has changed
   */
  async reload(flags: RoleFlags): Promise<void> {
    const { services } = readOriginConfig(flags);
    const told = (s: OriginService): string =>
      JSON.stringify({ ...s, servers: undefined, health: undefined });
    if (services.map(told).join() !== this.#ours.map(told).join())
      throw new FirstackError('FSA_CONFIG_VALUE', 'only servers and their health change without a restart');
    await this.#servers.watch(services);
    this.#ours = services;
    for (const service of this.#services()) this.#context!.registry.publish('service', service);
    this.#context!.refresh();
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
    await this.#servers.watch(this.#ours);
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
      services: this.#ours.map((s) => s.name),
      release: config.release,
      distancesMs: Object.fromEntries([...this.#distancesUs].map(([id, us]) => [id, Math.round(us) / 1000])),
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#servers.stop();
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
      /** Of the hash that spreads connections: with it anybody can tell where one goes. */
      serverSeed: this.#seed,
      servers: this.#servers.status(this.#ours, (id) => this.#whyRemoteIsNot(view, id)),
      candidates: this.#services().flatMap((s) => (view?.replicas ?? []).map((r) => candidate(r, s))),
    };
  }

  #whyRemoteIsNot(view: View | undefined, id: string): string {
    const replica = view?.replicas.find((r) => r.id === id);
    if (view === undefined || replica === undefined) return 'the registry does not know it';
    const service = this.#services().find((s) => s.servers?.some((x) => x.replica === id))!;
    return this.#whyNotRaced(view, service, replica);
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

function checkService(host: Host, { address }: ServiceRecord): Problem[] {
  return checkLocalAddress(
    host,
    address,
    `this host is its server (local: true): ip address add ${address}/32 dev lo`,
  );
}

function seedOf(master: KeyFile): number {
  return createHash('sha256').update('servers').update(probeKey(master)).digest().readUInt32LE(0);
}
