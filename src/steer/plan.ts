/**
 * Steering as text: which packets reach a role's TUN. One nftables table per instance sets a masked mark; an `ip
 * rule` on it leads to a routing table whose only route is the TUN. When the TUN is removed, the kernel removes the
 * route too, and marked packets fall through to the main table: fail open.
 *
 * Roles fill in {@link Steering}; `apply.ts` applies it.
 */

import { type NextHops, nextHopArguments, nextHopsText } from './next-hops.js';

export interface Source {
  address: string;
  port: number;
}

/** The steering that a role requests. */
export interface Steering {
  instance: string;
  tun: string;
  /** The mark's value, and the bits of the mark that this instance sets; it leaves the other bits alone. */
  mark: number;
  mask: number;
  /** Routing table, and preference of the rule that leads to it. */
  table: number;
  priority: number;
  /**
   * For packets that will be encapsulated: a mark and a table of their own, whose route has a locked MTU of {@link
   * tunnelMtu}. Encapsulated packets that come from the TUN may have the interface's whole MTU.
   */
  tunnelMark: number;
  /** The mark of packets that hooks translated before the stack sees them: the rules do not change these packets. */
  pinnedMark: number;
  tunnelTable: number;
  /** Undefined for a role that encapsulates no packets. */
  tunnelMtu: number | undefined;
  /** nftables set and chain declarations: the content of the table. See {@link chain} and {@link set}. */
  body: string;
  /** Whether steered packets are addressed to this host: then this role's rule must stand before the local table's. */
  beforeLocal: boolean;
  sysctls: { key: string; value: string }[];
  /** Whether packets of IPv6 are steered too; undefined: no. */
  v6?: boolean;
  /**
   * IPv6 addresses and ports from which this host's own packets go into tunnels. A policy rule chooses their route, not a
   * mark: the kernel then keeps the path MTU of a client beside that route, and not beside the one of the tunnel itself,
   * whose outer destination is the client too.
   */
  v6Sources?: readonly Source[];
  /** Set where connections are spread over several adjacent servers. */
  nextHops?: NextHops;
}

/** An address on the TUN, so that packets pass `rp_filter` in loose mode there (RFC 7600's dummy address). */
export const TUN_ADDRESS = '192.0.0.8/32';
/** Preference of the local table's rule while a role's rule must stand before it. */
export const LOCAL_RULE_MOVED = 10;

/**
 * Preference of the role's rule then, where the configured one would come too late: any preference below {@link
 * LOCAL_RULE_MOVED}.
 */
const BEFORE_LOCAL = 5;

/** Where steered packets are addressed to this host, the role's rule must stand before the local table's. */
export function beforeLocal(config: {
  local: boolean;
  steering: { priority: number };
}): Pick<Steering, 'beforeLocal' | 'priority'> {
  const { priority } = config.steering;
  const late = config.local && priority >= LOCAL_RULE_MOVED;
  return { beforeLocal: config.local, priority: late ? BEFORE_LOCAL : priority };
}

/** The name of an instance's nftables table. */
export function tableName(instance: string): string {
  return `firstack_${instance.replaceAll('-', '_')}`;
}

/** An nftables set; empty ones are allowed. */
export function set(name: string, type: string, elements: readonly string[]): string {
  const flags =
    /^ipv[46]_addr$/.test(type) && elements.some((e) => e.includes('/')) ? '\n    flags interval' : '';
  const list =
    elements.length === 0 ? '' : `\n    elements = { ${[...new Set(elements)].sort().join(', ')} }`;
  return `  set ${name} {\n    type ${type}${flags}${list}\n  }\n`;
}

/** A base chain. At raw priority, the default, it runs before connection tracking. */
export function chain(
  name: string,
  hook: string,
  type: 'filter' | 'route',
  rules: readonly string[],
  priority = 'raw',
): string {
  return branch(name, [`type ${type} hook ${hook} priority ${priority}; policy accept;`, ...rules]);
}

/** A chain to which other chains jump. */
export function branch(name: string, rules: readonly string[]): string {
  return `  chain ${name} {\n${rules.map((r) => `    ${r}\n`).join('')}  }\n`;
}

/** The statement that steers a packet to the TUN, for packets that are not encapsulated. */
export function steerTo(s: { mark: number; mask: number }): string {
  return setMark(s.mark, s.mask);
}

/** The statement that steers a packet to the TUN for encapsulation. */
export function steerIntoTunnel(s: { tunnelMark: number; mask: number }): string {
  return setMark(s.tunnelMark, s.mask);
}

function setMark(mark: number, mask: number): string {
  const hex = (n: number): string => `0x${(n >>> 0).toString(16).padStart(8, '0')}`;
  return `meta mark set meta mark & ${hex(~mask)} | ${hex(mark)}`;
}

/** The rule that accepts packets that hooks translated before the stack saw them. */
export function letPinned(s: { pinnedMark: number; mask: number }): string {
  const hex = (n: number): string => `0x${(n >>> 0).toString(16).padStart(8, '0')}`;
  return `meta mark & ${hex(s.mask)} == ${hex(s.pinnedMark)} notrack accept`;
}

/** A set of interface names for a rule. */
export function interfaces(names: readonly string[]): string {
  return `{ ${names.map((n) => `"${n}"`).join(', ')} }`;
}

