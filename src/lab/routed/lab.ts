/**
 * A laboratory of service-level routing: network, certificates, web servers, and one role per router and server.
 * Everything that it makes is on record (`../state.ts`), so `lab down` removes it too.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { FirstackError } from '../../errors.js';
import { writeSecret } from '../../secret-files.js';
import { askJson } from '../admin-client.js';
import { onEnd } from '../ending.js';
import { createHosts, namespaceOf } from '../network.js';
import { cliScript } from '../paths.js';
import {
  endAll,
  identify,
  inNamespace,
  isAlive,
  type Output,
  type ProcessId,
  run,
  signal,
  spawnLogged,
  tail,
  waitUntil,
} from '../process.js';
import { LabState, removeAtOnce } from '../state.js';
import type { Topology } from '../topology.js';
import { Wan } from '../wan.js';
import { WebServer } from '../web-server.js';
import { ADVERTISE_TABLE, startBird } from './bird.js';
import { makeAuthority, makeCertificate, uriOf } from './certificates.js';
import {
  addressOf,
  addressOf6,
  commandsOf,
  commandsOf6,
  hostsOfShape,
  ROUTED_CLIENT,
  type RoutedHost,
  type RoutedShape,
  VIRTUAL,
  VIRTUAL6,
  wanPlan,
} from './plan.js';

export interface RoutedOptions {
  name: string;
  shape: RoutedShape;
  fastpath?: 'auto' | 'on' | 'stack' | 'off';
  intervalMs?: number;
  /** Every host has IPv6 too, and there is a virtual host of IPv6; the client's line has no delay then. */
  ipv6?: boolean;
  /** The highest routers advertise the virtual hosts by BIRD, and tell each other their flows. */
  bird?: boolean;
  /** One-way, on the client's line; 0, the default: no emulator. */
  clientDelayMs?: number;
  /** Changes a host's role file before it is written. */
  edit?: (host: RoutedHost, file: Record<string, unknown>) => Record<string, unknown>;
  /** Called before any role file is written, with the laboratory's directory. */
  before?: (directory: string) => void;
  /** Hosts whose role is not started. */
  idle?: readonly string[];
  progress?: (line: string) => void;
}

export const HELLO_PORT = 7417;
const READY_MS = 40_000;
const STOP_MS = 10_000;

/** What `/v1/status` of a role with this program says, as far as the laboratory reads it. */
export interface RoutedStatus {
  counters: Record<string, number>;
  flows: number;
  fastpath?: { how: string; flows?: number } & Record<string, unknown>;
  uppers: { where: string; id?: string; problem: string }[];
  members?: number;
  load?: number;
}

export class RoutedLab {
  readonly hosts: readonly RoutedHost[];
  readonly topology: Topology;
  readonly webServers = new Map<string, WebServer>();
  readonly #roles = new Map<string, ProcessId>();
  #forget = (): void => {};
  #gone: Promise<void> | undefined;

  private constructor(
    readonly state: LabState,
    readonly options: RoutedOptions,
  ) {
    this.hosts = hostsOfShape(options.shape);
    this.topology = { ...TOPOLOGY, ipv6: options.ipv6 === true };
    for (const { name } of this.servers) this.webServers.set(name, new WebServer(state, name, this.topology));
  }

