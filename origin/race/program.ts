/** The race at an origin: copies tagged SYNs to the live replicas, in time, and on to its own server. */
import { FirstackError, type Problem } from '../../src/errors.js';
import type { CandidateNumber } from '../../src/flow/numbers.js';
import { probeKey } from '../../src/keys.js';
import { Prober } from '../../src/probe/prober.js';
import type { Claim, Duty, PlaneHalf, Program, Read, Run, RunContext, Site } from '../../src/program.js';
import { Numbers } from '../../src/proximity/candidates.js';
import { actingKind, actingOn, farewell, originActs } from '../../src/race/acting.js';
import { Holders } from '../../src/race/holders.js';
import { ringBytes } from '../../src/race/record-layout.js';
import { type RaceRecord, readRaces } from '../../src/race/record-read.js';
import {
  namesIn,
  type OriginRecord,
  originKind,
  type RaceService,
  type ReplicaRecord,
  raceKinds,
  racePart,
  raceServices,
  replicaKind,
  serviceRecordOf,
  summaryOf,
} from '../../src/race/records.js';
import { readMaster } from '../../src/race/role-file.js';
import { keyToward, type Receiver } from '../../src/race/tag-senders.js';
import { scopeProblems } from '../../src/registry/authority.js';
import type { RecordKind, View } from '../../src/registry/kinds.js';
import { serviceKind } from '../../src/registry/service.js';
import {
  checkAdjacent,
  checkForwardChains,
  checkForwarding,
  checkLocalAddress,
  type Host,
  leastMtu,
} from '../../src/steer/host.js';
import { isV6Text } from '../../src/wire/address.js';
import type { SipKey } from '../../src/wire/siphash.js';
import { type OriginConfig, type OriginService, overrides, problems, schema } from './config.js';
import { Distances } from './distances.js';
import { adjacentServers, snapshotOf, whyNotRaced } from './plan.js';
import { Servers, seedOf } from './servers.js';
import { gauges, type OriginMemory, type OriginPipelineOptions } from './state.js';
import { steering } from './steering.js';

/** How often distances are read from the prober. */
const DISTANCES_MS = 250;
/** The most SYNs that wait for their release, the server's SYNs and copies together. */
const HOLD_SLOTS = 16384;
/** The number of race records in the ring; a power of two. */
const RACES_KEPT = 4096;

export const program: Program<OriginConfig> = {
  name: 'race',
  number: 0,
  schema,
  service: racePart,
  kinds: [...raceKinds, actingKind as RecordKind],
  overrides,
  problems,
  create: (config, site) => new OriginRace(config, site),
};

