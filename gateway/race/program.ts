/** The race at a gateway: tags clients' SYNs, keeps the first acknowledgement, carries the flow to the winner. */
import type { Metric } from '../../src/admin/metrics.js';
import type { Problem } from '../../src/errors.js';
import type { KernelMode } from '../../src/fastpath/modes.js';
import type {
  Claim,
  Duty,
  KernelHalf,
  PlaneHalf,
  Program,
  Read,
  Run,
  RunContext,
  Site,
} from '../../src/program.js';
import { proximityKind, proximityTopic } from '../../src/proximity/record.js';
import { proximityRecord, seedsOf } from '../../src/proximity/site.js';
import { actingKind, actingOn, farewell, gatewayActs } from '../../src/race/acting.js';
import { Changes } from '../../src/race/changes.js';
import { hookSet } from '../../src/race/kernel-layout.js';
import {
  configurationMismatches,
  type GatewayRecord,
  gatewayKind,
  namesIn,
  raceKinds,
  racePart,
  raceServices,
  replicaKind,
  summaryOf,
} from '../../src/race/records.js';
import { missingKey } from '../../src/race/role-file.js';
import { tagVersion } from '../../src/race/tag-senders.js';
import { scopeProblems } from '../../src/registry/authority.js';
import type { RecordKind, View } from '../../src/registry/kinds.js';
import {
  checkForwardChains,
  checkForwarding,
  checkForwarding6,
  checkMasquerade,
  type Host,
  leastMtu,
} from '../../src/steer/host.js';
import { inBothFamilies } from '../../src/steer/ruleset.js';
import { isV4, isV6Text, type Prefix, parsePrefix } from '../../src/wire/address.js';
import { OVERHEAD } from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { attachments } from './attachments.js';
import { type GatewayConfig, overrides, schema } from './config.js';
import { Disputes } from './disputes.js';
import { Fleet } from './fleet.js';
import { snapshotOf } from './fleet-orders.js';
import { FULLNESS } from './fullness.js';
import { gatewayMemory } from './gauges.js';
import { Judge } from './judge.js';
import { describeReplica, describeService } from './known.js';
import { LeftOutWatch, leftOutMetric, whyLeftOut } from './left-out.js';
import { mayCarryV6, translatedLegs, tunLegs } from './legs.js';
import { Measuring } from './measuring.js';
import { type PathReport, PathWatch, pathMetrics, readPaths } from './paths.js';
import { holdSlots, pipelineOptions } from './pipeline-options.js';
import {
  FLOW_QUERY,
  type FlowFilter,
  flowReport,
  PROXIMITY_QUERY,
  type ProximityFilter,
  proximityReport,
  raceReport,
} from './reports.js';
import type { GatewayMemory } from './state.js';
import { steering } from './steering.js';

/** The number of race records in the ring; a power of two. */
const RACES_KEPT = 4096;
/** The most (service, client prefix) pairs in the table of learned times: 1.6 KB each, once they are used. */
const LEARNED_ENTRIES = 131_072;
/** How often machines are judged. */
const LOOK_MS = 500;
/** Which machines are the nearest is asked once in this many looks. */
const CHOSEN = 4;
/** Others that cannot be measured are asked in turn: those of the next turn after this many looks. */
const TURN = 60;
/** Learned times are published once in this many looks. */
const PUBLISHED = 2;

export const program: Program<GatewayConfig> = {
  name: 'race',
  number: 0,
  schema,
  service: racePart,
  kinds: [...raceKinds, actingKind as RecordKind, proximityKind as RecordKind],
  overrides,
  problems: missingKey,
  create: (config, site) => new GatewayRace(config, site),
};

