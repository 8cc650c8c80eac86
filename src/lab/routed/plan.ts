/**
 * The network of a laboratory of service-level routing: a tree of routers and servers, each on a host of its own, all
 * joined by `core`, a plain router that also leads to the client.
 *
 *   client ──────── core ──┬── n1        the network's router, to which core's route for the virtual hosts leads
 *  192.0.2.2                ├── y1, y2    systems' routers
 *                          ├── t1 … t4   sites' routers
 *                          └── s1 … s8   servers, which answer the client directly
 *
 * Host N has the address 198.18.N.2, core's side 198.18.N.1. The virtual host is 203.0.113.80.
 */
import type { Level } from '../../routing/levels.js';
import { namespaceOf } from '../network.js';

export const VIRTUAL = '203.0.113.80';
/** A second one, for another class of service or another customer. */
export const VIRTUAL_SUBNET = '203.0.113.80/31';
export const ROUTED_CLIENT = '192.0.2.2';

export interface RoutedHost {
  name: string;
  level: Level;
  /** The routers above it. */
  uppers: string[];
}

/** How many routers and servers there are. */
export interface RoutedShape {
  /** Routers of the highest level that receive the virtual hosts' packets; core's route leads to the first. */
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

/** The `ip` commands of each host; those of `core` come first, and make every pair. */
export function commandsOf(lab: string, hosts: readonly RoutedHost[]): Record<string, string[]> {
  const core = [
    'link set lo up',
    `link add lan0 type veth peer name lan0 netns ${namespaceOf(lab, 'client')}`,
    'addr add 192.0.2.1/24 dev lan0',
    'link set lan0 up',
  ];
  const commands: Record<string, string[]> = {
    core,
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
    core.push(
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
  core.push(`route add ${VIRTUAL_SUBNET} via ${addressOf(hosts, hosts[0].name)}`);
  return commands;
}
