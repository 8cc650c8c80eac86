/** Which packets reach a server's TUN in service-level routing: tunnels from the routers above it. */
import type { VirtualSubnet } from '../../src/routing/virtual.js';
import { beforeLocal, chain, interfaces, letPinned, type Steering, steerTo } from '../../src/steer/plan.js';
import { OVERHEAD } from '../../src/wire/ipip.js';
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
  const { tun, wan, address, virtual } = config;
  const from = `iifname ${interfaces(wan)}`;
  const mss = wanMtu - OVERHEAD - OVERHEAD - tcp.MIN_HEADER;
  const prerouting = chain('prerouting', 'prerouting', 'filter', [
    letPinned(config.steering),
    `iifname "${tun.name}" accept`,
    ...(routers.length === 0
      ? []
      : [
          `${from} ip saddr { ${[...routers].sort().join(', ')} } ip daddr ${address} ip protocol 4 ${steerTo(config.steering)} notrack accept`,
        ]),
  ]);
  // What clients send comes in tunnels, so they are told of segments that fit into one.
  const output = chain(
    'output',
    'output',
    'filter',
    subnetsOf(virtual).map(
      (s) =>
        `ip saddr ${s} tcp flags & (syn | ack) == (syn | ack) tcp option maxseg size > ${mss} tcp option maxseg size set ${mss}`,
    ),
    'mangle',
  );
  return {
    instance,
    tun: tun.name,
    ...config.steering,
    tunnelMtu: undefined,
    body: prerouting + output,
    ...beforeLocal({ local: true, steering: config.steering }),
    // Every server has the virtual addresses: none of them may answer ARP requests for them.
    sysctls: wan.flatMap((name) => [
      { key: `net.ipv4.conf.${name}.arp_ignore`, value: '1' },
      { key: `net.ipv4.conf.${name}.arp_announce`, value: '2' },
    ]),
  };
}

const subnetsOf = (virtual: readonly VirtualSubnet[]): string[] => [...new Set(virtual.map((v) => v.subnet))];
