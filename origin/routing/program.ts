/**
 * Service-level routing at the origin: a service-level router (SLR) of a site, a system or a network. It takes what is
 * sent to a virtual host, chooses a member of the next lower level by the first packet, and tunnels; answers never
 * pass here.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Metric } from '../../src/admin/metrics.js';
import { describeError, FirstackError, type Problem } from '../../src/errors.js';
import type { Attachment } from '../../src/fastpath/maps.js';
import type { KernelMode } from '../../src/fastpath/modes.js';
import { LoadedPolicy } from '../../src/policy/loaded.js';
import { type PolicyKind, readKey } from '../../src/policy/signed.js';
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
import type { View } from '../../src/registry/kinds.js';
import { HelloClient } from '../../src/routing/hello-client.js';
import { HelloServer } from '../../src/routing/hello-server.js';
import { hookAttachments, hookSet } from '../../src/routing/kernel-layout.js';
import { type Downward, sourceFields } from '../../src/routing/messages.js';
import { parseAggregate, parseCost } from '../../src/routing/policies.js';
import { secureOptions } from '../../src/routing/session.js';
import { ofV6, prefixOf } from '../../src/routing/virtual.js';
import { readHexKey } from '../../src/secret-files.js';
import { Advertised } from '../../src/steer/advertised.js';
import {
  checkForwarding,
  checkForwarding6,
  checkInterfaces,
  checkLocalAddress,
  type Host,
  leastMtu,
} from '../../src/steer/host.js';
import { AccessLink } from './access-link.js';
import { HELLO_PORT, problems, type SlrConfig, schema } from './config.js';
import { type CostOptions, Costs, type Modules, type Standing } from './costs.js';
import { distancesOf, roundTripsOf, routesIn } from './distances.js';
import { makeSnapshot } from './make-snapshot.js';
import { MemberNumbers } from './member-numbers.js';
import { routerMetrics } from './metrics.js';
import { readsOf } from './reads.js';
import type { SlrSnapshot } from './snapshot.js';
import type { SlrOptions } from './state.js';
import { steering } from './steering.js';

/** Between two looks at the distances in a kernel table. */
const DISTANCES_MS = 5000;

/** How long a router that leaves still carries what the network sends, until its routes are gone elsewhere. */
const LEAVE_MS = 1000;

export const program: Program<SlrConfig> = {
  name: 'routing',
  number: 1,
  kinds: [],
  schema,
  problems,
  create: (config, site) => new Slr(config, site),
};

/** @param measured distances that sessions and the host's routes tell */
const costOptions = (
  { policy, distances, weights, standbyReturn }: SlrConfig,
  measured: Readonly<Record<string, number>> = {},
): CostOptions => ({
  cost: parseCost(policy.cost),
  aggregate: parseAggregate(policy.aggregate),
  selection: policy.selection,
  distances: { ...measured, ...distances },
  weights,
  keepsStandby: standbyReturn === 'word',
});

/** How long a module may take for all members at once, its thread's start included; half an interval where that is more. */
const DEADLINE_MS = 100;

/** @throws FirstackError FSA_KEY_INVALID */
function modulesOf({ policy, hello }: SlrConfig, { events }: Site): Modules {
  const { costFile, aggregateFile, keyFile } = policy;
  if (keyFile === undefined) return {};
  let key: ReturnType<typeof readKey>;
  try {
    key = readKey(keyFile);
  } catch (error) {
    throw new FirstackError('FSA_KEY_INVALID', `${keyFile}: ${(error as Error).message}`);
  }
  const loaded = (path: string, kind: PolicyKind): LoadedPolicy =>
    new LoadedPolicy(path, kind, key, Math.max(DEADLINE_MS, hello.intervalMs / 2), events);
  return {
    ...(costFile === undefined ? {} : { cost: loaded(costFile, 'cost') }),
    ...(aggregateFile === undefined ? {} : { aggregate: loaded(aggregateFile, 'aggregate') }),
  };
}

class Slr implements Run {
  readonly topics = [];
  readonly plane: PlaneHalf;
  readonly kernel: KernelHalf;
  readonly fullness = {
    'pass.table-full':
      'the flow table is full (flows.max): new connections go by their slot, and are not remembered',
  };
  readonly #server: HelloServer;
  readonly #client: HelloClient;
  readonly #costs: Costs;
  readonly #modules: Modules;
  readonly #numbers = new MemberNumbers();
  #secure: ReturnType<typeof secureOptions>;
  /** The key of this level, 16 bytes. */
  readonly #levelKey: number[] | undefined;
  #context: RunContext | undefined;
  #timer: NodeJS.Timeout | undefined;
  #toldSources = '';
  readonly #advertised: Advertised | undefined;
  #leaving = false;
  readonly #link: AccessLink;
  /** As it is read again on SIGHUP. */
  #settings: SlrConfig;
  /** Distances that sessions and the host's routes tell, ms. */
  #measured: Record<string, number> = {};
  #distancesTimer: NodeJS.Timeout | undefined;

