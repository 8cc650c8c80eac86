/**
 * The race at a replica: decapsulates copies of SYNs, and sends the local web server's answers in the form of the
 * configuration.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Problem } from '../../src/errors.js';
import type { Attachment } from '../../src/fastpath/maps.js';
import type { KernelMode } from '../../src/fastpath/modes.js';
import { checkLine, Health } from '../../src/health/health.js';
import { CpuMeter, countConnections } from '../../src/health/host-load.js';
import { ProbeResponder } from '../../src/probe/responder.js';
import type {
  Claim,
  Duty,
  KernelHalf,
  PlaneHalf,
  Program,
  Run,
  RunContext,
  Site,
} from '../../src/program.js';
import { actingKind } from '../../src/race/acting.js';
import { endpointConflict } from '../../src/race/claims.js';
import { hookSet } from '../../src/race/kernel-layout.js';
import { MODES } from '../../src/race/modes.js';
import {
  configurationMismatches,
  namesIn,
  type ReplicaRecord,
  type ReplicaState,
  raceKinds,
  racePart,
  raceServices,
  replicaKind,
  replicaPort,
  summaryOf,
} from '../../src/race/records.js';
import { readMaster } from '../../src/race/role-file.js';
import { Senders } from '../../src/race/senders.js';
import { relayKeys } from '../../src/race/tag-senders.js';
import { scopeProblems } from '../../src/registry/authority.js';
import type { RecordKind, View } from '../../src/registry/kinds.js';
import { type Host, isOfHost, leastMtu } from '../../src/steer/host.js';
import { type Address, isV6Text, parse } from '../../src/wire/address.js';
import { OVERHEAD } from '../../src/wire/ipip.js';
import { checkHost } from './checks.js';
import { overrides, problems, type ReplicaConfig, schema } from './config.js';
import { Drain } from './drain.js';
import { SenderKeys } from './sender-keys.js';
import type { ReplicaPipelineOptions, ReplicaSnapshot } from './state.js';
import { type Carried, steering } from './steering.js';
import { Translated } from './translated.js';

const LOAD_MS = 1000;
/** The most SYNs that are delayed by load at a time. */
const HOLD_SLOTS = 4096;
/** The delay changes in steps, so that small changes of load do not reload the data plane. */
const PENALTY_STEP_US = 500;
/** How long a stopping replica waits for connections to end at the most, and how often it counts them. */
const LEAVE_MS = 2000;
const LEAVE_LOOK_MS = 50;
/**
 * Consecutive counts of 0 connections that end the wait: a SYN that was just accepted is included in the second
 * count.
 */
const LEAVE_LOOKS = 2;
/** A busy replica is up again below this share of its limits. */
const RELAX = 0.9;

export const program: Program<ReplicaConfig> = {
  name: 'race',
  number: 0,
  schema,
  service: racePart,
  kinds: [...raceKinds, actingKind as RecordKind],
  overrides,
  problems,
  create: (config, site) => new ReplicaRace(config, site),
};

