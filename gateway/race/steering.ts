/** Which packets reach the gateway's TUN: those between its clients and the registered services. */
import type { KernelMode } from '../../src/fastpath/modes.js';
import {
  beforeLocal,
  branch,
  chain,
  FRAGMENTS,
  ICMP_ERRORS,
  interfaces,
  letPinned,
  type Steering,
  set,
  steerIntoTunnel,
  steerTo,
} from '../../src/steer/plan.js';
import { PORT } from '../../src/wire/path-probe.js';
import type { GatewayConfig } from './config.js';
import type { Fleet } from './fleet.js';

export interface GatewaySteering {
  /** The largest inner packet of a tunnel. */
  tunnelMtu: number;
  /**
   * Whether the host translates its clients' sources on the WAN: possible only in configuration A and a gateway's own
   * race.
   */
  masqueraded: boolean;
  /** How pinned flows are carried. */
  kernel: KernelMode;
}

export function steering(
  config: GatewayConfig,
  instance: string,
  fleet: Fleet,
  how: GatewaySteering,
): Steering {
  const { tun, lan, wan } = config;
  const { services, tunnelled, endpoints, tunnels } = fleet.steered();
  const sets = [
    set('clients', 'ipv4_addr', config.prefixes),
    set('services', 'ipv4_addr . inet_service', services),
    set('tunnelled', 'ipv4_addr . inet_service', tunnelled),
    set('endpoints', 'ipv4_addr . inet_service', endpoints),
    set('tunnels', 'ipv4_addr', tunnels),
    set('addresses', 'ipv4_addr', services.map(addressOf)),
    set('machines', 'ipv4_addr', endpoints.map(addressOf)),
  ];
  const fromLan = `iifname ${interfaces(lan)} ip saddr @clients`;
  const fromWan = `iifname ${interfaces(wan)} ip daddr @clients`;
  const mark = steerTo(config.steering);
  const outwardFrom = (source: string): string[] => [
    `${source} ip daddr @addresses ${FRAGMENTS} ${mark} notrack accept`,
    `${source} ip daddr . tcp dport @tunnelled ${steerIntoTunnel(config.steering)} notrack accept`,
    `${source} ip daddr . tcp dport @services ${mark} notrack accept`,
  ];
  // Errors about what servers send to clients go to the machine that sent it.
  const aboutServers = `${ICMP_ERRORS} ip daddr @addresses ${mark}`;
  const outward =
    lan.length === 0 ? [] : [...outwardFrom(fromLan), `iifname ${interfaces(lan)} ${aboutServers}`];
  // Of packets with the service's source only those with FIN, SYN or RST are steered: data from the origin stays in
  // the kernel, and in configuration B data from replicas, which spoof the origin.
  const deciding = 'ip saddr . tcp sport @services tcp flags & (fin | syn | rst) != 0';
  const chains = how.masqueraded
    ? [
        // Packets on the LAN are not tracked. Packets on the WAN are, and have the clients' addresses again only
        // after destination translation.
        chain('prerouting', 'prerouting', 'filter', [
          `iifname "${tun.name}" ip daddr @clients notrack accept`,
          ...outward,
        ]),
        chain(
          'translated',
          'prerouting',
          'filter',
          [
            `${fromWan} ${deciding} ${mark}`,
            `${fromWan} ip saddr . tcp sport @endpoints ${mark}`,
            `${fromWan} ${PROBE_ANSWERS} ${mark}`,
            `${fromWan} ${ICMP_ERRORS} ${mark}`,
          ],
          AFTER_DNAT,
        ),
      ]
    : [
        branch('inward', [
          `ip saddr @addresses ${FRAGMENTS} ${mark} notrack accept`,
          `ip saddr @machines ${FRAGMENTS} ${mark} notrack accept`,
          `${deciding} ${mark} notrack accept`,
          'ip saddr . tcp sport @services notrack accept',
          `ip saddr . tcp sport @endpoints ${mark} notrack accept`,
          `ip protocol 4 ip saddr @tunnels ${mark} notrack accept`,
          `${PROBE_ANSWERS} ${mark} notrack accept`,
          `${ICMP_ERRORS} ${mark}`,
        ]),
        chain('prerouting', 'prerouting', 'filter', [
          `iifname "${tun.name}" notrack accept`,
          ...(how.kernel !== 'off' ? [letPinned(config.steering)] : []),
          ...outward,
          `${fromWan} jump inward`,
        ]),
      ];
  return {
    instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: fleet.usesTunnel() ? how.tunnelMtu : undefined,
    body: [
      ...sets,
      ...chains,
      own([
        ...(config.local ? outwardFrom('ip saddr @clients') : []),
        // This host's own errors: about what it was to forward to a client, or to a replica.
        aboutServers,
        `${ICMP_ERRORS} ip daddr @clients ${mark}`,
      ]),
    ].join(''),
    ...beforeLocal(config),
    // With early demultiplexing a socket would take an answer before the TUN has seen it.
    sysctls: config.local ? [{ key: 'net.ipv4.tcp_early_demux', value: '0' }] : [],
  };
}

const PROBE_ANSWERS = `ip saddr @machines udp sport ${PORT}`;

/** The address of `ADDRESS . PORT`. */
const addressOf = (endpoint: string): string => endpoint.split(' ')[0];

/** The chain for packets that this host itself sends. */
function own(rules: string[]): string {
  return chain('output', 'output', 'route', ['oifname "lo" accept', ...rules]);
}

/** An nftables priority between destination translation (-100) and filtering (0). */
const AFTER_DNAT = '-50';