class OriginRace implements Run {
  readonly topics = ['service', 'replica', 'gateway', 'origin'];
  readonly plane: PlaneHalf;
  readonly reads: Record<string, Read>;
  readonly fullness = {
    'late.hold-queue-full': 'too many SYNs wait for their release: some copies leave at once, and race early',
  };
  readonly #config: OriginConfig;
  readonly #site: Site;
  readonly #candidates = new Numbers<CandidateNumber>();
  readonly #holders = new Holders();
  readonly #receiver: Receiver;
  readonly #probeKey: SipKey | undefined;
  #wasSettled = true;
  readonly #prober: Prober;
  readonly #distances: Distances;
  readonly #servers: Servers;
  /** Seed of the hash that spreads connections over servers: the same in every origin of a fleet. */
  readonly #seed: number;
  /** The services of the file, with their present servers. */
  #ours: readonly OriginService[];
  #context: RunContext | undefined;
  #leaving = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(config: OriginConfig, site: Site) {
    this.#config = config;
    this.#site = site;
    this.#ours = config.services;
    const { pairs, onlySigned } = site;
    const master = readMaster(config.tag);
    this.#receiver = { master, pairs, onlySigned: onlySigned === true };
    this.#probeKey = master && probeKey(master);
    this.#wasSettled = pairs?.isSettled ?? true;
    this.#prober = new Prober(config.address);
    this.#distances = new Distances(this.#prober, config.clock === 'synchronized', site.log);
    this.#seed = seedOf(this.#probeKey, site.fleet);
    const options: OriginPipelineOptions = {
      flows: { max: Math.min(config.flows.max, 65536) },
      seed: this.#seed,
    };
    this.plane = {
      module: new URL('./pipeline.js', import.meta.url),
      options,
      holdSlots: HOLD_SLOTS,
      memory: { races: ringBytes(RACES_KEPT) },
    };
    this.reads = {
      races: {
        query: { last: { type: 'integer', minimum: 1, maximum: RACES_KEPT, default: 1 } },
        answer: ({ last }) => ({ races: this.#races(last as number) }),
      },
    };
    this.#servers = new Servers((service, server, reason) => this.#onServer(service, server, reason));
  }

  /** A server's health has changed. */
  #onServer(service: string, server: string, reason: string): void {
    const { events } = this.#site;
    const subject = `${service}/${server}`;
    if (reason === '') events.say('info', 'server-up', subject, `server ${server} of ${service} is up`);
    else events.say('warn', 'server-down', subject, `server ${server} of ${service} is down: ${reason}`);
    const isDown = this.#servers.areAllDown(service, this.#ours);
    const before = this.#withoutServer.has(service);
    if (isDown && !before)
      events.say('error', 'no-server', service, `${service}: every server of this origin is down: ${reason}`);
    if (isDown) this.#withoutServer.add(service);
    else this.#withoutServer.delete(service);
    this.#context?.refresh();
  }
  readonly #withoutServer = new Set<string>();

