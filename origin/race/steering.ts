/**
 * Which packets reach the origin's TUN: SYNs of its services. Established traffic never leaves the kernel, which also
 * spreads it over several servers.
 */

import type { NextHops } from '../../src/steer/next-hops.js';
import {
  beforeLocal,
  chain,
  ICMP_ERRORS,
  interfaces,
  type Steering,
  set,
  steerTo,
} from '../../src/steer/plan.js';
import { isV6Text } from '../../src/wire/address.js';
import type { OriginConfig } from './config.js';

/** @param served where there are several adjacent servers: those, and the slots of each service */
export function steering(
  config: OriginConfig,
  instance: string,
  served: Pick<NextHops, 'servers' | 'services' | 'seed'>,
): Steering {
  const { tun, wan, lan } = config;
  const fromWan = `iifname ${interfaces(wan)}`;
  // A gateway's own races over IPv6 reach the server without this role.
  const steered = config.services.filter((s) => !isV6Text(s.address));
  const body = [
    set(
      'services',
      'ipv4_addr . inet_service',
      steered.flatMap((s) => s.ports.map((p) => `${s.address} . ${p}`)),
    ),
    set(
      'servers',
      'ipv4_addr',
      steered.map((s) => s.address),
    ),
    chain('prerouting', 'prerouting', 'filter', [
      `iifname "${tun.name}" notrack accept`,
      `${fromWan} ip daddr . tcp dport @services tcp flags & (syn | ack | rst) == syn ${steerTo(config.steering)} notrack accept`,
      // Conntrack saw no SYN of these: it would call the rest invalid.
      `${fromWan} ip daddr . tcp dport @services notrack accept`,
      ...(lan.length === 0
        ? []
        : [`iifname ${interfaces(lan)} ip saddr . tcp sport @services notrack accept`]),
      `${fromWan} ${ICMP_ERRORS} ip daddr @servers ${steerTo(config.steering)}`,
    ]),
    ...(config.local
      ? [chain('output', 'output', 'filter', ['ip saddr . tcp sport @services notrack accept'])]
      : []),
  ].join('');
  return {
    instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: undefined,
    body,
    ...beforeLocal(config),
    sysctls: [],
    nextHops: served.servers.length === 0 ? undefined : nextHops(config, served),
  };
}

function nextHops(config: OriginConfig, served: Pick<NextHops, 'servers' | 'services' | 'seed'>): NextHops {
  const { mark, mask, priority, serverMask, serverTable } = config.steering;
  return {
    ...served,
    wan: config.wan,
    tun: config.tun.name,
    mask: serverMask,
    steer: { mark, mask },
    table: serverTable,
    // A SYN has both marks: the TUN comes first, and without it the server.
    priority: priority + 1,
    flows: config.flows,
  };
}
