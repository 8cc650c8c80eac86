/** What a replica needs of its host. */
import type { Problem } from '../../src/errors.js';
import {
  checkForwardChains,
  checkForwarding,
  checkForwarding6,
  checkLocalAddress,
  type Host,
} from '../../src/steer/host.js';
import { inBothFamilies } from '../../src/steer/ruleset.js';
import { isV6Text } from '../../src/wire/address.js';
import type { ReplicaConfig } from './config.js';
import type { Carried } from './steering.js';

export function checkHost(host: Host, config: ReplicaConfig, carried: readonly Carried[]): Problem[] {
  const { wan, tun, address, address6 = address, configuration } = config;
  const answering = carried.filter((s) => s.configuration !== 'A');
  const answersAsService = configuration === undefined ? answering.length > 0 : configuration !== 'A';
  const hasV6 = answering.some((s) => isV6Text(s.address));
  const legs = wan.map((oif) => ({ iif: tun.name, oif }));
  return [
    ...[...new Set([address, address6])].flatMap((a) => checkLocalAddress(host, a, 'no SYN could reach it')),
    ...answering.flatMap((s) => checkService(host, s)),
    // In configuration A no packet leaves through the TUN.
    ...(answersAsService
      ? [
          ...checkForwarding(host),
          ...(hasV6 ? checkForwarding6(host) : []),
          ...checkForwardChains(host, hasV6 ? inBothFamilies(legs) : legs),
        ]
      : []),
  ];
}

function checkService(host: Host, { address, configuration }: Carried): Problem[] {
  const bits = isV6Text(address) ? 128 : 32;
  const mend = `configuration ${configuration}: the web server answers as the service: ip address add ${address}/${bits} dev lo`;
  return checkLocalAddress(host, address, mend);
}
