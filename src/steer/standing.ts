/**
 * Compares what a steering set on this host with what stands there now. Other programs flush rulesets, delete rules and
 * take interfaces down; the role puts its own things back (`src/watch/`), and touches nothing of other software.
 */
import { nextHopArguments } from './next-hops.js';
import {
  LOCAL_RULE_MOVED,
  routeArguments,
  ruleArguments,
  type Steering,
  TUN_ADDRESS,
  tunSysctls,
} from './plan.js';
import { batch, command, readSysctl, writeSysctl } from './tools.js';

/** Kinds of things that a role sets on its host: the label `what` of `firstack_repairs_total`. */
export const SET_KINDS = ['table', 'rule', 'route', 'tun', 'sysctl', 'hook', 'pin'] as const;

/** One thing that does not stand as the role set it. */
export interface Deviation {
  what: (typeof SET_KINDS)[number];
  /** The thing itself: a rule, a route, an interface. */
  subject: string;
  /** What is wrong with it, as the end of a sentence that begins with the subject. */
  detail: string;
  repair(): Promise<void>;
}

export interface ListedRule {
  priority: number;
  table?: string;
  fwmark?: string;
  fwmask?: string;
  /** 'all', or an address. */
  src?: string;
  sport?: number;
}

/** `lookup` targets by number: `ip -N` prints the local table as 255. */
const LOCAL_TABLE = '255';
const ALL_BITS = 0xffffffff;

/**
 * Policy rules that are missing; with {@link Steering.beforeLocal} also the local table's rule where it stands before
 * the role's own again.
 * @param listed `ip -N -j rule show`
 * @param wanted arguments of `ip rule`
 * @param family options of `ip`
 */
export function ruleDeviations(
  listed: readonly ListedRule[],
  wanted: readonly string[][],
  beforeLocal: boolean,
  family: readonly string[] = [],
): Deviation[] {
  const name = ['ip', ...family, 'rule'].join(' ');
  const ip = async (...args: string[]): Promise<void> =>
    void (await command('ip', [...family, 'rule', ...args]));
  const removed = (rule: readonly string[]): Deviation => ({
    ...{ what: 'rule', subject: `${name} ${rule.join(' ')}`, detail: 'was removed' },
    repair: () => ip('add', ...rule),
  });
  const out = wanted.filter((rule) => !listed.some((r) => isRule(r, rule))).map(removed);
  if (!beforeLocal) return out;
  if (!listed.some(isLocal(LOCAL_RULE_MOVED)))
    out.push(removed(['pref', String(LOCAL_RULE_MOVED), 'lookup', 'local']));
  if (listed.some(isLocal(0)))
    out.push({
      what: 'rule',
      subject: `${name} pref 0 lookup local`,
      detail: "was put back before the role's own rule",
      repair: () => ip('del', 'pref', '0', 'lookup', 'local'),
    });
  return out;
}

const isLocal = (pref: number) => (r: ListedRule) =>
  r.priority === pref && r.table === LOCAL_TABLE && r.fwmark === undefined;

/**
 * Commands of `ip` that move the local table's rule to another preference. The new one is added before the old one is
 * deleted, so that the host is never without its local table.
 */
export function moveLocal(listed: readonly ListedRule[], from: number, to: number): string[][] {
  const local = (verb: string, pref: number) => ['rule', verb, 'pref', String(pref), 'lookup', 'local'];
  return [
    ...(listed.some(isLocal(to)) ? [] : [local('add', to)]),
    ...(listed.some(isLocal(from)) ? [local('del', from)] : []),
  ];
}

type Tables = Pick<Steering, 'table' | 'tunnelTable'>;

/**
 * Commands of `ip` that remove rules and the routes of their tables. Each rule is deleted twice: a role that was killed
 * and started again may have added it twice.
 */
export const removalOf = (s: Tables, rules: readonly string[][]): string[][] => [
  ...[...rules, ...rules].map((rule) => ['rule', 'del', ...rule]),
  ...[s.table, s.tunnelTable].map((table) => ['route', 'flush', 'table', String(table)]),
];

function isRule(r: ListedRule, rule: readonly string[]): boolean {
  const after = (key: string): string => rule[rule.indexOf(key) + 1];
  const [mark, mask] = after('fwmark').split('/').map(Number);
  return (
    r.priority === Number(after('pref')) &&
    r.table === after('lookup') &&
    Number(r.fwmark ?? 0) === mark &&
    Number(r.fwmask ?? ALL_BITS) === mask
  );
}

/** The only route of each of these tables, where it is missing or differs. */
async function routeDeviations(routes: readonly string[][]): Promise<Deviation[]> {
  const out: Deviation[] = [];
  for (const route of routes) {
    const table = route[route.indexOf('table') + 1];
    if (isRoute(await listRoutes(table), route)) continue;
    out.push({
      ...{ what: 'route', subject: `ip route ${route.join(' ')}`, detail: 'was removed or changed' },
      repair: async () => void (await command('ip', ['route', 'replace', ...route])),
    });
  }
  return out;
}

export interface ListedRoute {
  dst: string;
  dev?: string;
  gateway?: string;
  metrics?: { mtu?: number }[];
}

