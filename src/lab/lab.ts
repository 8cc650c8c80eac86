/**
 * A laboratory: network, WAN emulator, Redis, web servers and roles under one name.
 *
 *   Lab.create ─► network ─► emulator ─► redis ─► web servers ─► [startRoles ⇄ stopRoles] ─► down
 *        │                                                                                    ▲
 *        └── any failure, SIGINT, SIGTERM, an uncaught exception, the end of this process ────┘
 *
 * After SIGKILL the process itself cannot clean up; the next `create` of the same name, or `lab down`, does.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { FirstackError } from '../errors.js';
import type { WanStatistics } from './emulator.js';
import { onEnd } from './ending.js';
import { FARM, FARM_PREFIX } from './farm.js';
import { FarmFleet } from './farm-fleet.js';
import {
  CLIENT_ADDRESS,
  createNetwork,
  hostsOf,
  namespaceOf,
  setServiceAddresses,
  wanAddress,
} from './network.js';
import { identify, inNamespace, type Output, run } from './process.js';
import { PrivateRedis } from './redis.js';
import { type RoleOptions, Roles } from './roles.js';
import { LabState, removeAtOnce } from './state.js';
import { loadTopology, type Topology } from './topology.js';
import { Wan } from './wan.js';
import { WebServer } from './web-server.js';

export interface LabOptions extends Partial<RoleOptions> {
  name: string;
  /** A name, a file, or a topology that is loaded already. */
  topology?: string | Topology;
  /** Start the roles too; true by default. */
  roles?: boolean;
  /** Seed for packet loss and jitter; by default random, and printed. */
  seed?: number;
  /** Called with one line per step. */
  progress?: (line: string) => void;
}

export class Lab {
  readonly wan: Wan;
  readonly redis: PrivateRedis;
  readonly roles: Roles;
  /** By host: `server`, `s2` …, `r1` …, `farm` */
  readonly webServers = new Map<string, WebServer>();
  readonly #farm: FarmFleet | undefined;
  readonly #progress: (line: string) => void;
  readonly #idle: readonly string[] | undefined;
  #forget = () => {};
  #gone: Promise<void> | undefined;

  private constructor(
    readonly state: LabState,
    readonly topology: Topology,
    options: LabOptions,
  ) {
    this.#progress = options.progress ?? (() => {});
    this.#idle = options.idle;
    const seed = options.seed ?? Math.floor(Math.random() * 0x7fff_ffff);
    this.wan = new Wan(state, Wan.planOf(topology, seed));
    this.redis = new PrivateRedis(state);
    this.roles = new Roles(state, topology, this.redis.url);
    const { farm } = topology;
    if (farm !== undefined) this.#farm = new FarmFleet(state, farm, topology.services[0], this.redis.socket);
    const withFarm = farm === undefined ? [] : [FARM];
    for (const host of [...topology.servers, ...topology.replicas, ...withFarm]) {
      this.webServers.set(host, new WebServer(state, host, topology));
    }
  }

  /** @throws FirstackError FSA_PERMISSION, FSA_LAB_EXISTS, FSA_CONFIG_*, FSA_LAB_FAILED; then nothing is left behind */
  static async create(options: LabOptions): Promise<Lab> {
    requireRoot();
    const topology = typeof options.topology === 'object' ? options.topology : loadTopology(options.topology);
    const { name } = options;
    const state = await LabState.claim({
      name,
      owner: identify(process.pid) ?? null,
      namespaces: hostsOf(topology).map((h) => ({ name: namespaceOf(name, h) })),
      processes: [],
      instances: [],
      topology: topology.name,
      hosts: addressesOf(topology),
      services: topology.services,
    });
    const lab = new Lab(state, topology, options);
    lab.#forget = onEnd({ orderly: () => lab.down(), atOnce: () => removeAtOnce(state) });
    try {
      await lab.#build();
      if (options.roles !== false) await lab.startRoles(options);
    } catch (error) {
      await lab.down();
      throw error;
    }
    return lab;
  }

  get name(): string {
    return this.state.record.name;
  }
  get directory(): string {
    return this.state.directory;
  }

