/**
 * The roles of one configuration, or of services with configurations of their own: their files, their processes, and
 * their readiness. Each role is the ordinary command (`firstack gateway --config-file …`) in its host's namespace.
 */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { stringify } from 'yaml';
import { FirstackError } from '../errors.js';
import type { Fastpath } from '../fastpath/modes.js';
import { deriveGateway, newMaster, writeKeyFile } from '../keys.js';
import type { RaceRecord } from '../race/record.js';
import type { Configuration } from '../race/records.js';
import type { Race, Release } from '../race/release.js';
import { ask, askJson, type RoleStatus } from './admin-client.js';
import {
  CLIENT_PREFIX,
  CLIENT_PREFIX6,
  namespaceOf,
  SERVICE6,
  serverAddress,
  serverLan,
  wanAddress,
  wanAddress6,
} from './network.js';
import { cliScript } from './paths.js';
import {
  endAll,
  inNamespace,
  isAlive,
  type ProcessId,
  signal,
  spawnLogged,
  tail,
  waitUntil,
} from './process.js';
import type { LabState } from './state.js';
import type { Service, Topology } from './topology.js';

export interface RoleOptions {
  configuration: Configuration;
  race: Race;
  release: Release;
  registry: 'redis' | 'file';
  fastpath: Fastpath;
  /** Keys of a host's role file that differ from the laboratory's own. */
  changes?: Record<string, Record<string, unknown>>;
  /** Changes a host's role file as the laboratory would write it, for example to add programs besides the race. */
  edit?: (host: string, file: Record<string, unknown>) => Record<string, unknown>;
  /** Replicas whose role is not started. */
  idle?: readonly string[];
  /** By host: another registry than the laboratory's own. */
  registryUrls?: Record<string, string>;
  /**
   * By host: the offset of its wall clock. Namespaces share one clock, so this is the only way to make clocks differ.
   */
  clockOffsetsMs?: Record<string, number>;
  /**
   * By host: the installed tree (…/usr/lib/firstack) whose node and command are run; by default the checkout's build.
   * It is read whenever a role is started.
   */
  trees?: Record<string, string>;
  /** The level of the roles' logs. */
  log: string;
}

const GATEWAY_ID = 1;
const READY_TIMEOUT_MS = 15_000;
/** In production each role has its own machine; here it shares two cores with the clients. */
const NICENESS = -10;

export class Roles {
  options: RoleOptions = {
    configuration: 'A',
    race: 'origin',
    release: 'synchronized',
    registry: 'redis',
    fastpath: 'auto',
    log: 'info',
  };
  readonly hosts: string[];
  readonly #directory: string;
  readonly #lab: string;
  readonly #processes = new Map<string, ProcessId>();

  constructor(
    readonly state: LabState,
    readonly topology: Topology,
    readonly redisUrl: string,
  ) {
    this.#lab = state.record.name;
    this.#directory = state.directory;
    this.hosts = ['gateway', 'origin', ...topology.replicas];
  }