/** A table without routes does not exist, and `ip` says so as an error. */
async function listRoutes(table: string): Promise<ListedRoute[]> {
  const text = await command('ip', ['-N', '-j', 'route', 'show', 'table', table]).catch(() => '[]');
  return JSON.parse(text === '' ? '[]' : text) as ListedRoute[];
}

export function isRoute(listed: readonly ListedRoute[], route: readonly string[]): boolean {
  const after = (key: string): string | undefined =>
    route.includes(key) ? route[route.indexOf(key) + 1] : undefined;
  const mtu = route.includes('mtu') ? Number(route.at(-1)) : undefined;
  const [dev, via] = [after('dev'), after('via')];
  return listed.some(
    (r) =>
      r.dst === route[0] &&
      (dev === undefined || r.dev === dev) &&
      (via === undefined || r.gateway === via) &&
      r.metrics?.[0]?.mtu === mtu,
  );
}

interface ListedLink {
  ifname: string;
  flags: string[];
  addr_info: { local: string; prefixlen: number }[];
}

/**
 * The TUN's state and address, as one deviation: without them the kernel removes the TUN's routes too. A TUN that was
 * deleted ends the data plane, so it is not looked for here.
 */
async function tunDeviation(tun: string, routes: readonly string[][]): Promise<Deviation | undefined> {
  const text = await command('ip', ['-j', 'address', 'show', 'dev', tun]).catch(() => '[]');
  const link = (JSON.parse(text) as ListedLink[]).find((l) => l.ifname === tun);
  if (link === undefined) return undefined;
  const isDown = !link.flags.includes('UP');
  if (!isDown && link.addr_info.some((a) => `${a.local}/${a.prefixlen}` === TUN_ADDRESS)) return undefined;
  return {
    ...{ what: 'tun', subject: tun, detail: isDown ? 'was set down' : `lost its address ${TUN_ADDRESS}` },
    repair: () =>
      batch('ip', [
        ['address', 'replace', TUN_ADDRESS, 'dev', tun, 'scope', 'link'],
        ['link', 'set', 'dev', tun, 'up'],
        ...routes.map((route) => ['route', 'replace', ...route]),
      ]),
  };
}

/** Settings of a steering that differ now. */
export function sysctlDeviationsOf(s: Steering): Deviation[] {
  return tunSysctls(s.tun)
    .concat(s.sysctls)
    .flatMap(({ key, value }): Deviation[] => {
      let found: string;
      try {
        found = readSysctl(key);
      } catch {
        // The interface does not exist now.
        return [];
      }
      if (found === value) return [];
      return [
        {
          ...{ what: 'sysctl', subject: key, detail: `was set to ${found} (${value} is needed)` },
          repair: async () => writeSysctl(key, value),
        },
      ];
    });
}

/**
 * The policy rules of this host, tables by number.
 * @param family options of `ip`
 */
export async function listRules(family: readonly string[] = []): Promise<ListedRule[]> {
  return JSON.parse(await command('ip', [...family, '-N', '-j', 'rule', 'show'])) as ListedRule[];
}

/** Everything of a steering besides its nftables tables. */
export async function deviationsOf(
  s: Steering,
  numbers: Readonly<Record<string, number>>,
): Promise<Deviation[]> {
  const hops = s.nextHops;
  const via = hops === undefined ? [] : Object.entries(numbers).map(([a, n]) => nextHopArguments(hops, n, a));
  const rules = await listRules();
  const own = routeArguments(s);
  const tun = await tunDeviation(s.tun, own);
  return [
    ...(tun === undefined ? await routeDeviations(own) : [tun]),
    ...sysctlDeviationsOf(s),
    ...(await routeDeviations(via.map((v) => v.route))),
    ...ruleDeviations(rules, [...ruleArguments(s), ...via.map((v) => v.rule)], s.beforeLocal),
  ];
}

/**
 * A table as the kernel lists it, comparable as text: without handles, and without what the kernel adds to it by
 * itself. '' when there is no such table.
 */
export async function listTable(name: string): Promise<string> {
  // The remembered connections of the servers' table come and go.
  const terse = name.endsWith('_servers') ? ['-t'] : [];
  try {
    return comparable(await command('nft', ['-j', ...terse, 'list', 'table', 'inet', name]));
  } catch (error) {
    if (/No such file/.test((error as Error).message)) return '';
    throw error;
  }
}

export const changedTable = (name: string, isGone: boolean, repair: () => Promise<void>): Deviation => ({
  ...{ what: 'table', subject: `nftables table inet ${name}`, repair },
  detail: isGone ? 'was removed' : 'was changed',
});

/** @param json the output of `nft -j list table` */
export function comparable(json: string): string {
  const { nftables } = JSON.parse(json) as { nftables: Record<string, unknown>[] };
  const strip = (_key: string, value: unknown): unknown => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    const { handle: _handle, elem, ...rest } = value as Record<string, unknown>;
    return elem === undefined ? rest : { ...rest, elem: sorted(elem) };
  };
  return JSON.stringify(
    nftables.filter((x) => !('metainfo' in x)),
    strip,
  );
}

/** A set's elements have no order. */
const sorted = (elements: unknown): unknown =>
  Array.isArray(elements) ? elements.map((e) => JSON.stringify(e)).sort() : elements;
