/** Which packets reach the gateway's TUN: those of registered services, from and to its clients. */
import {
  chain,
  ICMP_ERRORS,
  interfaces,
  type Steering,
  set,
  steerIntoTunnel,
  steerTo,
} from '../src/steer/plan.js';
import type { GatewayConfig } from './config.js';
import type { Fleet } from './fleet.js';

/** @param tunnelMtu the largest inner packet of a tunnel */
export function steering(config: GatewayConfig, fleet: Fleet, tunnelMtu: number): Steering {
  const { tun, lan, wan } = config;
  const { services, tunnelled, endpoints, tunnels } = fleet.steered();
  const ours = `${steerTo(config.steering)} notrack`;
  const fromLan = `iifname ${interfaces(lan)} ip saddr @clients`;
  const fromWan = `iifname ${interfaces(wan)} ip daddr @clients`;
  const body = [
    set('clients', 'ipv4_addr', config.prefixes),
    set('services', 'ipv4_addr . inet_service', services),
    set('tunnelled', 'ipv4_addr . inet_service', tunnelled),
    set('endpoints', 'ipv4_addr . inet_service', endpoints),
    set('tunnels', 'ipv4_addr', tunnels),
    chain('prerouting', 'prerouting', 'filter', [
      `iifname "${tun.name}" notrack accept`,
      `${fromLan} ip daddr . tcp dport @tunnelled ${steerIntoTunnel(config.steering)} notrack accept`,
      `${fromLan} ip daddr . tcp dport @services ${ours}`,
      // Of the service's own packets only those that decide: the origin's data stays in the kernel, and
      // under B that of the replicas, which spoof it.
      `${fromWan} ip saddr . tcp sport @services tcp flags & (fin | syn | rst) != 0 ${ours} accept`,
      `${fromWan} ip saddr . tcp sport @services notrack accept`,
      `${fromWan} ip saddr . tcp sport @endpoints ${ours}`,
      `${fromWan} ip protocol 4 ip saddr @tunnels ${ours}`,
      `${fromWan} ${ICMP_ERRORS} ${steerTo(config.steering)}`,
    ]),
  ].join('');
  return {
    instance: config.instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: fleet.usesTunnel() ? tunnelMtu : undefined,
    body,
    beforeLocal: false,
    sysctls: [],
  };
}