  /** Writes keys, once, and the files of every role for these options. Does not affect running roles. */
  prepare(options: RoleOptions): void {
    this.options = options;
    const { record } = this.state;
    record.instances = this.hosts.map((h) => this.instanceOf(h));
    this.state.save();
    if (!this.#haveKeys) this.#makeKeys();
    this.#haveKeys = true;
    for (const host of this.hosts) {
      const file = { ...(this.#configOf(host) as object), ...options.changes?.[host] };
      writeFileSync(this.configFile(host), stringify(options.edit?.(host, file) ?? file));
    }
    writeFileSync(`${this.#directory}/registry.yaml`, stringify(this.#registryFile()));
  }
  #haveKeys = false;

  configFile(host: string): string {
    return `${this.#directory}/${host}.yaml`;
  }
  logFile(host: string): string {
    return `${this.#directory}/${host}.log`;
  }
  instanceOf(host: string): string {
    return `lab-${this.#lab}-${host}`;
  }
  adminSocket(host: string): string {
    return `${this.#directory}/${host}.sock`;
  }
  get registryUrl(): string {
    return this.options.registry === 'redis' ? this.redisUrl : `file:${this.#directory}/registry.yaml`;
  }

  /**
   * Whether services have configurations of their own; then each role uses the configuration that the origin
   * publishes.
   */
  get isMixed(): boolean {
    return this.topology.ipv6 || this.topology.services.some((s) => s.configuration !== undefined);
  }

  configurationOf(service: Service): Configuration {
    return service.configuration ?? this.options.configuration;
  }

  /** The command line of a host's role, without the namespace. */
  argv(host: string): string[] {
    const { configuration, race, release, fastpath } = this.options;
    const role = host === 'gateway' || host === 'origin' ? host : 'replica';
    const tree = this.options.trees?.[host];
    const command =
      tree === undefined ? [process.execPath, cliScript] : [`${tree}/bin/node`, `${tree}/dist/src/cli.js`];
    const argv = [...command, role, '--config-file', this.configFile(host)];
    if (!this.isMixed) argv.push('--configuration', configuration);
    argv.push('--registry', this.options.registryUrls?.[host] ?? this.registryUrl);
    // A replica answers in the same way in every race.
    if (role !== 'replica') argv.push('--race', race, '--release', release);
    if (role !== 'origin') argv.push('--fastpath', fastpath);
    return argv;
  }

  start(host: string, niceness = NICENESS): void {
    const offset = this.options.clockOffsetsMs?.[host] ?? 0;
    const argv = inNamespace(namespaceOf(this.#lab, host), [
      'env',
      `FIRSTACK_CLOCK_OFFSET_MS=${offset}`,
      `FIRSTACK_BPF_DIR=${this.state.bpfDirectory}`,
      `FIRSTACK_STATE_DIR=${this.#directory}/events`,
      'nice',
      '-n',
      String(niceness),
      ...this.argv(host),
    ]);
    const child = spawnLogged(argv, this.logFile(host));
    this.#processes.set(host, this.state.noteProcess(host, child.pid));
  }

  startAll(): void {
    // The origin publishes the service that the others look for. Each start takes a second of processor time, without a
    // raised priority until all are ready, so that other laboratories can run.
    const idle = this.options.idle ?? [];
    for (const host of ['origin', ...this.topology.replicas, 'gateway'])
      if (!idle.includes(host)) this.start(host, 0);
  }

  /**
   * Raises the priority of every thread of the roles that were started without, by the same number: the thread of the
   * data plane stays ahead of the others.
   */
  #hasten(): void {
    for (const id of this.#processes.values()) {
      try {
        if (getPriority(id.pid) === NICENESS) continue;
        for (const task of readdirSync(`/proc/${id.pid}/task`).map(Number))
          setPriority(task, Math.max(-20, getPriority(task) + NICENESS));
      } catch {
        // The thread, or the whole process, has ended meanwhile.
      }
    }
  }

  /** Ends with the removal of its rules. */
  async stop(host: string): Promise<void> {
    const id = this.#processes.get(host);
    if (id !== undefined) await endAll([id]);
    this.#processes.delete(host);
  }

  async stopAll(): Promise<void> {
    await endAll([...this.#processes.values()]);
    this.#processes.clear();
  }

  async kill(host: string): Promise<void> {
    const id = this.#processes.get(host);
    if (id === undefined) return;
    signal(id, 'SIGKILL');
    await waitUntil(() => !isAlive(id), 2000);
    this.#processes.delete(host);
    rmSync(this.adminSocket(host), { force: true });
  }

  isRunning(host: string): boolean {
    const id = this.#processes.get(host);
    return id !== undefined && isAlive(id);
  }

  pid(host: string): number | undefined {
    return this.#processes.get(host)?.pid;
  }

  status(host: string): Promise<RoleStatus | undefined> {
    return askJson<RoleStatus>(this.adminSocket(host), '/v1/status');
  }

  /** The gateway's latest races, from its admin API. */
  async races(last: number): Promise<RaceRecord[]> {
    const answer = await askJson<{ races: RaceRecord[] }>(
      this.adminSocket('gateway'),
      `/v1/races?last=${last}`,
    );
    return answer?.races ?? [];
  }

  async counter(host: string, name: string): Promise<number> {
    return (await this.status(host))?.counters[name] ?? 0;
  }

  /**
   * Waits until every running role reports that it is ready, the origin has measured every running replica, and the
   * gateway knows every service.
   * @throws FirstackError FSA_LAB_FAILED with the end of the log of the role that is not ready
   */
  async waitUntilReady(timeoutMs = READY_TIMEOUT_MS): Promise<void> {
    let blame: { host: string; why: string } | undefined;
    const ready = async () => {
      blame = await this.#unready();
      return blame === undefined || !this.isRunning(blame.host);
    };
    await waitUntil(ready, timeoutMs, 50);
    this.#hasten();
    if (blame === undefined) return;
    const { host, why } = blame;
    const ended = this.isRunning(host) ? '' : ' (its process has ended)';
    throw new FirstackError(
      'FSA_LAB_FAILED',
      `${host} is not ready${ended}: ${why}; end of its log:\n${tail(this.logFile(host))}`,
    );
  }

  async #unready(): Promise<{ host: string; why: string } | undefined> {
    for (const host of this.#processes.keys()) {
      if (!this.isRunning(host)) return { host, why: 'it does not run' };
      const answer = await ask(this.adminSocket(host), '/readyz');
      if (answer?.status !== 200) {
        return {
          host,
          why: answer === undefined ? 'no answer' : `/readyz says ${answer.status} ${answer.body}`,
        };
      }
    }
    if (this.#processes.has('origin')) {
      const candidates = (await this.status('origin'))?.candidates ?? [];
      for (const id of this.#runningReplicas()) {
        const candidate = candidates.find((c) => c.id === id);
        if (candidate?.state !== 'up' || candidate.distanceMs === null) {
          const seen = candidate === undefined ? 'not in its view' : JSON.stringify(candidate);
          return { host: 'origin', why: `replica ${id} is ${seen}` };
        }
      }
    }
    if (this.#processes.has('gateway')) {
      const known = (await this.status('gateway'))?.services.map((s) => s.name) ?? [];
      const missing = this.services.find((s) => !known.includes(s.name));
      if (missing !== undefined) return { host: 'gateway', why: `it does not know service ${missing.name}` };
      // A role that does not know the gateway yet would refuse its first tags.
      for (const host of this.#processes.keys()) {
        const applied = (await this.status(host))?.applied;
        if (applied?.gateways.includes(GATEWAY_ID) !== true)
          return { host, why: 'it does not know the gateway yet' };
        // The gateway's first races would leave out a replica that has just become ready.
        const late =
          host === 'gateway' && this.#runningReplicas().find((r) => !applied.replicasUp.includes(r));
        if (late) return { host, why: `it does not know yet that replica ${late} is up` };
      }
    }
    return undefined;
  }

  #runningReplicas(): string[] {
    return this.topology.replicas.filter((r) => this.#processes.has(r));
  }

  #makeKeys(): void {
    const master = newMaster();
    writeKeyFile(`${this.#directory}/master.key`, master);
    writeKeyFile(`${this.#directory}/gateway.key`, deriveGateway(master, GATEWAY_ID));
  }

  #configOf(host: string): unknown {
    const common = {
      instance: this.instanceOf(host),
      wan: ['wan0'],
      admin: { listen: `unix:${this.adminSocket(host)}` },
      log: this.options.log,
    };
    const masterKey = { keyFile: `${this.#directory}/master.key` };
    const tun = (name: string) => ({ name, queueLength: 4096 });
    if (host === 'gateway') {
      return {
        ...common,
        lan: ['lan0'],
        tun: tun('fsgw'),
        prefixes: this.#prefixes,
        tag: { gatewayId: GATEWAY_ID, keyFile: `${this.#directory}/gateway.key` },
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
    return [CLIENT_PREFIX, ...(this.topology.ipv6 ? [CLIENT_PREFIX6] : [])];
  }
  #addressesOf(host: string): { address: string; address6?: string } {
    return { address: wanAddress(host), ...(this.topology.ipv6 ? { address6: wanAddress6(host) } : {}) };
  }
}
