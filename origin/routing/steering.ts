/** Which packets reach a service-level router's TUN: those for virtual hosts, tunnels to it, and shortcuts. */
import type { KernelMode } from '../../src/fastpath/modes.js';
import { NEWS_PORT } from '../../src/routing/flow-news.js';
import { SHORTCUT_PORT } from '../../src/routing/shortcut.js';
import type { VirtualSubnet } from '../../src/routing/virtual.js';
import {
  beforeLocal,
  chain,
  ICMP_ERRORS,
  interfaces,
  letPinned,
  type Steering,
  steerIntoTunnel,
  steerTo,
} from '../../src/steer/plan.js';
import { OVERHEAD } from '../../src/wire/ipip.js';
import type { SlrConfig } from './config.js';

/** @param wanMtu the least MTU of the interfaces */
export function steering(config: SlrConfig, instance: string, wanMtu: number, kernel: KernelMode): Steering {
  const { tun, wan, lan, address, virtual } = config;
  const all = [...new Set([...wan, ...lan])];
  const from = `iifname ${interfaces(all)}`;
  const body = chain('prerouting', 'prerouting', 'filter', [
    letPinned(config.steering),
    `iifname "${tun.name}" notrack accept`,
    `${from} ip daddr ${address} ip protocol 4 ${steerTo(config.steering)} notrack accept`,
    `${from} ip daddr ${address} udp dport { ${NEWS_PORT}, ${SHORTCUT_PORT} } ${steerTo(config.steering)} notrack accept`,
    // Errors that quote IPv4 in IPv4, and those about what servers sent as the virtual host.
    ...[`${address}/32`, ...(config.sources === undefined ? [] : [config.sources])].map(
      (own) =>
        `${from} ip daddr ${own} ${ICMP_ERRORS} @th,136,8 4 ${steerTo(config.steering)} notrack accept`,
    ),
    ...virtual.map(
      (v) => `${from} ip daddr ${v.subnet} ${ICMP_ERRORS} ${steerTo(config.steering)} notrack accept`,
    ),
    // They will be in a tunnel: the kernel tells a sender whose packets are too large for that.
    ...virtual.flatMap((v) =>
      selectors(v).map(
        (s) => `${from} ip daddr ${v.subnet} ${s} ${steerIntoTunnel(config.steering)} notrack accept`,
      ),
    ),
  ]);
  return {
    instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: wanMtu - OVERHEAD,
    body,
    ...beforeLocal({ local: true, steering: config.steering }),
    // Where the stack forwards what hooks put into tunnels, those packets come in with this host's own source.
    sysctls:
      kernel === 'stack'
        ? all.map((name) => ({ key: `net.ipv4.conf.${name}.accept_local`, value: '1' }))
        : [],
  };
}

function selectors({ protocols, ports }: VirtualSubnet): string[] {
  return protocols.map((p) =>
    ports.length === 0 ? `meta l4proto ${p}` : `${p} dport { ${ports.join(', ')} }`,
  );
}
