/** Which packets reach the gateway's TUN: those between its clients and the registered services. */
import type { KernelMode } from '../../src/fastpath/modes.js';
import {
  beforeLocal,
  branch,
  chain,
  FRAGMENTS,
  ICMP_ERRORS,
  ICMPV6_ERRORS,
  interfaces,
  letPinned,
  type Steering,
  set,
  steerIntoTunnel,
  steerTo,
} from '../../src/steer/plan.js';
import { PROTO as IPV6_IN_IPV6 } from '../../src/wire/ipip6.js';
import { PORT } from '../../src/wire/path-probe.js';
import type { GatewayConfig } from './config.js';
import type { Fleet } from './fleet.js';
import { steeredBy } from './fleet-orders.js';
import { mayCarryV6 } from './legs.js';

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
  const all = steeredBy(fleet);
  const v4 = inFamily(all, isV4Text);
  const { services, endpoints, tunnelled, tunnels } = v4;
  const v6 = steeringV6(
    config,
    inFamily(all, (text) => !isV4Text(text)),
  );
  const sets = [
    set('clients', 'ipv4_addr', config.prefixes.filter(isV4Text)),
    set('services', 'ipv4_addr . inet_service', services),
    set('tunnelled', 'ipv4_addr . inet_service', tunnelled),
    set('endpoints', 'ipv4_addr . inet_service', endpoints),
    set('tunnels', 'ipv4_addr', tunnels),
    set('addresses', 'ipv4_addr', services.map(addressOf)),
    set('machines', 'ipv4_addr', endpoints.map(addressOf)),
    ...(v6?.sets ?? []),
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
          ...(v6?.rules ?? []),
          ...outward,
        ]),
        chain(
          'translated',
          'prerouting',
          'filter',
          [
            `${fromWan} ${BARE_SYN} accept`,
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
          // After the fragments: what a later one carries would be read as flags.
          `${BARE_SYN} accept`,
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
          ...(v6?.rules ?? []),
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
        ...(v6?.own ?? []),
      ]),
    ].join(''),
    v6: v6 !== undefined,
    ...beforeLocal(config),
    // With early demultiplexing a socket would take an answer before the TUN has seen it.
    sysctls: config.local ? [{ key: 'net.ipv4.tcp_early_demux', value: '0' }] : [],
  };
}

/**
 * What is steered over IPv6: connections between clients and services, in a gateway's own races. Undefined where there
 * are none.
 */
function steeringV6(
  config: GatewayConfig,
  { services, tunnelled, endpoints, tunnels }: Steered,
): { sets: string[]; rules: string[]; own: string[] } | undefined {
  const { tun, lan, wan } = config;
  if (!mayCarryV6(config) || services.length === 0 || lan.length === 0) return undefined;
  const mark = steerTo(config.steering);
  const fromLan = `iifname ${interfaces(lan)} ip6 saddr @clients6`;
  const fromWan = `iifname ${interfaces(wan)} ip6 daddr @clients6`;
  return {
    sets: [
      set(
        'clients6',
        'ipv6_addr',
        config.prefixes.filter((text) => !isV4Text(text)),
      ),
      set('services6', 'ipv6_addr . inet_service', services),
      set('tunnelled6', 'ipv6_addr . inet_service', tunnelled),
      set('endpoints6', 'ipv6_addr . inet_service', endpoints),
      set('tunnels6', 'ipv6_addr', tunnels),
      set('addresses6', 'ipv6_addr', services.map(addressOf)),
    ],
    rules: [
      `iifname "${tun.name}" meta nfproto ipv6 notrack accept`,
      `${fromLan} ip6 daddr . tcp dport @tunnelled6 ${steerIntoTunnel(config.steering)} notrack accept`,
      `${fromLan} ip6 daddr . tcp dport @services6 ${mark} notrack accept`,
      `${fromWan} ${BARE_SYN} accept`,
      `${fromWan} ip6 saddr . tcp sport @services6 tcp flags & (fin | syn | rst) != 0 ${mark} notrack accept`,
      `${fromWan} ip6 saddr . tcp sport @services6 notrack accept`,
      `${fromWan} ip6 saddr . tcp sport @endpoints6 ${mark} notrack accept`,
      `${fromWan} ip6 nexthdr ${IPV6_IN_IPV6} ip6 saddr @tunnels6 ${mark} notrack accept`,
      `iifname ${interfaces(lan)} ip6 daddr @addresses6 ${ICMPV6_ERRORS} ${mark}`,
      `${fromWan} ${ICMPV6_ERRORS} ${mark}`,
    ],
    own: ['addresses6', 'clients6'].map((to) => `${ICMPV6_ERRORS} ip6 daddr @${to} ${mark}`),
  };
}

type Steered = ReturnType<typeof steeredBy>;

/** The elements of one family. */
const inFamily = (all: Steered, isOfIt: (text: string) => boolean): Steered => ({
  services: all.services.filter(isOfIt),
  tunnelled: all.tunnelled.filter(isOfIt),
  endpoints: all.endpoints.filter(isOfIt),
  tunnels: all.tunnels.filter(isOfIt),
});

/**
 * A machine that opens a connection to a client: it is never ours, and this host's other rules see it as a new connection,
 * whatever they let pass of ours.
 */
const BARE_SYN = 'tcp flags & (fin | syn | rst | ack) == syn';

const isV4Text = (text: string): boolean => !text.includes(':');

const PROBE_ANSWERS = `ip saddr @machines udp sport ${PORT}`;

/** The address of `ADDRESS . PORT`. */
const addressOf = (endpoint: string): string => endpoint.split(' ')[0];

/** The chain for packets that this host itself sends. */
function own(rules: string[]): string {
  return chain('output', 'output', 'route', ['oifname "lo" accept', ...rules]);
}

/** An nftables priority between destination translation (-100) and filtering (0). */
const AFTER_DNAT = '-50';