class ReplicaRace implements Run {
  // Other replicas' records are read at the start only, to check whether this replica's address and port are taken.
  readonly topics = ['service', 'gateway', 'acting'];
  readonly plane: PlaneHalf;
  readonly kernel: KernelHalf;
  readonly fullness = {
    'drop.table-full':
      'the flow table is full (flows.max): this replica takes no new connections, others or the origin do',
  };
  readonly #keys: SenderKeys;
  readonly #responder: ProbeResponder;
  readonly #health: Health | undefined;
  readonly #cpu = new CpuMeter();
  #host: Host | undefined;
  #context: RunContext | undefined;
  #timer: NodeJS.Timeout | undefined;
  #state: ReplicaState = 'inactive';
  #reason = 'starting';
  #connections = 0;
  readonly #translated = new Translated();
  #cpuPct = 0;
  #penaltyTold = 0;
  readonly #drain: Drain;
  readonly #senders = new Senders();
  #leaving = false;
  readonly actions = { drain: () => this.#setDrain(true), resume: () => this.#setDrain(false) };

  constructor(
    readonly config: ReplicaConfig,
    readonly site: Site,
  ) {
    this.#keys = new SenderKeys({
      master: readMaster(config.tag),
      pairs: site.pairs,
      onlySigned: site.onlySigned === true,
    });
    this.#drain = new Drain(site.instance);
    this.#responder = new ProbeResponder(config.address, this.#keys);
    const options: ReplicaPipelineOptions = {
      flows: config.flows,
      newPerSecond: config.limits.newPerSecond ?? 0,
    };
    this.plane = {
      module: new URL('./pipeline.js', import.meta.url),
      options,
      holdSlots: HOLD_SLOTS,
      memory: {},
    };
    this.kernel = {
      hooks: hookSet(config.flows.max),
      attachments: (host) => this.#attachments(host),
    };
    if (config.health !== undefined) this.#health = new Health(config.health, () => this.#judge());
  }

  claims(view: View): Claim[] {
    const own = { address: this.config.address, protocol: 'tcp' as const };
    return this.#carried(view).flatMap((s) => [
      { address: s.address, port: s.port, protocol: 'tcp' as const },
      ...(s.configuration === 'C' ? [] : [{ ...own, port: s.localPort }]),
    ]);
  }

  check(host: Host, view: View): Problem[] {
    return [
      ...scopeProblems(this.site.credential, replicaKind, [this.#record()]),
      ...checkHost(host, this.config, this.#carried(view)),
    ];
  }

  conflicts(_host: Host, view: View): Problem[] {
    const names = this.config.services.map((s) => s.name);
    const conflict = endpointConflict(view, this.#record());
    return [
      ...configurationMismatches(view, names, this.config.configuration),
      ...(conflict === undefined
        ? []
        : [{ code: 'FSA_ENDPOINT_TAKEN', message: `services: ${conflict}` } as const]),
    ];
  }

  /** This replica's services, one entry per port, as far as their origins have published them. */
  #carried(view: View): Carried[] {
    const told = this.config.configuration;
    return this.config.services.flatMap((ours) => {
      const service = raceServices(view).find((s) => s.name === ours.name);
      if (service === undefined || (told !== undefined && told !== service.configuration)) return [];
      return service.ports.map((port) => ({
        name: service.name,
        address: service.address,
        port,
        localPort: replicaPort(ours, port),
        configuration: service.configuration,
      }));
    });
  }

  #attachments(host: Host): Attachment[] {
    return this.config.wan.flatMap((name) => {
      const ethernet = host.interfaces.find((i) => i.name === name)?.ethernet !== false;
      return [
        { interface: name, direction: 'ingress' as const, hook: 'replica_in', ethernet },
        { interface: name, direction: 'egress' as const, hook: 'replica_out', ethernet },
      ];
    });
  }

  duty(host: Host, view: View, kernel: KernelMode): Duty {
    this.#host = host;
    const { address6 } = this.config;
    // In configuration A connections over IPv6 come from the gateway as they are.
    const isSteered = (s: Carried): boolean =>
      !isV6Text(s.address) || (s.configuration === 'C' && address6 !== undefined);
    const steered = this.#carried(view).filter(isSteered);
    const words = (text: string): Address => parse(text) as Address;
    const wanMtu = this.config.tun.mtu ?? leastMtu(host, this.config.wan);
    this.#judge();
    const snapshot: ReplicaSnapshot = {
      address: words(this.config.address),
      ...(address6 === undefined ? {} : { address6: words(address6) }),
      state: this.#state,
      penaltyUs: this.#penaltyUs(),
      services: steered.map((s) => ({
        address: words(s.address),
        port: s.port,
        localPort: s.localPort,
        mode: MODES[s.configuration],
        originKeys: relayKeys(view, s.name, this.site.pairs),
      })),
      gateways: this.#keys.update(view),
    };
    return {
      steering: steering(this.config, this.site.instance, steered, wanMtu - OVERHEAD, kernel),
      snapshot,
      tunMtu: wanMtu,
      names: namesIn(view),
    };
  }

  async start(context: RunContext): Promise<void> {
    this.#context = context;
    await this.#responder.start();
    await this.#health?.start();
    this.#measure();
    this.#judge();
    this.#publish();
    this.#timer = setInterval(() => {
      this.#measure();
      this.#judge();
      this.#publish();
    }, LOAD_MS);
  }

  /** Called by an operator's command: begins or ends a drain. */
  #setDrain(wanted: boolean): void {
    if (wanted) this.#drain.begin();
    else this.#drain.end();
    this.#judge();
  }

  /** [404, 406] Decides between inactive, busy and up, with the reason. Requests a new duty when that changes. */
  #judge(): void {
    if (this.#context === undefined) return;
    const [state, reason] = this.#assess(this.#context.registry.view);
    const changed = state !== this.#state || (reason !== this.#reason && this.#drain.progress !== undefined);
    this.#state = state;
    this.#reason = reason;
    if (!changed) return;
    this.site.log.info({ state, reason }, 'state');
    this.#publish();
    this.#context.refresh();
  }

  #assess(view: View): [ReplicaState, string] {
    const { limits } = this.config;
    const carried = this.#carried(view);
    if (carried.length === 0) return ['inactive', 'none of its services is published with its configuration'];
    // Its answers would not leave: it would only be asked in vain.
    const broken = this.check(this.#host!, view).filter((p) => isOfHost(p.code));
    if (broken.length > 0) return ['inactive', broken[0].message];
    if (this.#health !== undefined && !this.#health.healthy) return ['inactive', this.#health.reason];
    if (this.#leaving) return ['draining', 'being stopped'];
    const { progress } = this.#drain;
    if (progress === 'draining') return ['draining', 'an operator requested it'];
    if (progress === 'drained') return ['inactive', 'drained: its last connection has ended'];
    const relax = this.#state === 'busy' ? RELAX : 1;
    if (this.#connections >= limits.connections * relax)
      return ['busy', `${this.#connections} connections, the limit is ${limits.connections}`];
    if (limits.cpuPct < 100 && this.#cpuPct >= limits.cpuPct * relax)
      return ['busy', `processor at ${Math.round(this.#cpuPct)} %, the limit is ${limits.cpuPct} %`];
    return ['up', ''];
  }

  /** 0 … 1, of the resource with the highest use. A processor limit of 100 % is not counted. */
  #load(): number {
    const { limits } = this.config;
    const cpu = limits.cpuPct < 100 ? this.#cpuPct / limits.cpuPct : 0;
    return Math.min(1, Math.max(this.#connections / limits.connections, cpu));
  }

  #penaltyUs(): number {
    const exact = this.config.loadPenaltyMs * this.#load() * 1000;
    return Math.floor(exact / PENALTY_STEP_US) * PENALTY_STEP_US;
  }

  #record(): ReplicaRecord {
    const { id, address, address6 } = this.config;
    return {
      ...{ v: 1, id, address, ...(address6 === undefined ? {} : { address6 }) },
      services: [...this.config.services],
      state: this.#state,
      reason: this.#reason,
      connections: this.#connections,
      load: Math.round(this.#load() * 100) / 100,
      capacity: this.config.limits.connections,
      clock: this.config.clock,
    };
  }

  #measure(): void {
    const carried = this.#carried(this.#context!.registry.view);
    const ports = new Set(carried.map((s) => s.localPort));
    const addresses = carried.flatMap((s) => [s.address, this.config.address]);
    void this.#translated.look(new Set(addresses), ports, performance.now());
    this.#connections = countConnections(ports) + this.#translated.count;
    this.#senders.look(this.#context!.registry.view);
    this.#drain.observe(this.#connections, this.#unacknowledged().length === 0);
    this.#cpuPct = this.#cpu.read();
  }

  /** Who may still give this replica new connections, although it drains. */
  #unacknowledged(): string[] {
    const { registry } = this.#context!;
    const known = this.#senders.unacknowledged(registry.view, this.config.id);
    // By the last view they may all have taken it over, and others may have come since.
    return registry.connected
      ? known
      : [...known, 'the registry is lost: a gateway may not know of the drain'];
  }

  #publish(): void {
    if (this.#context === undefined) return;
    this.#context.registry.publish(replicaKind, this.#record());
    if (this.#penaltyUs() !== this.#penaltyTold) this.#context.refresh();
    this.#penaltyTold = this.#penaltyUs();
  }

  /**
   * Takes no new connections. In configurations B and C connections depend on this process, so it waits for
   * handshakes in progress and short transfers; for longer ones there is the drain.
   */
  async leave(): Promise<void> {
    this.#leaving = true;
    this.#judge();
    const carried = this.#carried(this.#context!.registry.view).filter((s) => s.configuration !== 'A');
    const ports = new Set(carried.map((s) => s.port));
    const until = performance.now() + LEAVE_MS;
    for (let empty = 0; ports.size > 0 && empty < LEAVE_LOOKS && performance.now() < until; ) {
      await pause(LEAVE_LOOK_MS);
      empty = countConnections(ports) === 0 ? empty + 1 : 0;
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#health?.stop();
    this.#responder.stop();
    this.#drain.end();
  }

  summary(): string {
    return this.#context === undefined ? '' : summaryOf(this.#context.registry.view);
  }

  status(): Record<string, unknown> {
    return {
      id: this.config.id,
      state: this.#state,
      reason: this.#reason,
      check: this.config.health === undefined ? '' : checkLine(this.config.health),
      drain: this.#drain.progress ?? null,
      unacknowledged: this.#drain.progress === 'draining' ? this.#unacknowledged() : [],
      load: Math.round(this.#load() * 100) / 100,
      connections: this.#connections,
      cpuPct: Math.round(this.#cpuPct),
      services: this.#context === undefined ? [] : this.#carried(this.#context.registry.view),
    };
  }
}
