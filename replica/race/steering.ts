/**
 * Which packets reach the replica's TUN: tunnelled packets to R; in configuration B packets to R's dedicated port;
 * and outbound the kernel's packets with source S. Tunnelled packets are addressed to this host, so the role's rule
 * must stand before the local table's.
 */

import type { KernelMode } from '../../src/fastpath/modes.js';
import type { Configuration } from '../../src/race/records.js';
import {
  chain,
  FRAGMENTS,
  ICMP_ERRORS,
  ICMPV6_ERRORS,
  interfaces,
  type Source,
  type Steering,
  set,
  steerIntoTunnel,
  steerTo,
} from '../../src/steer/plan.js';
import { isV6Text } from '../../src/wire/address.js';
import { PROTO as IPV6_IN_IPV6 } from '../../src/wire/ipip6.js';
import type { ReplicaConfig } from './config.js';

/** A service that this replica carries, with the data that its origin published. */
export interface Carried {
  name: string;
  address: string;
  port: number;
  localPort: number;
  configuration: Configuration;
}

/**
 * @param tunnelMtu the largest inner packet of a tunnel
 * @param kernel how pinned flows are carried: with the fast path, hooks on egress handle data, pinned or not
 */
export function steering(
  config: ReplicaConfig,
  instance: string,
  carried: readonly Carried[],
  tunnelMtu: number,
  kernel: KernelMode,
): Steering {
  const { tun, wan, address } = config;
  const mark = steerTo(config.steering);
  const fromWan = `iifname ${interfaces(wan)} ip daddr ${address}`;
  const of = (c: Configuration): string[] =>
    carried
      .filter((s) => s.configuration === c && !isV6Text(s.address))
      .map((s) => `${s.address} . ${s.port}`);
  const v6 = steeringV6(config, carried);
  const spoofedPorts = carried
    .filter((s) => s.configuration === 'B')
    .map((s) => `${address} . ${s.localPort}`);
  const deciding = 'tcp flags & (syn | rst) != 0';
  const body = [
    set('endpoints', 'ipv4_addr . inet_service', spoofedPorts),
    set('spoofed', 'ipv4_addr . inet_service', of('B')),
    set('tunnelled', 'ipv4_addr . inet_service', of('C')),
    chain('prerouting', 'prerouting', 'filter', [
      // Conntrack tracks the inner connection in both directions; the tunnel itself is not tracked.
      `iifname "${tun.name}" ip protocol 4 notrack accept`,
      ...(v6 === undefined ? [] : [`iifname "${tun.name}" ip6 nexthdr ${IPV6_IN_IPV6} notrack accept`]),
      `iifname "${tun.name}" accept`,
      `${fromWan} ip protocol 4 ${mark} notrack`,
      `${fromWan} ip daddr . tcp dport @endpoints ${mark} notrack`,
      ...(of('B').length > 0 ? [`${fromWan} ip protocol tcp ${FRAGMENTS} ${mark} notrack`] : []),
      // Errors that quote IP-in-IP.
      ...(of('C').length > 0 ? [`${fromWan} ${ICMP_ERRORS} @th,136,8 4 ${mark}`] : []),
      ...(v6?.inward ?? []),
    ]),
    chain('output', 'output', 'route', [
      `oifname "lo" accept`,
      `ip saddr . tcp sport @spoofed ${deciding} ${mark}`,
      `ip saddr . tcp sport @tunnelled ${kernel === 'off' ? '' : deciding} ${steerIntoTunnel(config.steering)}`,
    ]),
  ].join('');
  const answersAsService = carried.some((s) => s.configuration !== 'A');
  return {
    instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: of('C').length > 0 || v6 !== undefined ? tunnelMtu : undefined,
    body,
    v6: v6 !== undefined,
    v6Sources: v6?.sources,
    beforeLocal: true,
    // Every replica has the address S: none of them may answer ARP requests for it.
    sysctls: answersAsService
      ? wan.flatMap((name) => [
          { key: `net.ipv4.conf.${name}.arp_ignore`, value: '1' },
          { key: `net.ipv4.conf.${name}.arp_announce`, value: '2' },
        ])
      : [],
  };
}

/**
 * What is steered over IPv6: the tunnels of configuration C. Undefined where there are none. No address of a service on
 * `lo` is answered for by another interface, so nothing is set for neighbour discovery.
 */
function steeringV6(
  config: ReplicaConfig,
  carried: readonly Carried[],
): { inward: string[]; sources: Source[] } | undefined {
  const { wan, address6 } = config;
  const services = carried.filter((s) => isV6Text(s.address));
  if (services.length === 0 || address6 === undefined) return undefined;
  const mark = steerTo(config.steering);
  const fromWan = `iifname ${interfaces(wan)} ip6 daddr ${address6}`;
  return {
    inward: [
      `${fromWan} ip6 nexthdr ${IPV6_IN_IPV6} ${mark} notrack`,
      // Errors that quote IPv6 in IPv6.
      `${fromWan} ${ICMPV6_ERRORS} @th,112,8 ${IPV6_IN_IPV6} ${mark}`,
    ],
    sources: services.map(({ address, port }) => ({ address, port })),
  };
}
