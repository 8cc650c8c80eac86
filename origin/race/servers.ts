/**
 * The several servers of a service. An adjacent server gets packets unencapsulated, routed via its own address. A
 * remote server runs the replica role and gets tagged SYNs as replicas do. Weights and health decide which server
 * gets a SYN; the flow's later packets go to the same server (`src/steer/next-hops.ts`).
 */

import { createHash } from 'node:crypto';
import { maglev } from '../../src/balance/maglev.js';
import { checkLine, Health, type HealthConfig } from '../../src/health/health.js';
import type { OriginServer } from '../../src/race/records.js';
import type { SipKey } from '../../src/wire/siphash.js';
import type { OriginService } from './config.js';

/** The placeholder for the server's address in a health check. */
const PLACE = '{server}';

interface Watched {
  health: Health;
  text: string;
}

export interface ServerStatus {
  service: string;
  server: string;
  kind: 'adjacent' | 'remote';
  weight: number;
  healthy: boolean;
  reason: string;
  /** The check as a line of shell; '' where there is none. */
  check: string;
}

export const nameOf = (s: OriginServer): string => s.address ?? s.replica!;

export class Servers {
  /** By `service/address`. */
  readonly #watched = new Map<string, Watched>();

  /** @param onChange called when a server's health changes */
  constructor(readonly onChange: (service: string, server: string, reason: string) => void) {}

  /** Watches the adjacent servers of these services only. Resolves after the first check of each. */
  async watch(services: readonly OriginService[]): Promise<void> {
    const wanted = new Set<string>();
    const begun: Promise<void>[] = [];
    for (const service of services)
      for (const address of watchedAddresses(service)) {
        if (service.health === undefined) continue;
        const key = `${service.name}/${address}`;
        const config = checkOf(service.health, address);
        const text = JSON.stringify(config);
        wanted.add(key);
        if (this.#watched.get(key)?.text === text) continue;
        this.#watched.get(key)?.health.stop();
        const health = new Health(config, () => this.onChange(service.name, address, health.reason));
        this.#watched.set(key, { health, text });
        begun.push(health.start());
      }
    for (const [key, { health }] of this.#watched) {
      if (wanted.has(key)) continue;
      health.stop();
      this.#watched.delete(key);
    }
    await Promise.all(begun);
  }

  /** Whether every server of a service that is watched is down; false where none is watched. */
  areAllDown(service: string, services: readonly OriginService[]): boolean {
    const addresses = services.filter((s) => s.name === service).flatMap(watchedAddresses);
    const watched = addresses.flatMap((a) => this.#watched.get(`${service}/${a}`) ?? []);
    return watched.length > 0 && watched.every(({ health }) => !health.healthy);
  }

  stop(): void {
    for (const { health } of this.#watched.values()) health.stop();
    this.#watched.clear();
  }

  /** The reason why an adjacent server gets no new connections; '' when it does, or is not watched. */
  reason(service: string, address: string): string {
    return this.#watched.get(`${service}/${address}`)?.health.reason ?? '';
  }

  /** The slots of a service's adjacent servers: each slot is an index in `servers`. */
  slots(service: OriginService): Int32Array {
    return this.#table(service, () => false);
  }

  /** The slots of all servers, for tagged SYNs. @param isUp whether a remote server takes part */
  allSlots(service: OriginService, isUp: (replica: string) => boolean): Int32Array {
    return this.#table(service, isUp);
  }

  /**
   * A remote server that is not up gets no connections, because it would not answer. Where all other servers are
   * unhealthy, all of them get connections, because a refusal tells the client more than silence.
   */
  #table({ name, servers = [] }: OriginService, isUp: (replica: string) => boolean): Int32Array {
    const possible = servers.map((s) => (s.replica !== undefined && !isUp(s.replica) ? 0 : s.weight));
    const healthy = servers.map((s, i) =>
      s.address !== undefined && this.reason(name, s.address) !== '' ? 0 : possible[i],
    );
    const used = healthy.some((w) => w > 0) ? healthy : possible;
    return maglev(servers.map((s, i) => ({ name: nameOf(s), weight: used[i] })));
  }

  #checkLineOf({ health }: OriginService, address: string | undefined): string {
    return health === undefined || address === undefined ? '' : checkLine(checkOf(health, address));
  }

  status(services: readonly OriginService[], whyNot: (replica: string) => string): ServerStatus[] {
    return services.flatMap((service) =>
      shownServers(service).map((s) => {
        const reason = s.address === undefined ? whyNot(s.replica!) : this.reason(service.name, s.address);
        return {
          service: service.name,
          server: nameOf(s),
          kind: s.address === undefined ? ('remote' as const) : ('adjacent' as const),
          weight: s.weight,
          healthy: reason === '',
          reason,
          check: this.#checkLineOf(service, s.address),
        };
      }),
    );
  }
}

/** The adjacent servers; the service's own address where the network leads to its only server. */
function watchedAddresses({ address, servers }: OriginService): string[] {
  return servers === undefined ? [address] : servers.flatMap((s) => s.address ?? []);
}

/** The only server is shown where its health is checked. */
const shownServers = ({ address, servers, health }: OriginService): OriginServer[] =>
  servers ?? (health === undefined ? [] : [{ address, weight: 1 }]);

function checkOf(health: HealthConfig, address: string): HealthConfig {
  const put = (text: string): string => text.replaceAll(PLACE, address);
  return {
    ...health,
    ...(health.http === undefined ? {} : { http: put(health.http) }),
    ...(health.tcp === undefined ? {} : { tcp: put(health.tcp) }),
    ...(health.command === undefined ? {} : { command: health.command.map(put) }),
  };
}

/** Seed of the hash that spreads connections over servers. @param fleet the fleet's public key, where there is no key for all probes */
export function seedOf(probes: SipKey | undefined, fleet = ''): number {
  return createHash('sha256')
    .update('servers')
    .update(probes ?? fleet)
    .digest()
    .readUInt32LE(0);
}
