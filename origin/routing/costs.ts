/**
 * Which members may get new connections of each virtual host, and how many: what members said, put together with the
 * routing distance by the operator's policy, each interval [9000–9400].
 * Numbers in brackets: operations of the source "System, method and apparatus for network service load and reliability
 * management".
 */
import { preferenceOf } from '../../src/balance/maglev.js';
import type { Preference } from '../../src/balance/slots.js';
import type { Expression } from '../../src/policy/expression.js';
import type { LoadedPolicy } from '../../src/policy/loaded.js';
import type { Member } from '../../src/routing/hello-server.js';
import type { SubnetState } from '../../src/routing/messages.js';
import { scopeOf, weightAmong, weightOf } from '../../src/routing/policies.js';
import { covers, prefixOf, type VirtualSubnet } from '../../src/routing/virtual.js';

/** A member's standing for one virtual host. */
export interface Standing {
  id: string;
  load: number;
  servers: number;
  /** ms */
  distance: number;
  /** Smoothed; NaN where the policy gave none. */
  cost: number;
  weight: number;
  /** Why it gets no new connections; '' where it does. */
  leftOut: string;
}

export interface CostOptions {
  cost: Expression;
  aggregate: Expression;
  selection: 'weights' | 'outliers' | 'least';
  /** ms, by member. */
  distances: Readonly<Record<string, number>>;
  /** By member: a factor of the weight that it says itself. */
  weights: Readonly<Record<string, number>>;
  /** Whether members on standby that took over keep a host until {@link Costs.giveBack}; else until others are available. */
  keepsStandby: boolean;
}

/** A member, and what it says about a host. */
interface Known {
  m: Member;
  state: SubnetState;
}

/** The part of a new cost in the smoothed one. */
const NEW = 0.5;

/** The operator's own functions (`src/policy/loaded.ts`). */
export interface Modules {
  cost?: LoadedPolicy;
  aggregate?: LoadedPolicy;
}

export class Costs {
  /** By host and member: the smoothed cost. */
  readonly #smooth = new Map<string, number>();
  /** Hosts that members for every day have served, and those that members on standby have taken over since, and keep. */
  readonly #served = new Set<string>();
  readonly #kept = new Set<string>();
  /** By host: the last good load that a module gave for all members. */
  readonly #aggregates = new Map<string, number>();

  constructor(
    public options: CostOptions,
    readonly now: () => Date = () => new Date(),
    readonly modules: Modules = {},
  ) {}