  async #build(): Promise<void> {
    const { topology } = this;
    const hosts = hostsOf(topology);
    this.#progress(`network: ${hosts.length} namespaces (${hosts.join(', ')}), topology ${topology.name}`);
    await createNetwork(this.name, topology);
    this.state.noteNamespaces();
    await this.state.mountBpf();
    this.#progress(`WAN emulator: ${topology.wanHosts.length} hosts, seed ${this.wan.plan.seed}`);
    await this.wan.start();
    this.#progress('redis-server: private, on a Unix socket');
    await this.redis.start();
    this.#progress(`nginx: on ${[...this.webServers.keys()].join(', ')}`);
    await Promise.all([...this.webServers.values()].map((w) => w.start()));
  }

  /** Starts every role for a configuration and waits until all are ready. */
  async startRoles(options: Partial<RoleOptions> & { readyMs?: number } = {}): Promise<void> {
    const all: RoleOptions = {
      configuration: options.configuration ?? 'A',
      race: options.race ?? 'origin',
      release: options.release ?? 'synchronized',
      registry: options.registry ?? 'redis',
      fastpath: options.fastpath ?? 'auto',
      log: options.log ?? 'info',
      changes: options.changes,
      edit: options.edit,
      idle: options.idle ?? this.#idle,
      clockOffsetsMs: options.clockOffsetsMs,
      registryUrls: options.registryUrls,
      trees: options.trees,
      identities: options.identities,
    };
    const { configuration, race, release, registry } = all;
    const own = this.topology.services.map((s) => s.configuration ?? configuration);
    const used = [...new Set(own)].join(', ');
    this.#progress(`roles: configuration ${used}, race ${race}, release ${release}, registry ${registry}`);
    await this.redis.flush();
    this.roles.prepare(all);
    // In configuration A the web server sees its own address; in B and C it sees the service's, which the replica
    // must have.
    const addresses = this.roles.services.map((s) => ({
      address: s.address,
      have: this.roles.configurationOf(s) !== 'A',
    }));
    await Promise.all(this.topology.replicas.map((r) => setServiceAddresses(this.name, r, addresses)));
    // The keys are written, and no role has begun to follow the registry.
    await this.#farm?.start();
    this.roles.alsoUp = () => this.#farm?.up ?? [];
    this.roles.startAll();
    await this.roles.waitUntilReady(options.readyMs);
    this.#progress('roles: all ready, every replica measured');
  }

  async stopRoles(): Promise<void> {
    await this.roles.stopAll();
    await this.#farm?.stop();
  }

  async restartWebServers(): Promise<void> {
    const all = [...this.webServers.values()];
    await Promise.all(all.map((w) => w.stop()));
    await Promise.all(all.map((w) => w.start()));
  }

  startRole(host: string): void {
    this.roles.start(this.#known(host));
  }
  stopRole(host: string): Promise<void> {
    return this.roles.stop(this.#known(host));
  }
  killRole(host: string): Promise<void> {
    return this.roles.kill(this.#known(host));
  }

  /** @throws FirstackError FSA_USAGE where the topology has no farm */
  get farm(): FarmFleet {
    if (this.#farm === undefined) throw new FirstackError('FSA_USAGE', 'the topology has no farm');
    return this.#farm;
  }

  webServer(host: string): WebServer {
    const server = this.webServers.get(host);
    if (server === undefined) throw new FirstackError('FSA_USAGE', `there is no web server on '${host}'`);
    return server;
  }

  /** Runs a command on a host and waits for it. */
  exec(host: string, argv: string[], options: { input?: string; timeoutMs?: number } = {}): Promise<Output> {
    return run(inNamespace(namespaceOf(this.name, this.#known(host)), argv), options);
  }

  /** Starts a command on a host. It ends with the laboratory at the latest. */
  spawnIn(host: string, argv: string[], options: SpawnOptions = {}): ChildProcess {
    const [command, ...args] = inNamespace(namespaceOf(this.name, this.#known(host)), argv);
    const child = spawn(command, args, options);
    child.once('error', () => {});
    this.state.noteProcess(`command-${host}`, child.pid);
    return child;
  }

  wanStatistics(): Promise<WanStatistics> {
    return this.wan.statistics();
  }

  /** Leaves everything running when this process ends; `lab down` removes it. */
  leaveRunning(): void {
    this.#forget();
    this.state.record.owner = null;
    this.state.save();
  }

  /** Removes everything that was made. Does nothing when it is removed already. */
  down(): Promise<void> {
    this.#gone ??= this.state.remove().finally(() => this.#forget());
    return this.#gone;
  }

  #known(host: string): string {
    if (hostsOf(this.topology).includes(host)) return host;
    throw new FirstackError('FSA_USAGE', `no host '${host}' (hosts: ${hostsOf(this.topology).join(', ')})`);
  }
}

/** @throws FirstackError FSA_PERMISSION */
export function requireRoot(): void {
  if (process.geteuid?.() !== 0) {
    throw new FirstackError('FSA_PERMISSION', 'the laboratory makes network namespaces: run it as root');
  }
}

function addressesOf(topology: Topology): Record<string, string> {
  return {
    client: CLIENT_ADDRESS,
    gateway: `192.0.2.1, ${wanAddress('gateway')}`,
    wan: '198.18.*.1',
    origin: `203.0.113.1, ${wanAddress('origin')}`,
    server: topology.services.map((s) => s.address).join(', '),
    ...Object.fromEntries(topology.replicas.map((r) => [r, wanAddress(r)])),
    ...(topology.farm === undefined ? {} : { farm: `${wanAddress(FARM)}, ${FARM_PREFIX}` }),
  };
}
