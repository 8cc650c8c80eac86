/**
 * What follows from the gateway's memory of services and machines: the snapshot for the data plane, the paths that are
 * probed, and the elements of the nftables sets.
 */
import type { ServiceNumber } from '../../src/flow/numbers.js';
import { MOST_RACED, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import type { Seed } from '../../src/proximity/site.js';
import { MODES } from '../../src/race/modes.js';
import type { Configuration } from '../../src/race/records.js';
import type { Race } from '../../src/race/release.js';
import { type Address, isV6Text, parse } from '../../src/wire/address.js';
import { PLAIN, TUNNELLED } from '../../src/wire/path-probe.js';
import type { Fleet } from './fleet.js';
import { type KnownEndpoint, rankOf } from './known.js';
import type { Endpoint } from './machines.js';
import { MOST_PATHS, type ProbeTarget } from './path-probes.js';
import type { GatewaySnapshot } from './state.js';

const RACE_NUMBERS: Record<Race, GatewaySnapshot['race']> = { origin: 0, gateway: 1, learned: 2 };
const words = (text: string): Address => parse(text) as Address;

/** Endpoints as the data plane knows them: of thousands, most are as before. */
const known = new WeakMap<KnownEndpoint, Endpoint>();

function endpointOf(e: KnownEndpoint): Endpoint {
  const before = known.get(e);
  if (before !== undefined && isSame(before, e)) return before;
  const { service, machine, candidate, words: address, port, live, load, trials, key } = e;
  const now: Endpoint = { service, machine, candidate, address, port, live, load, trials };
  if (key !== undefined) now.key = key;
  known.set(e, now);
  return now;
}

const isSame = (a: Endpoint, b: KnownEndpoint): boolean =>
  a.service === b.service &&
  a.machine === b.machine &&
  a.candidate === b.candidate &&
  a.address === b.words &&
  a.port === b.port &&
  a.live === b.live &&
  a.load === b.load &&
  a.trials === b.trials &&
  a.key === b.key;

export function snapshotOf(
  fleet: Fleet,
  wanMtu: number,
  tunnelMss: number,
  seeds: Seed[] = [],
  probeSource = 0,
): GatewaySnapshot {
  // A live endpoint comes after a remembered one with the same address and port, and a machine's present endpoint
  // after its former ones, because the later entry wins.
  const ranked = [...fleet.endpoints].sort((a, b) => rankOf(a) - rankOf(b));
  const endpoints = ranked.map(endpointOf);
  return {
    seeds,
    race: RACE_NUMBERS[fleet.race],
    services: fleet.services.map((s, n) => ({
      address: words(s.address),
      port: s.port,
      mode: MODES[s.configuration],
      raced: s.raced,
      suspects: fleet.judged.suspectsOf(n as ServiceNumber),
      holders: Array.from({ length: MOST_RACED }, (_, c) => s.candidates.generationOf(c)),
      ...(s.key === undefined ? {} : { key: s.key }),
    })),
    endpoints,
    tunnelMss,
    wanMtu,
    probed: probedPaths(fleet),
    probeSource,
  };
}

/** The paths to replicas that are up and may win a race here, each in the forms in which their services' packets travel. */
export function probedPaths(fleet: Fleet): ProbeTarget[] {
  const targets = new Map<string, ProbeTarget>();
  for (const { candidate, machine, service, address, words: at, up, key } of fleet.endpoints) {
    const mayWin = fleet.race === 'origin' || candidate >= 0;
    if (machine === ORIGIN_MACHINE || !up || !mayWin || targets.size >= MOST_PATHS) continue;
    if (isV6Text(address) || (key === undefined && !fleet.tagging.hasOwnKey)) continue;
    const form = fleet.services[service].configuration === 'C' ? TUNNELLED : PLAIN;
    targets.set(`${address} ${form}`, {
      ...{ address: at[3], form },
      ...(key === undefined ? {} : { key }),
    });
  }
  return [...targets.values()];
}

/** Elements of the nftables sets: services, services in configuration C, replica endpoints, tunnel sources. */
export function steeredBy(fleet: Fleet): {
  services: string[];
  tunnelled: string[];
  endpoints: string[];
  tunnels: string[];
} {
  const { services } = fleet;
  const replicas = [...fleet.endpoints].filter((e) => e.machine !== ORIGIN_MACHINE);
  const configuration = (e: KnownEndpoint): Configuration => services[e.service].configuration;
  return {
    services: services.map((s) => `${s.address} . ${s.port}`),
    tunnelled: services.filter((s) => s.configuration === 'C').map((s) => `${s.address} . ${s.port}`),
    endpoints: replicas.filter((e) => configuration(e) !== 'C').map((e) => `${e.address} . ${e.port}`),
    tunnels: [
      ...replicas.filter((e) => configuration(e) === 'C').map((e) => e.address),
      ...services.filter((s) => s.configuration === 'B').map((s) => s.address),
    ],
  };
}
