/** Which packets reach a server's TUN in service-level routing: tunnels from the routers above it. */
import { ofV6, type VirtualSubnet } from '../../src/routing/virtual.js';
import { beforeLocal, chain, interfaces, letPinned, type Steering, steerTo } from '../../src/steer/plan.js';
import { isV6Text } from '../../src/wire/address.js';
import { PROTO as IPV6_IN_IPV6 } from '../../src/wire/ipip6.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import * as tcp from '../../src/wire/tcp.js';
import type { ServerConfig } from './config.js';

/**
 * @param routers prefixes from which tunnels come
 * @param wanMtu the least MTU of the interfaces
 */
export function steering(
  config: ServerConfig,
  instance: string,
  routers: readonly string[],
  wanMtu: number,
): Steering {
  const { tun, wan, address, address6, virtual } = config;
  const from = `iifname ${interfaces(wan)}`;
  const prerouting = chain('prerouting', 'prerouting', 'filter', [
    letPinned(config.steering),
    `iifname "${tun.name}" accept`,
    ...tunnels(routers, address, address6).map(
      (s) => `${from} ${s} ${steerTo(config.steering)} notrack accept`,
    ),
  ]);
  // What clients send comes in tunnels, so they are told of segments that fit into one.
  const output = chain(
    'output',
    'output',
    'filter',
    subnetsOf(virtual).map((s) => {
      const mss = wanMtu - (isV6Text(s) ? 2 * ipv6.HEADER : 2 * ipv4.MIN_HEADER) - tcp.MIN_HEADER;
      return `${isV6Text(s) ? 'ip6' : 'ip'} saddr ${s} tcp flags & (syn | ack) == (syn | ack) tcp option maxseg size > ${mss} tcp option maxseg size set ${mss}`;
    }),
    'mangle',
  );
  return {
    instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: undefined,
    body: prerouting + output,
    v6: ofV6(virtual).length > 0,
    ...beforeLocal({ local: true, steering: config.steering }),
    // Every server has the virtual addresses: none of them may answer ARP requests for them. Neighbour discovery answers for the
    // addresses of the interface itself only, so nothing is set for IPv6.
    sysctls: wan.flatMap((name) => [
      { key: `net.ipv4.conf.${name}.arp_ignore`, value: '1' },
      { key: `net.ipv4.conf.${name}.arp_announce`, value: '2' },
    ]),
  };
}

/** Tunnels of the routers above to this server, of each family that there is. */
function tunnels(routers: readonly string[], address: string, address6: string | undefined): string[] {
  const set = (list: readonly string[]): string => `{ ${[...list].sort().join(', ')} }`;
  const [v4, v6] = [routers.filter((r) => !isV6Text(r)), routers.filter(isV6Text)];
  return [
    ...(v4.length === 0 ? [] : [`ip saddr ${set(v4)} ip daddr ${address} ip protocol 4`]),
    ...(v6.length === 0 || address6 === undefined
      ? []
      : [`ip6 saddr ${set(v6)} ip6 daddr ${address6} ip6 nexthdr ${IPV6_IN_IPV6}`]),
  ];
}

const subnetsOf = (virtual: readonly VirtualSubnet[]): string[] => [...new Set(virtual.map((v) => v.subnet))];
