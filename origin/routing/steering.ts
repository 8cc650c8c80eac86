/** Which packets reach a service-level router's TUN: those for virtual hosts, tunnels to it, and shortcuts. */
import type { KernelMode } from '../../src/fastpath/modes.js';
import { NEWS_PORT } from '../../src/routing/flow-news.js';
import { SHORTCUT_PORT } from '../../src/routing/shortcut.js';
import { ofV6, type VirtualSubnet } from '../../src/routing/virtual.js';
import {
  beforeLocal,
  chain,
  ICMP_ERRORS,
  ICMPV6_ERRORS,
  interfaces,
  letPinned,
  type Steering,
  steerIntoTunnel,
  steerTo,
} from '../../src/steer/plan.js';
import { isV6Text } from '../../src/wire/address.js';
import { OVERHEAD } from '../../src/wire/ipip.js';
import { PROTO as IPV6_IN_IPV6 } from '../../src/wire/ipip6.js';
import type { SlrConfig } from './config.js';

/** @param wanMtu the least MTU of the interfaces */
export function steering(config: SlrConfig, instance: string, wanMtu: number, kernel: KernelMode): Steering {
  const { tun, wan, lan, address, address6, virtual } = config;
  const all = [...new Set([...wan, ...lan])];
  const from = `iifname ${interfaces(all)}`;
  const mark = steerTo(config.steering);
  const body = chain('prerouting', 'prerouting', 'filter', [
    letPinned(config.steering),
    `iifname "${tun.name}" notrack accept`,
    `${from} ip daddr ${address} ip protocol 4 ${mark} notrack accept`,
    `${from} ip daddr ${address} udp dport { ${NEWS_PORT}, ${SHORTCUT_PORT} } ${mark} notrack accept`,
    // Errors that quote IPv4 in IPv4, and those about what servers sent as the virtual host.
    ...[`${address}/32`, ...(config.sources === undefined ? [] : [config.sources])].map(
      (own) => `${from} ip daddr ${own} ${ICMP_ERRORS} @th,136,8 4 ${mark} notrack accept`,
    ),
    ...(address6 === undefined ? [] : overV6(address6).map((s) => `${from} ${s} ${mark} notrack accept`)),
    ...virtual.map((v) => `${from} ${to(v)} ${errorsOf(v)} ${mark} notrack accept`),
    // They will be in a tunnel: the kernel tells a sender whose packets are too large for that.
    ...virtual.flatMap((v) =>
      selectors(v).map((s) => `${from} ${to(v)} ${s} ${steerIntoTunnel(config.steering)} notrack accept`),
    ),
  ]);
  return {
    instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: wanMtu - OVERHEAD,
    body,
    v6: ofV6(virtual).length > 0,
    ...beforeLocal({ local: true, steering: config.steering }),
    // Where the stack forwards what hooks put into tunnels, those packets come in with this host's own source. IPv6 takes them.
    sysctls:
      kernel === 'stack'
        ? all.map((name) => ({ key: `net.ipv4.conf.${name}.accept_local`, value: '1' }))
        : [],
  };
}

const to = ({ subnet }: VirtualSubnet): string => `${isV6Text(subnet) ? 'ip6' : 'ip'} daddr ${subnet}`;
const errorsOf = ({ subnet }: VirtualSubnet): string => (isV6Text(subnet) ? ICMPV6_ERRORS : ICMP_ERRORS);

/** Tunnels of IPv6 to this router, and errors that quote its own. */
const overV6 = (address6: string): string[] => [
  `ip6 daddr ${address6} ip6 nexthdr ${IPV6_IN_IPV6}`,
  `ip6 daddr ${address6} ${ICMPV6_ERRORS} @th,112,8 ${IPV6_IN_IPV6}`,
];

function selectors({ protocols, ports }: VirtualSubnet): string[] {
  return protocols.map((p) =>
    ports.length === 0 ? `meta l4proto ${p}` : `${p} dport { ${ports.join(', ')} }`,
  );
}
