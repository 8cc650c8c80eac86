/** The role files of a laboratory's hosts, their keys and identities, and the registry file. */
import { writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { deriveGateway, newMaster, writeKeyFile } from '../keys.js';
import type { Configuration } from '../race/records.js';
import type { Scope } from '../trust/credential.js';
import { issue, makeFleetKey, readFleetKey, writeIdentity } from '../trust/identity.js';
import { isV6Text } from '../wire/address.js';
import {
  CLIENT_PREFIX6,
  clientPrefixes,
  SERVICE6,
  serverAddress,
  serverLan,
  wanAddress,
  wanAddress6,
} from './network.js';
import type { RoleOptions } from './roles.js';
import type { Service, Topology } from './topology.js';

export const GATEWAY_ID = 1;
const YEAR_SECONDS = 365 * 86_400;

const isWanted = (identities: boolean | 'alone' | undefined): boolean =>
  identities !== undefined && identities !== false;

export class RoleFiles {
  #options: RoleOptions;
  #haveKeys = false;
  #haveIdentities = false;

  constructor(
    readonly directory: string,
    readonly lab: string,
    readonly topology: Topology,
    readonly hosts: readonly string[],
    options: RoleOptions,
  ) {
    this.#options = options;
  }

  write(options: RoleOptions): void {
    this.#options = options;
    if (!this.#haveKeys) this.#makeKeys();
    this.#haveKeys = true;
    const wanted = isWanted(options.identities);
    if (wanted && !this.#haveIdentities) this.#issueIdentities();
    this.#haveIdentities ||= wanted;
    for (const host of this.hosts) {
      const file = { ...(this.#configOf(host) as object), ...options.changes?.[host] };
      writeFileSync(this.configFile(host), stringify(options.edit?.(host, file) ?? file));
    }
    writeFileSync(`${this.directory}/registry.yaml`, stringify(this.#registryFile()));
  }

  configFile(host: string): string {
    return `${this.directory}/${host}.yaml`;
  }
  identityFile(host: string): string {
    return `${this.directory}/${host}.identity`;
  }
  instanceOf(host: string): string {
    return `lab-${this.lab}-${host}`;
  }
  adminSocket(host: string): string {
    return `${this.directory}/${host}.sock`;
  }

  /**
   * Whether services have configurations of their own; then each role uses the configuration that the origin
   * publishes.
   */
  get isMixed(): boolean {
    return this.topology.ipv6 || this.topology.services.some((s) => s.configuration !== undefined);
  }

  configurationOf(service: Service): Configuration {
    return service.configuration ?? this.#options.configuration;
  }

  /** The fleet's key is `fleet.key`: a test may issue more. */
  #issueIdentities(): void {
    const path = `${this.directory}/fleet.key`;
    makeFleetKey(path);
    const fleetKey = readFleetKey(path);
    const nbf = Math.floor(Date.now() / 1000) - 60;
    for (const host of this.hosts) {
      const { file } = issue(fleetKey, { ...this.#scopeOf(host), nbf, exp: nbf + YEAR_SECONDS });
      writeIdentity(this.identityFile(host), file);
    }
  }

  /** What a host of this laboratory may state: its own, and no more. */
  #scopeOf(host: string): { sub: string; may: Scope } {
    const { address, address6 } = this.#addressesOf(host);
    const addresses = [address, ...(address6 === undefined ? [] : [address6])].map(wholePrefix);
    const services = this.services.map((s) => s.name);
    if (host === 'gateway')
      return { sub: `gateway:${GATEWAY_ID}`, may: { prefixes: this.#prefixes, sites: ['zurich'] } };
    if (host !== 'origin') return { sub: `replica:${host}`, may: { services, addresses } };
    const servicePrefixes = this.services.map((s) => wholePrefix(s.address));
    return { sub: `origin:${this.instanceOf(host)}`, may: { services, addresses, servicePrefixes } };
  }

  #makeKeys(): void {
    const master = newMaster();
    writeKeyFile(`${this.directory}/master.key`, master);
    writeKeyFile(`${this.directory}/gateway.key`, deriveGateway(master, GATEWAY_ID));
  }

  #configOf(host: string): unknown {
    const common = {
      instance: this.instanceOf(host),
      wan: ['wan0'],
      admin: { listen: `unix:${this.adminSocket(host)}` },
      log: this.#options.log,
      ...(isWanted(this.#options.identities) ? { identityFile: this.identityFile(host) } : {}),
    };
    const keyFile = (name: string): object =>
      this.#options.identities === 'alone' ? {} : { keyFile: `${this.directory}/${name}.key` };
    const masterKey = keyFile('master');
    const tun = (name: string) => ({ name, queueLength: 4096 });
    if (host === 'gateway') {
      return {
        ...common,
        lan: ['lan0'],
        tun: tun('fsgw'),
        prefixes: this.#prefixes,
        tag: { gatewayId: GATEWAY_ID, ...keyFile('gateway') },
      };
    }
    if (host === 'origin') {
      return {
        ...common,
        lan: this.topology.servers.map(serverLan),
        tun: tun('fsor'),
        address: wanAddress(host),
        tag: masterKey,
        services: this.#originServices().map((s) => ({ ...s, ...this.#servers(s.ports) })),
      };
    }
    const services = this.#replicaServices();
    return {
      id: host,
      ...common,
      tun: tun('fsre'),
      ...this.#addressesOf(host),
      tag: masterKey,
      services,
      health: {
        http: `http://${wanAddress(host)}:${services[0].port}/healthz`,
        intervalMs: 500,
        timeoutMs: 400,
        rise: 1,
        fall: 2,
      },
      limits: this.topology.limits[host],
    };
  }

  /** The servers where there are several, and their health checks. */
  #servers(ports: number[]): object {
    if (this.topology.servers.length === 1) return {};
    return {
      servers: this.topology.servers.map((host) => ({ address: serverAddress(host) })),
      health: { http: `http://{server}:${ports[0]}/healthz`, intervalMs: 500, timeoutMs: 400 },
    };
  }

  /** The topology's services, and the IPv6 twin of the first one, which is never carried in configuration B. */
  get services(): Service[] {
    const { services, ipv6 } = this.topology;
    const configuration = this.configurationOf(services[0]) === 'C' ? 'C' : 'A';
    return ipv6 ? [...services, { ...services[0], ...SERVICE6, configuration }] : services;
  }

  #originServices() {
    return this.services.map((s) => ({
      name: s.name,
      address: s.address,
      ports: s.ports,
      raceWindowMs: s.raceWindowMs,
      replicable: true,
      ...(this.isMixed || this.topology.ipv6 ? { configuration: this.configurationOf(s) } : {}),
    }));
  }

  #replicaServices(): { name: string; port: number }[] {
    return this.services.map((s) => ({ name: s.name, port: s.ports[0] }));
  }

  #registryFile(): unknown {
    return {
      services: this.#originServices().map((s, n) => ({
        ...s,
        configuration: this.configurationOf(this.services[n]),
      })),
      replicas: this.topology.replicas.map((id) => ({
        id,
        ...this.#addressesOf(id),
        services: this.#replicaServices(),
      })),
      gateways: [{ id: GATEWAY_ID, prefixes: this.#prefixes }],
    };
  }

  get #prefixes(): string[] {
    return [...clientPrefixes(this.topology), ...(this.topology.ipv6 ? [CLIENT_PREFIX6] : [])];
  }
  #addressesOf(host: string): { address: string; address6?: string } {
    return { address: wanAddress(host), ...(this.topology.ipv6 ? { address6: wanAddress6(host) } : {}) };
  }
}

const wholePrefix = (address: string): string => `${address}/${isV6Text(address) ? 128 : 32}`;