  /** @throws FirstackError FSA_LAB_EXISTS, FSA_LAB_FAILED; then nothing is left behind */
  static async create(options: RoutedOptions): Promise<RoutedLab> {
    const { name } = options;
    const hosts = hostsOfShape(options.shape);
    const namespaces = ['client', 'wan', ...hosts.map((h) => h.name)];
    const state = await LabState.claim({
      name,
      owner: identify(process.pid) ?? null,
      namespaces: namespaces.map((h) => ({ name: namespaceOf(name, h) })),
      processes: [],
      instances: hosts.flatMap((h) => [`lab-${name}-${h.name}`, `lab-${name}-${h.name}-routing`]),
      topology: 'routed',
      hosts: Object.fromEntries([
        ['client', ROUTED_CLIENT],
        ...hosts.map((h) => [h.name, addressOf(hosts, h.name)]),
      ]),
      services: TOPOLOGY.services,
    });
    const lab = new RoutedLab(state, options);
    lab.#forget = onEnd({ orderly: () => lab.down(), atOnce: () => removeAtOnce(state) });
    try {
      await lab.#build(namespaces);
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
  get servers(): RoutedHost[] {
    return this.hosts.filter((h) => h.level === 'server');
  }
  get routers(): RoutedHost[] {
    return this.hosts.filter((h) => h.level !== 'server');
  }

  async #build(namespaces: string[]): Promise<void> {
    const { progress: say = () => {}, clientDelayMs = 0 } = this.options;
    say(`network: ${namespaces.length} namespaces`);
    await createHosts(
      this.name,
      namespaces,
      commandsOf(this.name, this.hosts, clientDelayMs, this.options.bird !== true),
      (h) => h !== 'client',
      this.topology.ipv6 ? commandsOf6(this.hosts) : {},
    );
    this.state.noteNamespaces();
    await this.state.mountBpf();
    if (clientDelayMs > 0) await new Wan(this.state, wanPlan(clientDelayMs, 1)).start();
    say('certificates: an authority, one certificate per router and server');
    await makeAuthority(this.directory);
    for (const host of this.hosts)
      await makeCertificate(this.directory, host.name, { uri: this.uriOf(host) });
    say(`nginx: on ${[...this.webServers.keys()].join(', ')}`);
    await Promise.all([...this.webServers.values()].map((w) => w.start()));
    writeFileSync(`${this.directory}/registry.yaml`, '{}\n');
    writeSecret(`${this.directory}/level.key`, `${randomBytes(16).toString('hex')}\n`);
    say(`roles: ${this.hosts.length}`);
    this.options.before?.(this.directory);
    for (const host of this.hosts) this.writeRoleFile(host.name);
    const started = this.hosts.filter((h) => this.options.idle?.includes(h.name) !== true);
    for (const { name } of started) this.start(name);
    await this.untilReady();
    if (this.options.bird === true) await startBird(this);
    say('every router knows its members');
  }

  host(name: string): RoutedHost {
    const host = this.hosts.find((h) => h.name === name);
    if (host === undefined) throw new FirstackError('FSA_USAGE', `no router or server '${name}'`);
    return host;
  }
  address(name: string): string {
    return addressOf(this.hosts, name);
  }
  address6(name: string): string {
    return addressOf6(this.hosts, name);
  }
  /** What a host's certificate says. */
  uriOf(host: RoutedHost): string {
    return uriOf(this.hosts, host, this.topology.ipv6);
  }
  configFile(name: string): string {
    return `${this.directory}/${name}.yaml`;
  }
  logFile(name: string): string {
    return `${this.directory}/${name}.log`;
  }
  adminSocket(name: string): string {
    return `${this.directory}/${name}.sock`;
  }

  writeRoleFile(name: string): void {
    const host = this.host(name);
    const { edit, intervalMs = 1000 } = this.options;
    const at = (file: string): string => `${this.directory}/${file}`;
    const hello = {
      caFile: at('ca.pem'),
      certFile: at(`${name}.pem`),
      keyFile: at(`${name}.key`),
      uppers: host.uppers.map((u) => `${this.address(u)}:${HELLO_PORT}`),
    };
    const isServer = host.level === 'server';
    const file = {
      instance: `lab-${this.name}-${name}`,
      wan: ['wan0'],
      registry: `file:${at('registry.yaml')}`,
      admin: { listen: `unix:${this.adminSocket(name)}` },
      id: name,
      address: this.address(name),
      tun: { name: 'fsrt', queueLength: 4096 },
      fastpath: { mode: this.options.fastpath ?? 'auto' },
      ...(this.topology.ipv6 ? { address6: this.address6(name) } : {}),
      virtual: [
        { name: 'web', subnet: `${VIRTUAL}/32` },
        ...(this.topology.ipv6 ? [{ name: 'web6', subnet: `${VIRTUAL6}/128` }] : []),
      ],
      hello: isServer ? hello : { ...hello, intervalMs },
      ...(isServer
        ? {
            health: {
              http: `http://${this.address(name)}/healthz`,
              intervalMs: 500,
              timeoutMs: 400,
              rise: 1,
              fall: 2,
            },
          }
        : { level: host.level, lan: ['wan0'], ...this.#atTheTop(host) }),
    };
    writeFileSync(this.configFile(name), stringify(edit?.(host, file) ?? file));
  }

  /** What the highest routers have besides. */
  #atTheTop({ name, level }: RoutedHost): object {
    if (this.options.bird !== true || level !== this.hosts[0].level) return {};
    const others = this.hosts.filter((h) => h.level === level && h.name !== name);
    return {
      advertiseTable: ADVERTISE_TABLE,
      ...(others.length === 0
        ? {}
        : {
            neighbours: others.map((h) => this.address(h.name)),
            levelKeyFile: `${this.directory}/level.key`,
          }),
    };
  }

  start(name: string): void {
    const role = this.host(name).level === 'server' ? 'replica' : 'origin';
    const argv = inNamespace(namespaceOf(this.name, name), [
      ...[
        'env',
        `FIRSTACK_BPF_DIR=${this.state.bpfDirectory}`,
        `FIRSTACK_STATE_DIR=${this.directory}/events`,
      ],
      ...[process.execPath, cliScript, role, '--program', 'routing', '--config-file', this.configFile(name)],
    ]);
    this.#roles.set(name, this.state.noteProcess(name, spawnLogged(argv, this.logFile(name)).pid));
  }

  async stop(name: string): Promise<void> {
    const id = this.#roles.get(name);
    if (id !== undefined) await endAll([id], STOP_MS);
    this.#roles.delete(name);
  }

  async kill(name: string): Promise<void> {
    const id = this.#roles.get(name);
    if (id === undefined) return;
    signal(id, 'SIGKILL');
    await waitUntil(() => !isAlive(id), 2000);
    this.#roles.delete(name);
  }

  pid(name: string): number | undefined {
    return this.#roles.get(name)?.pid;
  }

  signal(name: string, what: NodeJS.Signals): void {
    const id = this.#roles.get(name);
    if (id !== undefined) signal(id, what);
  }

  isRunning(name: string): boolean {
    const id = this.#roles.get(name);
    return id !== undefined && isAlive(id);
  }

  async status(name: string): Promise<RoutedStatus | undefined> {
    const answer = await askJson<{ programs?: { routing?: RoutedStatus } }>(
      this.adminSocket(name),
      '/v1/status',
    );
    return answer?.programs?.routing;
  }

  /** Waits until every running role is ready, and every member is known to the routers above it. */
  async untilReady(timeoutMs = READY_MS): Promise<void> {
    let blame = '';
    const isReady = async (): Promise<boolean> => {
      for (const { name, uppers } of this.hosts) {
        if (!this.#roles.has(name)) continue;
        blame = name;
        if (!this.isRunning(name)) return true;
        const status = await this.status(name);
        const known = status?.uppers.filter((u) => u.id !== undefined).length ?? 0;
        if (status === undefined || known < uppers.filter((u) => this.#roles.has(u)).length) return false;
      }
      // The states that members say reach the highest level after an interval each.
      const top = this.hosts[0].name;
      blame = this.#roles.has(top) ? top : '';
      if (blame === '') return true;
      const routes = await askJson<{ hosts: { members: { share: number }[] }[] }>(
        this.adminSocket(top),
        '/v1/routes',
      );
      const members = this.hosts.filter((h) => h.uppers.includes(top) && this.#roles.has(h.name)).length;
      blame = `${top} (${JSON.stringify(routes?.hosts[0]?.members.map((m) => m.share))})`;
      if (routes?.hosts.every((h) => h.members.filter((m) => m.share > 0).length === members) !== true)
        return false;
      blame = '';
      return true;
    };
    await waitUntil(isReady, timeoutMs, 100);
    if (blame === '') return;
    const host = blame.split(' ')[0];
    throw new FirstackError(
      'FSA_LAB_FAILED',
      `${blame} is not ready; end of its log:\n${tail(this.logFile(host))}`,
    );
  }

  /** Runs a command on a host and waits for it. */
  exec(host: string, argv: string[], options: { input?: string; timeoutMs?: number } = {}): Promise<Output> {
    return run(inNamespace(namespaceOf(this.name, host), argv), options);
  }

  /** The same. @returns what it printed @throws FirstackError FSA_LAB_FAILED when it ends with another status than 0 */
  async mustExec(
    host: string,
    argv: string[],
    options: { input?: string; timeoutMs?: number } = {},
  ): Promise<string> {
    const { status, stdout, stderr } = await this.exec(host, argv, options);
    if (status === 0) return stdout;
    throw new FirstackError('FSA_LAB_FAILED', `${host}: ${argv.join(' ')}: ${stderr.trim() || status}`);
  }

  /** Starts a command on a host. It ends with the laboratory at the latest. */
  spawnIn(host: string, argv: string[], options: SpawnOptions = {}): ChildProcess {
    const [command, ...args] = inNamespace(namespaceOf(this.name, host), argv);
    const child = spawn(command, args, options);
    child.once('error', () => {});
    this.state.noteProcess(`command-${host}`, child.pid);
    return child;
  }

  down(): Promise<void> {
    this.#gone ??= this.state.remove().finally(() => this.#forget());
    return this.#gone;
  }
}

/** What the web servers need of a topology. */
const TOPOLOGY: Topology = {
  name: 'routed',
  replicas: [],
  wanHosts: [],
  servers: [],
  limits: {},
  services: [{ name: 'web', address: VIRTUAL, ports: [80], raceWindowMs: 500 }],
  delaysMs: {},
  paths: {},
  ipv6: false,
};
