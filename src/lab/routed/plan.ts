/**
 * The network of a laboratory of service-level routing: a tree of routers and servers, each on a host of its own, all
 * joined by `wan`, a plain router that also leads to the client.
 *
 *   client ──────── wan ───┬── n1        the network's router, to which wan's route for the virtual hosts leads
 *  192.0.2.2                ├── y1, y2    systems' routers
 *                          ├── t1 … t4   sites' routers
 *                          └── s1 … s8   servers, which answer the client directly
 *
 * Host N has the address 198.18.N.2, wan's side 198.18.N.1. The virtual host is 203.0.113.80. Where the client's line has a
 * delay, its packets go through the emulator in `wan`, both ways (`../emulator.ts`).
 *
 * Where the laboratory has IPv6, host N has 2001:db8:18:N::2 too, and the virtual host is 2001:db8:80::80.
 */
import type { Level } from '../../routing/levels.js';
import type { WanPlan } from '../emulator.js';
import { namespaceOf } from '../network.js';

export const VIRTUAL = '203.0.113.80';
/** More of them, for other classes of service and other customers. */
export const VIRTUAL_SUBNET = '203.0.113.80/30';
export const ROUTED_CLIENT = '192.0.2.2';

export const VIRTUAL6 = '2001:db8:80::80';
export const VIRTUAL_SUBNET6 = '2001:db8:80::/64';
export const ROUTED_CLIENT6 = '2001:db8:1::2';

export interface RoutedHost {
  name: string;
  level: Level;
  /** The routers above it. */
  uppers: string[];
}

/** How many routers and servers there are. */
export interface RoutedShape {
  /** Routers of the highest level that receive the virtual hosts' packets; wan's route leads to the first. */
  networks: number;
  systems: number;
  /** Sites of each system; of the network where there are no systems. */
  sites: number;
  /** Servers of each site. */
  servers: number;
}

export function hostsOfShape({ networks, systems, sites, servers }: RoutedShape): RoutedHost[] {
  const named = (letter: string, count: number): string[] =>
    Array.from({ length: count }, (_, n) => `${letter}${n + 1}`);
  const top = named('n', networks);
  const middle = named('y', systems);
  const low = named('t', Math.max(1, systems) * sites);
  const upperOf = (n: number, per: number, above: string[]): string[] => [above[Math.floor(n / per)]];
  const leaves = named('s', low.length * servers);
  return [
    ...top.map((name) => ({ name, level: 'network' as const, uppers: [] })),
    ...middle.map((name) => ({ name, level: 'system' as const, uppers: top })),
    ...low.map((name, n) => ({
      name,
      level: 'site' as const,
      uppers: middle.length > 0 ? upperOf(n, sites, middle) : top,
    })),
    ...leaves.map((name, n) => ({ name, level: 'server' as const, uppers: upperOf(n, servers, low) })),
  ];
}

export const addressOf = (hosts: readonly RoutedHost[], name: string): string =>
  `198.18.${hosts.findIndex((h) => h.name === name) + 1}.2`;

export const addressOf6 = (hosts: readonly RoutedHost[], name: string): string =>
  `2001:db8:18:${(hosts.findIndex((h) => h.name === name) + 1).toString(16)}::2`;

/** The same network over IPv6, as commands of `ip -6`. No host waits for duplicate address detection. */
export function commandsOf6(hosts: readonly RoutedHost[]): Record<string, string[]> {
  const address = (text: string, dev: string): string => `addr add ${text}/64 dev ${dev} nodad`;
  const commands: Record<string, string[]> = {
    wan: [address('2001:db8:1::1', 'lan0')],
    client: [address(ROUTED_CLIENT6, 'lan0'), 'route add default via 2001:db8:1::1'],
  };
  for (const { name, level } of hosts) {
    const own = addressOf6(hosts, name);
    const near = own.replace(/2$/, '1');
    commands.wan.push(address(near, `to-${name}`));
    commands[name] = [
      ...(level === 'server' ? [`addr add ${VIRTUAL6}/128 dev lo nodad`] : []),
      address(own, 'wan0'),
      `route add default via ${near}`,
    ];
  }
  commands.wan.push(`route add ${VIRTUAL_SUBNET6} via ${addressOf6(hosts, hosts[0].name)}`);
  return commands;
}

/**
 * The `ip` commands of each host; those of `wan` come first, and make every pair.
 * @param isStatic whether wan has a route to the first router; else BIRD brings it
 */
export function commandsOf(
  lab: string,
  hosts: readonly RoutedHost[],
  clientDelayMs: number,
  isStatic: boolean,
): Record<string, string[]> {
  const wan = [
    'link set lo up',
    `link add lan0 type veth peer name lan0 netns ${namespaceOf(lab, 'client')}`,
    'addr add 192.0.2.1/24 dev lan0',
    'link set lan0 up',
  ];
  const commands: Record<string, string[]> = {
    wan,
    client: [
      'link set lo up',
      `addr add ${ROUTED_CLIENT}/24 dev lan0`,
      'link set lan0 up',
      'route add default via 192.0.2.1',
    ],
  };
  for (const { name, level } of hosts) {
    const own = addressOf(hosts, name);
    const near = own.replace(/2$/, '1');
    wan.push(
      `link add to-${name} type veth peer name wan0 netns ${namespaceOf(lab, name)}`,
      `addr add ${near}/24 dev to-${name}`,
      `link set to-${name} up`,
    );
    commands[name] = [
      'link set lo up',
      ...(level === 'server' ? [`addr add ${VIRTUAL}/32 dev lo`] : []),
      `addr add ${own}/24 dev wan0`,
      'link set wan0 up',
      `route add default via ${near}`,
    ];
  }
  if (clientDelayMs > 0) wan.push(...emulated(hosts));
  if (isStatic) wan.push(`route add ${VIRTUAL_SUBNET} via ${addressOf(hosts, hosts[0].name)}`);
  return commands;
}

/** The two ends of the emulated line. */
const ENDS = ['client', 'inside'] as const;
const TABLE = 101;

function emulated(hosts: readonly RoutedHost[]): string[] {
  const tuns = ENDS.flatMap((end) => [
    `tuntap add dev w-${end} mode tun vnet_hdr`,
    `link set w-${end} mtu 1500 txqueuelen 10000 up`,
  ]);
  return [
    ...tuns,
    `route add default dev w-client table ${TABLE}`,
    `rule add pref ${TABLE} iif lan0 lookup ${TABLE}`,
    // What is for the client alone: the rest goes by the main table.
    `route add 192.0.2.0/24 dev w-inside table ${TABLE + 1}`,
    ...hosts.map(({ name }) => `rule add pref ${TABLE + 1} iif to-${name} lookup ${TABLE + 1}`),
  ];
}

export function wanPlan(clientDelayMs: number, seed: number): WanPlan {
  return {
    generation: 0,
    seed,
    hosts: [
      { name: 'client', prefixes: ['192.0.2.0/24'] },
      { name: 'inside', prefixes: ['198.18.0.0/16', '203.0.113.0/24'] },
    ],
    paths: { 'client>inside': { delayMs: clientDelayMs }, 'inside>client': { delayMs: clientDelayMs } },
  };
}