class GatewayRace implements Run {
  readonly topics: readonly string[];
  readonly plane: PlaneHalf;
  readonly kernel: KernelHalf;
  readonly reads: Record<string, Read>;
  readonly fullness = FULLNESS;
  readonly #config: GatewayConfig;
  readonly #site: Site;
  readonly #clients: Prefix[];
  readonly #fleet: Fleet;
  readonly #disputes: Disputes;
  readonly #measuring: Measuring;
  readonly #judge: Judge;
  readonly #changes = new Changes();
  #context: RunContext | undefined;
  #leaving = false;
  /** As of the last duty. */
  #host: Host | undefined;
  readonly #leftOutWatch: LeftOutWatch;
  #timer: NodeJS.Timeout | undefined;
  #looks = 0;
  /** Whether what is sent has the present key (`src/trust/pair-keys.ts`). */
  #wasSettled: boolean;
  #wanMtu = 0;
  readonly #pathWatch: PathWatch;

  constructor(config: GatewayConfig, site: Site) {
    this.#config = config;
    this.#site = site;
    this.#clients = config.prefixes.map((p) => parsePrefix(p) as Prefix);
    this.#disputes = new Disputes(this.#clients, []);
    const { pairs } = site;
    const tagging = { pairs, hasOwnKey: config.tag.keyFile !== undefined };
    this.#fleet = new Fleet(config.race, undefined, this.#disputes, tagging);
    this.#measuring = new Measuring(config, tagging.hasOwnKey || pairs !== undefined, this.#fleet);
    this.#wasSettled = pairs?.isSettled ?? true;
    this.#pathWatch = new PathWatch(site.events);
    this.#leftOutWatch = new LeftOutWatch(site.log);
    this.#judge = new Judge(this.#fleet, site.events, config.judge);
    const shared = config.site === undefined ? [] : [proximityTopic(config.site)];
    this.topics = ['service', 'replica', 'gateway', 'origin', ...shared];
    this.plane = {
      module: new URL('./pipeline.js', import.meta.url),
      options: pipelineOptions(config),
      holdSlots: holdSlots(config),
      memory: gatewayMemory(RACES_KEPT, config.race === 'origin' ? 0 : LEARNED_ENTRIES),
    };
    this.kernel = {
      hooks: hookSet(config.flows.max),
      attachments: (host) => attachments(config, host),
      clients: this.#clients,
      translated: translatedLegs(config),
      whyNot: (host) => this.#whyNoFastpath(host),
    };
    this.reads = {
      races: {
        query: { last: { type: 'integer', minimum: 1, maximum: RACES_KEPT, default: 1 } },
        answer: ({ last }) => ({ races: this.#races(last as number) }),
      },
      proximity: {
        query: PROXIMITY_QUERY,
        answer: (query) => this.#proximity(query as unknown as ProximityFilter),
      },
      paths: { answer: () => ({ paths: this.#paths() }) },
      flows: {
        query: FLOW_QUERY,
        answer: async (query) => ({ flows: await this.#flows(query as unknown as FlowFilter) }),
      },
    };
  }

  get #memory(): GatewayMemory | undefined {
    return this.#context?.plane?.memory as GatewayMemory | undefined;
  }

  check(host: Host, view: View): Problem[] {
    const { wan } = this.#config;
    const legs = tunLegs(this.#config);
    const carriesV6 = this.#carriesV6(view);
    return [
      ...scopeProblems(this.#site.credential, gatewayKind, [this.#record(host, view)]),
      ...checkForwarding(host),
      ...(carriesV6 ? checkForwarding6(host) : []),
      ...checkForwardChains(host, carriesV6 ? inBothFamilies(legs) : legs),
      ...(this.#mayMasquerade(view) ? [] : checkMasquerade(host, wan, this.#clients)),
    ];
  }

  conflicts(host: Host, view: View): Problem[] {
    return [
      ...configurationMismatches(view, undefined, this.#config.configuration),
      ...this.#disputesOn(host).problems(view, this.#config.tag.gatewayId, this.#prefixesOutside(host)),
    ];
  }

  #disputesOn(host: Host): Disputes {
    const { lan, wan } = this.#config;
    const facing = host.interfaces.filter((i) => [...lan, ...wan].includes(i.name));
    this.#disputes.own = facing.flatMap((i) => i.addresses);
    return this.#disputes;
  }

  /**
   * In configuration A the SYNs of a gateway's own race leave from one address and their answers come back to it,
   * translated or not.
   */
  #mayMasquerade(view: View): boolean {
    return this.#config.race !== 'origin' && raceServices(view).every((s) => s.configuration === 'A');
  }

  /**
   * The addresses of this gateway's clients as others see them. Where the host translates sources, the clients'
   * prefixes are local to it, as in many offices at once; what the others see is the host's own address.
   */
  #prefixesOutside(host: Host): readonly string[] {
    const { prefixes, wan } = this.#config;
    if (!this.#isMasqueraded(host)) return prefixes;
    const own = host.interfaces.filter((i) => wan.includes(i.name)).flatMap((i) => i.addresses);
    return own.length === 0 ? prefixes : own.map((address) => `${address}/32`);
  }

  claims(view: View): Claim[] {
    return raceServices(view).flatMap(({ address, ports }) =>
      ports.map((port) => ({ address, port, protocol: 'tcp' as const })),
    );
  }

  #whyNoFastpath(host: Host): string {
    if (this.#config.local)
      return "the hooks see forwarded packets only, and this host's own sockets are clients (local: true)";
    return this.#isMasqueraded(host)
      ? 'this host translates sources on the WAN, which only its own stack can do'
      : '';
  }

  #isMasqueraded(host: Host): boolean {
    return checkMasquerade(host, this.#config.wan, this.#clients).length > 0;
  }

  duty(host: Host, view: View, kernel: KernelMode): Duty {
    this.#host = host;
    const config = this.#config;
    const fleet = this.#fleet;
    this.#disputesOn(host);
    fleet.update(view, config.configuration, this.#judge);
    this.#leftOutWatch.say(fleet.leftOut);
    const wanMtu = config.tun.mtu ?? leastMtu(host, config.wan);
    this.#wanMtu = wanMtu;
    const inside = wanMtu - OVERHEAD;
    return {
      steering: steering(config, this.#site.instance, fleet, {
        tunnelMtu: inside,
        masqueraded: this.#isMasqueraded(host),
        kernel,
      }),
      snapshot: {
        tagVersion: tagVersion(view, this.#site.credential !== undefined),
        near: this.#measuring.order(view),
        probeSource6: this.#clients.find((p) => !isV4(p.address))?.address,
        ...snapshotOf(
          fleet,
          wanMtu,
          inside - ipv4.MIN_HEADER - tcp.MIN_HEADER,
          seedsOf(view, config.tag.gatewayId, config.site, fleet, this.#measuring),
          this.#clients.find((p) => isV4(p.address))?.address[3] ?? 0,
        ),
      },
      tunMtu: wanMtu,
      names: { ...namesIn(view), ejected: this.#judge.ejectedIds },
    };
  }

  async start(context: RunContext): Promise<void> {
    this.#context = context;
    const { races, usage, near } = this.#memory!;
    this.#fleet.machines.nextRace = () => races[0];
    this.#fleet.usage = usage;
    this.#measuring.start(near, () => context.refresh(true));
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#publish();
  }

  #carriesV6(view: View): boolean {
    return mayCarryV6(this.#config) && raceServices(view).some((s) => isV6Text(s.address));
  }

  #publish(): void {
    if (this.#context === undefined) return;
    const { registry } = this.#context;
    registry.publish(gatewayKind, this.#record(this.#host!, registry.view));
  }

  #record(host: Host, view: View): GatewayRecord {
    // Prefixes of IPv6 only where tags are for them: roles of an earlier version cannot read such a record.
    const tagsV6 = raceServices(view).some((s) => isV6Text(s.address) && s.configuration !== 'A');
    const prefixes = this.#prefixesOutside(host).filter((p) => tagsV6 || !isV6Text(p));
    return { v: 1, id: this.#config.tag.gatewayId, prefixes };
  }

  /** The data plane acts by the last duty. */
  performed(view: View): void {
    this.#judge.performed();
    for (const { subject, message } of this.#changes.take(view))
      this.#site.events.say('info', 'machine', subject, message);
    this.#publish();
    if (!this.#leaving)
      this.#context?.registry.publish(actingKind, actingOn(view, gatewayActs(this.#config.tag.gatewayId)));
  }

  async leave(): Promise<void> {
    this.#leaving = true;
    this.#context?.registry.publish(actingKind, farewell(gatewayActs(this.#config.tag.gatewayId)));
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#measuring.stop();
  }

  /** Runs twice a second: judges the machines, forgets those that have left, publishes learned times. */
  #look(): void {
    const { registry, refresh } = this.#context!;
    const { races, learned, evidence } = this.#memory!;
    const { site, race, tag } = this.#config;
    if (this.#looks % TURN === 0) this.#fleet.forgetBefore(races[0] - RACES_KEPT);
    const isForgetting = this.#fleet.isForgetting;
    this.#pathWatch.look(this.#paths());
    const haveChanged = race !== 'origin' && this.#judge.look(evidence, learned, performance.now());
    const isSettled = this.#site.pairs?.isSettled ?? true;
    const isOutdated = this.#looks % CHOSEN === 0 && this.#fleet.isOutdated(Math.floor(this.#looks / TURN));
    const isUrgent = haveChanged || isOutdated;
    if (isUrgent || isForgetting || isSettled !== this.#wasSettled) refresh(isUrgent);
    this.#wasSettled = isSettled;
    if (this.#looks++ % PUBLISHED === 0 && race !== 'origin' && site !== undefined)
      registry.publish(proximityKind, proximityRecord(tag.gatewayId, site, learned, this.#fleet));
  }

  summary(): string {
    return this.#context === undefined ? '' : summaryOf(this.#context.registry.view);
  }

  status(): Record<string, unknown> {
    return {
      race: this.#config.race,
      services: this.#fleet.services.map(describeService),
      replicas:
        this.#context?.registry.view
          .of(replicaKind)
          .map((r) => this.#describeReplica(r.id, describeReplica(r))) ?? [],
      machines:
        this.#memory === undefined ? [] : this.#judge.report(this.#memory.evidence, performance.now()),
      paths: this.#paths(),
      leftOut: Object.fromEntries(Object.entries(this.#fleet.leftOut).map(([what, ids]) => [what, ids.size])),
    };
  }

  #describeReplica(id: string, described: Record<string, unknown>): Record<string, unknown> {
    const why = whyLeftOut(this.#fleet.leftOut, id);
    return {
      ...described,
      ...this.#measuring.describe(id),
      ...(why === undefined ? {} : { leftOut: why }),
      ...(this.#fleet.leftOut.replicas.has(id) ? { isFarther: true } : {}),
    };
  }

  metrics(): Metric[] {
    return [
      leftOutMetric(this.#fleet.leftOut),
      {
        name: 'firstack_endpoints',
        help: 'Addresses and ports that speak for a service here.',
        type: 'gauge',
        samples: [{ labels: {}, value: this.#fleet.endpointCount }],
      },
      ...(this.#memory === undefined
        ? []
        : [...this.#judge.metrics(this.#memory.evidence), ...this.#measuring.metrics(this.#memory.learned)]),
      ...pathMetrics(this.#paths()),
    ];
  }

  #races(count: number): unknown[] {
    if (this.#context === undefined) return [];
    const { race } = this.#config;
    return raceReport(this.#memory!, count, this.#fleet, race, this.#context.registry.viewAgeMs);
  }

  #flows(filter: FlowFilter): Promise<unknown[]> {
    const plane = this.#context?.plane;
    return plane === undefined ? Promise.resolve([]) : flowReport((q) => plane.ask(q), filter, this.#fleet);
  }

  #paths(): PathReport[] {
    return this.#memory === undefined ? [] : readPaths(this.#memory.paths, this.#fleet, this.#wanMtu);
  }

  #proximity(filter: ProximityFilter): Record<string, unknown> {
    const learned = this.#memory?.learned;
    return learned === undefined ? { proximity: [] } : proximityReport(learned, this.#fleet, filter);
  }
}