  constructor(
    readonly config: SlrConfig,
    readonly site: Site,
  ) {
    const { level, id, address, address6, hello, flows, seed } = config;
    this.#settings = config;
    this.#secure = secureOptions(hello);
    if (config.levelKeyFile !== undefined) this.#levelKey = readHexKey(config.levelKeyFile);
    this.#modules = modulesOf(config, site);
    this.#link = new AccessLink(config, site);
    this.#costs = new Costs(costOptions(config), undefined, this.#modules);
    const [host, port] = (hello.listen ?? `${address}:${HELLO_PORT}`).split(':');
    const onChange = (): void => this.#changed();
    this.#server = new HelloServer({
      ...{ host, port: Number(port), level, intervalMs: hello.intervalMs, events: site.events, onChange },
      welcome: () => this.#welcome(),
    });
    this.#client = new HelloClient({
      ...{ uppers: hello.uppers, id, level, address, address6, events: site.events, onChange },
      state: () => this.#upward(),
    });
    if (config.advertiseTable !== undefined) this.#advertised = new Advertised(config.advertiseTable);
    this.reads = readsOf({
      ...{ config, server: this.#server, client: this.#client, numbers: this.#numbers, link: this.#link },
      standings: () => this.#standings(),
      ask: async (question) => this.#context?.plane?.ask(question),
    });
    const options: SlrOptions = { flows, seed, epoch: Math.floor(Date.now() / 1000) };
    this.plane = { module: new URL('./pipeline.js', import.meta.url), options, holdSlots: 1, memory: {} };
    this.kernel = {
      hooks: hookSet(flows.max),
      attachments: (at) => this.#attachments(at),
      ipv6: ofV6(config.virtual).length > 0,
    };
  }

  #attachments(host: Host): Attachment[] {
    const { wan, lan, virtual } = this.config;
    return hookAttachments(host, [...new Set([...wan, ...lan])], 'slr_in', ofV6(virtual).length > 0);
  }

  claims(_view: View): Claim[] {
    return this.config.virtual.flatMap(({ subnet, protocols, ports }) => {
      const { bits } = prefixOf(subnet);
      const address = subnet.split('/')[0];
      return bits < 128
        ? []
        : protocols.flatMap((protocol) => ports.map((port) => ({ address, port, protocol })));
    });
  }

  check(host: Host): Problem[] {
    const { wan, lan, address, address6, shares, virtual } = this.config;
    const interfaces = [
      ...checkInterfaces(host, wan, 'wan'),
      ...checkInterfaces(host, lan, 'lan'),
      ...(shares === undefined ? [] : checkInterfaces(host, [shares.interface], 'shares.interface')),
    ];
    if (interfaces.length > 0) return interfaces;
    const mend = (whole: string): string => `ip address add ${whole} dev ${wan[0]}`;
    return [
      ...checkForwarding(host),
      ...(ofV6(virtual).length > 0 ? checkForwarding6(host) : []),
      ...checkLocalAddress(host, address, mend(`${address}/32`)),
      ...(address6 === undefined ? [] : checkLocalAddress(host, address6, mend(`${address6}/128`))),
      ...this.#link.check(),
    ];
  }

  duty(host: Host, _view: View, kernel: KernelMode): Duty {
    const { config } = this;
    const mtu = config.tun.mtu ?? leastMtu(host, [...config.wan, ...config.lan]);
    return {
      steering: steering(config, this.site.instance, mtu, kernel),
      snapshot: this.#snapshot(),
      tunMtu: mtu,
      names: {
        services: config.virtual.map((v) => v.name),
        members: [...this.#server.members.keys()].sort(),
      },
    };
  }

  /** The sources of this router's tunnels of IPv4. */
  get #source(): string {
    return this.config.sources ?? `${this.config.address}/32`;
  }

  /** The sources of all its tunnels. */
  get #ownSources(): string[] {
    const { address6 } = this.config;
    return address6 === undefined ? [this.#source] : [this.#source, `${address6}/128`];
  }

  #standings(): Map<string, Standing[]> {
    const members = [...this.#server.members.values()];
    return new Map(this.config.virtual.map((v) => [v.name, this.#costs.standings(v, members)]));
  }

  #snapshot(): SlrSnapshot {
    return makeSnapshot({
      ...{ config: this.config, source: this.#source, levelKey: this.#levelKey, numbers: this.#numbers },
      members: [...this.#server.members.values()],
      standings: this.#standings(),
      uppers: this.#client.known,
    });
  }

  #welcome(): Extract<Downward, { type: 'welcome' }> {
    const { id, level, address, address6, hello } = this.config;
    return {
      ...{ type: 'welcome', v: 1, id, level, address, address6, intervalMs: hello.intervalMs },
      ...sourceFields(this.#sources()),
    };
  }

  /** The sources of tunnels that members may expect: this router's, and those of all above it, for shortcuts. */
  #sources(): string[] {
    return [...new Set([...this.#ownSources, ...this.#client.sources])];
  }

  #upward(): ReturnType<Costs['aggregate']>[] {
    const members = [...this.#server.members.values()];
    return this.config.virtual.map((v) => {
      const state = this.#costs.aggregate(v, members);
      return this.#leaving ? { ...state, available: false } : state;
    });
  }

  /** A member or a router above came, left or said something new. */
  #changed(): void {
    this.#context?.refresh(true);
    const sources = this.#sources();
    if (sources.join() === this.#toldSources) return;
    this.#toldSources = sources.join();
    this.#server.tell({ type: 'sources', ...sourceFields(sources) });
  }

  async start(context: RunContext): Promise<void> {
    await this.#server.start(this.#secure);
    this.#context = context;
    this.#client.start(this.#secure);
    await this.#link.start();
    await this.#takeCosts();
    this.#distancesTimer = setInterval(() => void this.#takeCosts(), DISTANCES_MS);
    this.#timer = setInterval(() => {
      for (const module of Object.values(this.#modules)) module?.look(Date.now());
      void this.#costs
        .observe(this.config.virtual, this.#server.members.values())
        .then(() => context.refresh());
      void this.#advertise();
    }, this.config.hello.intervalMs);
  }

  /** Takes over the settings of costs, with what sessions and the host's routes tell of the members' distances. */
  async #takeCosts(): Promise<void> {
    const { distanceTable: table, measureDistances } = this.#settings;
    try {
      const members = [...this.#server.members.values()];
      this.#measured = {
        ...(measureDistances ? roundTripsOf(members) : {}),
        ...(table === undefined ? {} : distancesOf(await routesIn(table), members)),
      };
    } catch (error) {
      // What was read before stays.
      this.site.log.error({ error: describeError(error) }, 'the distances of members were not read');
    }
    this.#costs.options = costOptions(this.#settings, this.#measured);
  }

  /** The virtual hosts that members serve, and that the data plane knows since the last interval at least. */
  async #advertise(): Promise<void> {
    if (this.#advertised === undefined) return;
    const standings = this.#standings();
    const served = this.config.virtual.filter((v) => standings.get(v.name)!.some((s) => s.weight > 0));
    try {
      await this.#advertised.apply(this.#leaving ? [] : [...new Set(served.map((v) => v.subnet))]);
    } catch (error) {
      this.site.log.error({ error: describeError(error) }, 'routes to virtual hosts were not set');
    }
  }

  /** Takes over weights, distances, policy and shares; certificates and revocations are read again, and sessions go on. */
  async reload(config: SlrConfig | undefined): Promise<void> {
    const next = config ?? this.#settings;
    // What may fail comes first: then nothing has changed.
    const secure = secureOptions(next.hello);
    await this.#link.reload(next);
    this.#settings = next;
    await this.#takeCosts();
    this.#secure = secure;
    this.#server.renew(secure);
    this.#client.renew(secure);
  }

  async leave(): Promise<void> {
    this.#leaving = true;
    this.#client.tell();
    // The network leads here no more before this router takes nothing.
    await this.#advertise();
    if (this.#advertised !== undefined) await pause(LEAVE_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    clearInterval(this.#distancesTimer);
    await this.#link.stop();
    for (const module of Object.values(this.#modules)) module?.stop();
    await this.#advertised?.remove();
    this.#client.stop();
    await this.#server.stop();
  }

  summary(): string {
    const { level, id } = this.config;
    return `${level} router ${id}: ${this.#server.members.size} members, ${this.#client.uppers.length} routers above`;
  }

  status(): Record<string, unknown> {
    return {
      level: this.config.level,
      id: this.config.id,
      members: this.#server.members.size,
      uppers: this.#client.states,
      refused: this.#server.refused,
      advertised: this.#advertised?.routes ?? [],
      policies: Object.values(this.#modules).map((m) => m.state),
    };
  }

  readonly reads: Run['reads'];
  readonly actions = { 'give-back': () => this.#giveBack() };

  /** Members on standby give back what they took over. */
  #giveBack(): void {
    const hosts = this.#costs.giveBack();
    this.site.events.say('info', 'give-back', hosts.join(', ') || 'nothing', 'an operator requested it');
    this.#context?.refresh(true);
  }

  metrics(): Metric[] {
    const members = [...this.#server.members.values()];
    return [...routerMetrics(this.#standings(), members, performance.now()), ...this.#link.metrics()];
  }
}