  /** Takes over what members say now into the smoothed costs; once per interval. */
  async observe(hosts: readonly VirtualSubnet[], members: Iterable<Member>): Promise<void> {
    const all = [...members];
    const pairs = hosts.flatMap((host) =>
      all.flatMap((m) => {
        const state = stateFor(host, m);
        return state === undefined ? [] : [{ host, m, state, name: `${host.name} ${m.id}` }];
      }),
    );
    const seen = new Set(pairs.map((p) => p.name));
    for (const name of this.#smooth.keys()) if (!seen.has(name)) this.#smooth.delete(name);
    const { cost: module, aggregate } = this.modules;
    const ofModule = pairs.filter((p) => module?.covers(p.host.name) === true);
    for (const { m, state, name, host } of pairs)
      if (module?.covers(host.name) !== true)
        this.#take(name, this.options.cost.evaluate(scopeOf(state, this.#distance(m.id), this.now())));
    if (module !== undefined && ofModule.length > 0) {
      const values = await module.call(ofModule.map(({ m, state }) => this.#row(m.id, state)));
      values.forEach((value, n) => {
        this.#take(ofModule[n].name, value);
      });
    }
    for (const host of hosts)
      if (aggregate?.covers(host.name) === true) await this.#aggregateBy(aggregate, host, all);
    for (const host of hosts) {
      const { main, standby } = this.#available(
        host,
        pairs.filter((p) => p.host === host),
      );
      if (main.length > 0) this.#served.add(host.name);
      if (standby.length === 0) this.#kept.delete(host.name);
      else if (main.length === 0 && this.#served.has(host.name)) this.#kept.add(host.name);
    }
  }

  /** Gives back what members on standby have taken over. @returns the hosts' names */
  giveBack(): string[] {
    const names = [...this.#kept];
    this.#kept.clear();
    return this.options.keepsStandby ? names : [];
  }

  /** The members that could serve a host: those for every day, and those on standby. */
  #available(host: VirtualSubnet, known: readonly Known[]): { main: Known[]; standby: Known[] } {
    const ready = known.filter(
      ({ m, state }) => state.available && Number.isFinite(this.#costOf(host, m.id)),
    );
    return {
      main: ready.filter(({ state }) => state.standby !== true),
      standby: ready.filter(({ state }) => state.standby === true),
    };
  }

  #costOf(host: VirtualSubnet, id: string): number {
    return this.#smooth.get(`${host.name} ${id}`) ?? Number.NaN;
  }

  /** A policy that gives no number, or one below 0, leaves the last good one. */
  #take(name: string, cost: number): void {
    const before = this.#smooth.get(name);
    if (!Number.isFinite(cost) || cost < 0) return;
    this.#smooth.set(name, before === undefined ? cost : before + NEW * (cost - before));
  }

  /** The arguments of a module's `cost`. */
  #row(id: string, { load, servers }: SubnetState): number[] {
    const at = this.now();
    return [load, this.#distance(id), servers, at.getHours() + at.getMinutes() / 60, at.getDay()];
  }

  async #aggregateBy(module: LoadedPolicy, host: VirtualSubnet, all: readonly Member[]): Promise<void> {
    const rows = all.flatMap((m) => {
      const state = stateFor(host, m);
      if (state?.available !== true) return [];
      const cost = this.#smooth.get(`${host.name} ${m.id}`) ?? 0;
      return [[state.load, this.#distance(m.id), state.servers, cost]];
    });
    const [value] = await module.call(rows);
    if (Number.isFinite(value)) this.#aggregates.set(host.name, value);
  }

  /** Each member's standing for a virtual host, in the order of their names. */
  standings(host: VirtualSubnet, members: Iterable<Member>): Standing[] {
    const known = [...members]
      .flatMap((m) => {
        const state = stateFor(host, m);
        return state === undefined ? [] : [{ m, state }];
      })
      .sort((a, b) => (a.m.id < b.m.id ? -1 : 1));
    const costOf = (id: string): number => this.#costOf(host, id);
    const { main, standby } = this.#available(host, known);
    const isKept = this.options.keepsStandby && standby.length > 0 && this.#kept.has(host.name);
    const chosen = new Set((isKept || main.length === 0 ? standby : main).map(({ m }) => m));
    const other = isKept ? 'the standby keeps this until it is given back' : 'standby: others are available';
    const shareOf = this.#shares([...chosen].map((m) => costOf(m.id)));
    return known.map(({ m, state }) => {
      const cost = costOf(m.id);
      const leftOut = !state.available
        ? 'it says that it is not available'
        : !Number.isFinite(cost)
          ? 'the policy gives it no cost'
          : chosen.has(m)
            ? ''
            : other;
      return {
        ...{
          id: m.id,
          load: state.load,
          servers: state.servers,
          distance: this.#distance(m.id),
          cost,
          leftOut,
        },
        weight: leftOut === '' ? shareOf(cost) * this.#weight(m.id, state) : 0,
      };
    });
  }

  /** What a cost leaves of a member's weight. @param costs of all members that may be chosen */
  #shares(costs: readonly number[]): (cost: number) => number {
    const { selection } = this.options;
    if (selection === 'outliers') return weightAmong(costs);
    const least = costs.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    return (cost) => (selection === 'least' && cost > least ? 0 : weightOf(cost, least));
  }

  #weight(id: string, { weight, servers }: SubnetState): number {
    return (weight ?? servers) * (this.options.weights[id] ?? 1);
  }

  #distance(id: string): number {
    return this.options.distances[id] ?? 0;
  }

  /** The state of a virtual host for the level above [9310, 9320]. */
  aggregate(host: VirtualSubnet, members: Iterable<Member>): SubnetState {
    const all = [...members].flatMap((m) => {
      const state = stateFor(host, m);
      return state?.available === true ? [{ m, state }] : [];
    });
    const scopes = all.map(({ m, state }) =>
      scopeOf(state, this.#distance(m.id), this.now(), this.#smooth.get(`${host.name} ${m.id}`)),
    );
    const ofModule =
      this.modules.aggregate?.covers(host.name) === true ? this.#aggregates.get(host.name) : undefined;
    const own = ofModule ?? this.options.aggregate.evaluate(() => undefined, scopes);
    const load = all.length === 0 ? 1 : own;
    return {
      subnet: host.subnet,
      load: Number.isFinite(load) ? Math.min(1, Math.max(0, load)) : 1,
      available: all.length > 0,
      servers: all.reduce((n, { state }) => n + state.servers, 0),
      weight: all.reduce((n, { m, state }) => n + this.#weight(m.id, state), 0),
      ...(all.length > 0 && all.every(({ state }) => state.standby === true) ? { standby: true } : {}),
    };
  }
}

/** What a member says about a virtual host: of the narrowest of its subnets that covers the host. */
export function stateFor(host: VirtualSubnet, member: Member): SubnetState | undefined {
  const wanted = prefixOf(host.subnet);
  const covering = member.subnets.filter((s) => covers(prefixOf(s.subnet), wanted));
  return covering.reduce<SubnetState | undefined>(
    (best, s) => (best === undefined || prefixOf(s.subnet).bits > prefixOf(best.subnet).bits ? s : best),
    undefined,
  );
}

/** The slots' table for standings: empty where no member is available. */
export const preferencesOf = (standings: readonly Standing[]): (Preference & { id: string })[] =>
  standings.filter((s) => s.weight > 0).map(({ id, weight }) => ({ ...preferenceOf(id), weight, id }));