/** The three kinds of ICMP error. */
export const ICMP_ERRORS = 'icmp type { destination-unreachable, time-exceeded, parameter-problem }';

/** The kinds of ICMPv6 error. */
export const ICMPV6_ERRORS =
  'icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }';

/** Fragments: later ones have no ports to match. */
export const FRAGMENTS = 'ip frag-off & 0x3fff != 0';

/** The whole table for `nft -f`: replaces the former one atomically. */
export function nftText(s: Steering): string {
  const name = tableName(s.instance);
  return `table inet ${name} {}\ndelete table inet ${name}\ntable inet ${name} {\n${s.body}}\n`;
}

/** Selector and action of each policy rule, as arguments of `ip rule`. */
export function ruleArguments(
  s: Pick<Steering, 'mark' | 'tunnelMark' | 'mask' | 'table' | 'tunnelTable' | 'priority'>,
): string[][] {
  const hex = (n: number): string => `0x${n.toString(16)}`;
  const rule = (mark: number, table: number): string[] => [
    ...['pref', String(s.priority), 'fwmark', `${hex(mark)}/${hex(s.mask)}`],
    ...['lookup', String(table)],
  ];
  return [rule(s.mark, s.table), rule(s.tunnelMark, s.tunnelTable)];
}

/** Each table's only route, as arguments of `ip route`. */
export function routeArguments(s: Pick<Steering, 'tun' | 'table' | 'tunnelTable' | 'tunnelMtu'>): string[][] {
  const route = (table: number): string[] => ['default', 'dev', s.tun, 'table', String(table)];
  const locked = s.tunnelMtu === undefined ? [] : ['mtu', 'lock', String(s.tunnelMtu)];
  return [route(s.table), [...route(s.tunnelTable), ...locked]];
}

/** A header of IPv6 is so much longer than one of IPv4. */
const LONGER = 20;

/** {@link routeArguments} over IPv6. A path MTU may be lower than a route's, so it is not locked. */
export function routesV6(s: Parameters<typeof routeArguments>[0]): string[][] {
  const tunnelMtu = s.tunnelMtu === undefined ? undefined : s.tunnelMtu - LONGER;
  return routeArguments({ ...s, tunnelMtu }).map((r) => r.filter((word) => word !== 'lock'));
}

/** The policy rule of a source, as arguments of `ip -6 rule`. */
export function sourceRule(
  s: Pick<Steering, 'priority' | 'tunnelTable'>,
  { address, port }: Source,
): string[] {
  return [
    ...['pref', String(s.priority), 'from', address, 'iif', 'lo'],
    ...['ipproto', 'tcp', 'sport', String(port), 'lookup', String(s.tunnelTable)],
  ];
}

/** The commands that would be run, for `--check`. */
export function describe(s: Steering): string {
  const lines = [
    `# nftables (nft -f)`,
    nftText(s).trimEnd(),
    `# policy routing`,
    `ip address add ${TUN_ADDRESS} dev ${s.tun} scope link`,
    ...routeArguments(s).map((r) => `ip route add ${r.join(' ')}`),
    ...ruleArguments(s).map((r) => `ip rule add ${r.join(' ')}`),
  ];
  if (s.v6 === true)
    lines.push(
      ...routesV6(s).map((r) => `ip -6 route add ${r.join(' ')}`),
      ...ruleArguments(s).map((r) => `ip -6 rule add ${r.join(' ')}`),
      ...(s.v6Sources ?? []).map((source) => `ip -6 rule add ${sourceRule(s, source).join(' ')}`),
    );
  for (const ip of s.beforeLocal ? (s.v6 === true ? ['ip', 'ip -6'] : ['ip']) : [])
    lines.push(`${ip} rule add pref ${LOCAL_RULE_MOVED} lookup local`, `${ip} rule del pref 0 lookup local`);
  if (s.nextHops !== undefined) lines.push(...describeNextHops(s.instance, s.nextHops));
  lines.push('# sysctls');
  for (const { key, value } of tunSysctls(s.tun).concat(s.sysctls)) lines.push(`${key} = ${value}`);
  return `${lines.join('\n')}\n`;
}

function describeNextHops(instance: string, n: NextHops): string[] {
  const numbers = new Map(n.servers.map((address, i) => [address, i + 1]));
  // Shortens maps, because thousands of slots are of no use to a reader.
  const text = nextHopsText(instance, n, numbers).replace(/ map \{ [^}]{80,}\}/g, ' map { … }');
  const hops = [...numbers].map(([address, number]) => nextHopArguments(n, number, address));
  return [
    `# servers (nft -f)`,
    text.trimEnd(),
    ...hops.map((h) => `ip route add ${h.route.join(' ')}`),
    ...hops.map((h) => `ip rule add ${h.rule.join(' ')}`),
  ];
}

/**
 * Settings of the TUN itself, which the kernel removes with it. accept_local, because packets with a local source
 * come back through it.
 */
export function tunSysctls(tun: string): { key: string; value: string }[] {
  const at = `net.ipv4.conf.${tun}`;
  return [
    { key: `${at}.rp_filter`, value: '2' },
    { key: `${at}.accept_local`, value: '1' },
  ];
}