  check(host: Host): Problem[] {
    const { wan, lan, tun, address, local } = this.#config;
    const legs = [...wan, ...lan].flatMap((other) => [{ iif: tun.name, oif: other }]);
    const { credential } = this.#site;
    return [
      ...scopeProblems(credential, originKind, [this.#record()]),
      ...scopeProblems(credential, serviceKind, this.#fileServices().map(serviceRecordOf)),
      ...checkLocalAddress(host, address, 'copies could not be sent from it'),
      ...this.#adjacent().servers.flatMap((server) => checkAdjacent(host, lan, server)),
      ...(local ? this.#services().flatMap((s) => checkService(host, s)) : []),
      ...checkForwarding(host),
      ...checkForwardChains(host, [...legs, ...wan.map((w) => ({ iif: w, oif: tun.name }))]),
    ];
  }

  /** Another origin has published one of this origin's services with another configuration. */
  conflicts(_host: Host, view: View): Problem[] {
    return this.#contradicted(view).map(({ ours, theirs }) => ({
      code: 'FSA_CONFIGURATION_MISMATCH',
      message: `service ${ours.name} is published with configuration ${theirs.configuration}, this role was started with ${ours.configuration}`,
    }));
  }

  #contradicted(view: View): { ours: RaceService; theirs: RaceService }[] {
    return this.#fileServices().flatMap((ours) => {
      const theirs = raceServices(view).find((s) => s.name === ours.name);
      const others =
        !view.tells(originKind) ||
        view.of(originKind).some((o) => o.id !== this.#site.instance && o.services.includes(ours.name));
      const differs = theirs !== undefined && others && theirs.configuration !== ours.configuration;
      return differs ? [{ ours, theirs }] : [];
    });
  }

  claims(): Claim[] {
    return this.#ours.flatMap(({ address, ports }) =>
      ports.map((port) => ({ address, port, protocol: 'tcp' as const })),
    );
  }

  /** The services of the file, except those that another origin held when this one came. */
  #services(): RaceService[] {
    return this.#fileServices().filter((s) => !this.#leftOut.has(s.name));
  }
  #leftOut: ReadonlySet<string> = new Set();
  readonly #published = new Set<string>();

  #fileServices(): RaceService[] {
    return this.#ours.map((s) => ({
      name: s.name,
      address: s.address,
      ports: s.ports,
      configuration: (s.configuration ?? this.#config.configuration)!,
      replicable: s.replicable,
      raceWindowMs: s.raceWindowMs,
      ...(s.servers === undefined ? {} : { servers: s.servers }),
    }));
  }

  duty(host: Host, view: View): Duty {
    const config = this.#config;
    const contradicted = this.#contradicted(view).map(({ ours }) => ours.name);
    this.#leftOut = new Set(contradicted.filter((name) => !this.#published.has(name)));
    const ours = new Set(config.services.map((s) => s.name));
    const replicas = view.of(replicaKind);
    this.#probe(replicas.filter((r) => r.services.some((s) => ours.has(s.name))));
    this.#forgetGone(replicas);
    const snapshot = snapshotOf(
      {
        address: config.address,
        release: config.release,
        receiver: this.#receiver,
        candidates: this.#candidates,
        holders: this.#holders,
        servers: this.#servers,
        ours: this.#ours,
        services: this.#services().filter((s) => !isV6Text(s.address)),
        distancesUs: this.#distances.us,
      },
      view,
    );
    return {
      steering: steering(config, this.#site.instance, this.#adjacent()),
      snapshot,
      tunMtu: config.tun.mtu ?? leastMtu(host, config.wan),
      names: namesIn(view),
    };
  }

  /** Measures the distances of replicas, each with the key that it shares with this origin, or with the fleet's. */
  #probe(replicas: readonly ReplicaRecord[]): void {
    this.#prober.setTargets(
      replicas.flatMap((r) => {
        const pair = keyToward(r, this.#receiver.pairs);
        const key = pair === undefined ? this.#probeKey : Int32Array.from(pair.words);
        return key === undefined ? [] : [{ id: r.id, address: r.address, key }];
      }),
    );
  }

  performed(view: View): void {
    this.#publishServices();
    this.#publish();
    if (!this.#leaving)
      this.#context?.registry.publish(actingKind, actingOn(view, originActs(this.#site.instance)));
  }

  /** An origin keeps no flows, so the number of a machine that has left is free at once. */
  #forgetGone(replicas: readonly ReplicaRecord[]): void {
    const known = new Set(replicas.map((r) => r.id));
    for (const id of this.#numbered) if (!known.has(id)) this.#candidates.release(id);
    this.#numbered = known;
  }
  #numbered: ReadonlySet<string> = new Set();

  #adjacent(): ReturnType<typeof adjacentServers> {
    return adjacentServers(this.#ours, this.#servers, this.#seed);
  }

  /**
   * Takes over the servers of the re-read role file: weights, added servers, removed servers.
   * @throws FirstackError FSA_CONFIG_*; then nothing has changed
   */
  async reload({ services }: OriginConfig): Promise<void> {
    const told = (s: OriginService): string =>
      JSON.stringify({ ...s, servers: undefined, health: undefined });
    if (services.map(told).join() !== this.#ours.map(told).join())
      throw new FirstackError('FSA_CONFIG_VALUE', 'only servers and their health change without a restart');
    await this.#servers.watch(services);
    this.#ours = services;
    this.#publishServices();
    this.#context!.refresh();
  }

  async start(context: RunContext): Promise<void> {
    this.#context = context;
    this.#candidates.nextRace = () => (context.plane!.memory as unknown as OriginMemory).races[0];
    await this.#prober.start();
    await this.#servers.watch(this.#ours);
    this.#publishServices();
    this.#publish();
    this.#timer = setInterval(() => this.#followDistances(), DISTANCES_MS);
  }

  /** Requests a new schedule when distances have changed. */
  #followDistances(): void {
    const { registry, refresh } = this.#context!;
    const isSettled = this.#receiver.pairs?.isSettled ?? true;
    if (isSettled !== this.#wasSettled) refresh();
    this.#wasSettled = isSettled;
    if (!this.#distances.follow(registry.view.of(replicaKind))) return;
    this.#publish();
    refresh();
  }

  #publishServices(): void {
    if (this.#context === undefined) return;
    for (const s of this.#services()) {
      this.#context.registry.publish(serviceKind, serviceRecordOf(s));
      this.#published.add(s.name);
    }
  }

  #publish(): void {
    this.#context?.registry.publish(originKind, this.#record());
  }

  #record(): OriginRecord {
    const { address, release } = this.#config;
    return {
      v: 1,
      id: this.#site.instance,
      address,
      services: this.#services().map((s) => s.name),
      release,
      distancesMs: Object.fromEntries([...this.#distances.us].map(([id, us]) => [id, Math.round(us) / 1000])),
    };
  }

  async leave(): Promise<void> {
    this.#leaving = true;
    this.#context?.registry.publish(actingKind, farewell(originActs(this.#site.instance)));
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#servers.stop();
    if (this.#context !== undefined) this.#prober.stop();
  }

  summary(): string {
    return this.#context === undefined ? '' : summaryOf(this.#context.registry.view);
  }

  status(): Record<string, unknown> {
    const view = this.#context?.registry.view;
    const replicas = view?.of(replicaKind) ?? [];
    return {
      release: this.#config.release,
      held: this.#context?.plane?.gauge(gauges.names[gauges.held]) ?? 0,
      services: this.#services(),
      /** Seed of the hash that spreads connections: with it an operator can compute a connection's server. */
      serverSeed: this.#seed,
      servers: this.#servers.status(this.#ours, (id) => this.#whyRemoteIsNot(view, id)),
      candidates: this.#services().flatMap((s) => replicas.map((r) => this.#describe(view!, r, s))),
    };
  }

  #describe(view: View, r: ReplicaRecord, service: RaceService): Record<string, unknown> {
    const us = this.#distances.us.get(r.id);
    const distanceMs = us === undefined ? null : us / 1000;
    const beyondWindow = distanceMs !== null && distanceMs > service.raceWindowMs;
    const excessMs =
      this.#config.release === 'synchronized' && beyondWindow ? distanceMs - service.raceWindowMs : 0;
    const why = this.#whyNotRaced(view, service, r);
    return {
      id: r.id,
      address: r.address,
      service: service.name,
      state: r.state,
      distanceMs,
      measure: this.#distances.isOneWay(r) ? 'one-way' : 'rtt/2',
      raced: why === '',
      why,
      excessMs,
    };
  }

  #whyRemoteIsNot(view: View | undefined, id: string): string {
    const replica = view?.of(replicaKind).find((r) => r.id === id);
    if (view === undefined || replica === undefined) return 'the registry does not know it';
    const service = this.#services().find((s) => s.servers?.some((x) => x.replica === id))!;
    return this.#whyNotRaced(view, service, replica);
  }

  #whyNotRaced(view: View, service: RaceService, r: ReplicaRecord): string {
    return whyNotRaced({ holders: this.#holders, distancesUs: this.#distances.us }, view, service, r);
  }

  /** The origin's records of races: when each copy left. Only the gateway knows which machine answered. */
  #races(count: number): RaceRecord[] {
    if (this.#context === undefined) return [];
    const { races } = this.#context.plane!.memory as unknown as OriginMemory;
    const services = this.#services().flatMap((s) => s.ports.map(() => s));
    return readRaces(races, count, {
      candidate: (_service, slot, conn) => this.#candidates.idOf(slot, conn),
      machine: (number, conn) => this.#candidates.idOf(number, conn),
      service: (n) => services[n] && { ...services[n], release: this.#config.release },
      race: 'origin',
      viewAgeMs: Math.round(this.#context.registry.viewAgeMs),
    });
  }
}

function checkService(host: Host, { address }: RaceService): Problem[] {
  return checkLocalAddress(
    host,
    address,
    `this host is the service's server (local: true): ip address add ${address}/32 dev lo`,
  );
}
