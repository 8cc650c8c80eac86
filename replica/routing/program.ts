/**
 * Service-level routing at a server: says hello to the routers above, reports load, and opens their tunnels. The local
 * server answers each client directly, as the virtual host.
 */
import type { Metric } from '../../src/admin/metrics.js';
import type { Problem } from '../../src/errors.js';
import { Health } from '../../src/health/health.js';
import { CpuMeter, countConnections } from '../../src/health/host-load.js';
import { WaitMeter } from '../../src/health/wait-meter.js';
import type {
  Claim,
  Duty,
  KernelHalf,
  PlaneHalf,
  Program,
  Run,
  RunContext,
  Site,
} from '../../src/program.js';
import type { View } from '../../src/registry/kinds.js';
import { HelloClient, type Upper } from '../../src/routing/hello-client.js';
import { hookAttachments, hookSet } from '../../src/routing/kernel-layout.js';
import type { SubnetState } from '../../src/routing/messages.js';
import { secureOptions } from '../../src/routing/session.js';
import { ofV6, prefixOf } from '../../src/routing/virtual.js';
import {
  checkForwarding6,
  checkInterfaces,
  checkLocalAddress,
  type Host,
  leastMtu,
} from '../../src/steer/host.js';
import { type Address, parse } from '../../src/wire/address.js';
import { problems, type ServerConfig, schema } from './config.js';
import type { ServerSnapshot } from './pipeline.js';
import { steering } from './steering.js';

const LOOK_MS = 500;
/** The hooks of a server pin no flows. */
const FEW_FLOWS = 16;

export const program: Program<ServerConfig> = {
  name: 'routing',
  number: 1,
  kinds: [],
  schema,
  problems,
  create: (config, site) => new RoutedServer(config, site),
};

const words = (text: string | undefined): Address | null =>
  text === undefined ? null : (parse(text) as Address);

class RoutedServer implements Run {
  readonly topics = [];
  readonly plane: PlaneHalf = {
    module: new URL('./pipeline.js', import.meta.url),
    options: {},
    holdSlots: 1,
    memory: {},
  };
  readonly kernel: KernelHalf;
  readonly #client: HelloClient;
  readonly #health: Health | undefined;
  readonly #cpu = new CpuMeter();
  readonly #wait = new WaitMeter();
  readonly #ports: ReadonlySet<number>;
  #secure: ReturnType<typeof secureOptions>;
  #timer: NodeJS.Timeout | undefined;
  #connections = 0;
  #cpuPct = 0;
  #isDrained = false;
  #weight: number;
  #leaving = false;
  readonly actions = { drain: () => this.#setDrained(true), resume: () => this.#setDrained(false) };
  #refresh: () => void = () => {};

  constructor(
    readonly config: ServerConfig,
    readonly site: Site,
  ) {
    const { id, address, address6, hello, health, virtual, wan } = config;
    this.#secure = secureOptions(hello);
    this.#weight = config.weight;
    this.#ports = new Set(virtual.flatMap((v) => v.ports));
    this.#client = new HelloClient({
      ...{ uppers: hello.uppers, id, level: 'server', address, address6, events: site.events },
      state: () => this.#states(),
      onChange: () => this.#refresh(),
    });
    if (health !== undefined) this.#health = new Health(health, () => this.#client.tell());
    this.kernel = {
      hooks: hookSet(FEW_FLOWS),
      ipv6: ofV6(virtual).length > 0,
      attachments: (host) => hookAttachments(host, wan, 'server_in', ofV6(virtual).length > 0),
    };
  }

  claims(_view: View): Claim[] {
    return this.config.virtual.flatMap(({ subnet, protocols, ports }) =>
      prefixOf(subnet).bits < 128
        ? []
        : protocols.flatMap((protocol) =>
            ports.map((port) => ({ address: subnet.split('/')[0], port, protocol })),
          ),
    );
  }

  check(host: Host): Problem[] {
    const { wan, address, address6, virtual } = this.config;
    const interfaces = checkInterfaces(host, wan, 'wan');
    if (interfaces.length > 0) return interfaces;
    return [
      ...checkLocalAddress(host, address, 'no tunnel could reach it'),
      ...(ofV6(virtual).length > 0 ? checkForwarding6(host) : []),
      ...(address6 === undefined ? [] : checkLocalAddress(host, address6, 'no tunnel could reach it')),
      ...virtual.flatMap(({ subnet }) => {
        const mend = `the server answers as the virtual host: ip address add ${subnet} dev lo`;
        return prefixOf(subnet).bits === 128 ? checkLocalAddress(host, subnet.split('/')[0], mend) : [];
      }),
    ];
  }

  duty(host: Host): Duty {
    const mtu = this.config.tun.mtu ?? leastMtu(host, this.config.wan);
    const { sources } = this.#client;
    const { address, address6 } = this.config;
    const upper = this.#giveBackTo;
    const snapshot: ServerSnapshot = {
      hosts: this.config.virtual.map((v) => prefixOf(v.subnet)),
      routers: sources.map(prefixOf),
      address: parse(address) as Address,
      giveBackTo: words(upper?.address),
      address6: words(address6),
      giveBackTo6: words(upper?.address6),
      isWhole: this.#client.uppers.length === this.config.hello.uppers.length,
    };
    return {
      steering: steering(this.config, this.site.instance, sources, mtu),
      snapshot,
      tunMtu: mtu,
      names: {
        services: this.config.virtual.map((v) => v.name),
        uppers: this.#client.uppers.map((u) => u.id),
      },
    };
  }

  /** The router above that looks for a connection's server; undefined where the operator wants none, or none is known. */
  get #giveBackTo(): Upper | undefined {
    return this.config.giveBack ? this.#client.known.find((u) => u !== undefined) : undefined;
  }

  #states(): SubnetState[] {
    const load = this.#load();
    const available = this.#health?.healthy !== false && !this.#isDrained && !this.#leaving;
    const metrics = {
      ...{ connections: this.#connections, cpu: this.#cpuPct / 100 },
      ...{ waitMs: this.#wait.ms, serviceMs: Math.round(this.#wait.serviceMs) },
    };
    const { standby, virtual } = this.config;
    return [...new Set(virtual.map((v) => v.subnet))].map((subnet) => ({
      ...{ subnet, load, available, servers: 1, weight: this.#weight, metrics },
      ...(standby ? { standby } : {}),
    }));
  }

  /** 0 … 1, of the resource with the highest use. */
  #load(): number {
    const { connections, cpuPct } = this.config.limits;
    const cpu = cpuPct < 100 ? this.#cpuPct / cpuPct : 0;
    return Math.min(1, Math.round(Math.max(this.#connections / connections, cpu) * 1000) / 1000);
  }

  async start({ refresh }: RunContext): Promise<void> {
    this.#refresh = () => refresh(true);
    await this.#health?.start();
    this.#client.start(this.#secure);
    this.#wait.start(this.#ports);
    this.#timer = setInterval(() => {
      if (this.#ports.size > 0) this.#connections = countConnections(this.#ports);
      this.#cpuPct = this.#cpu.read();
    }, LOOK_MS);
  }

  #setDrained(isDrained: boolean): void {
    this.#isDrained = isDrained;
    this.site.events.say('info', isDrained ? 'drain' : 'resume', this.config.id, 'an operator requested it');
    this.#client.tell();
  }

  /** Takes over the weight; certificates and revocations are read again, and flows go on. */
  async reload(config: ServerConfig | undefined): Promise<void> {
    this.#weight = (config ?? this.config).weight;
    this.#secure = secureOptions((config ?? this.config).hello);
    this.#client.renew(this.#secure);
  }

  /** Gets no new connections from now on. */
  async leave(): Promise<void> {
    this.#leaving = true;
    this.#client.tell();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#wait.stop();
    this.#health?.stop();
    this.#client.stop();
  }

  summary(): string {
    return `server ${this.config.id}: ${this.#client.uppers.length} routers above, load ${this.#load()}`;
  }

  metrics(): Metric[] {
    const gauge = (name: string, help: string, value: number): Metric => ({
      ...{ name: `firstack_server_${name}`, help, type: 'gauge', samples: [{ labels: {}, value }] },
    });
    return [
      gauge('load', 'The load that this server says, 0 to 1.', this.#load()),
      gauge('connections', "Open connections on the virtual hosts' ports.", this.#connections),
      gauge(
        'wait_seconds',
        'The shortest wait for the first byte of an answer among the last five requests.',
        this.#wait.ms / 1000,
      ),
      gauge(
        'routers',
        'Routers above that this server has a session with.',
        this.#client.known.filter((u) => u !== undefined).length,
      ),
    ];
  }

  status(): Record<string, unknown> {
    return {
      id: this.config.id,
      uppers: this.#client.states,
      load: this.#load(),
      connections: this.#connections,
      isDrained: this.#isDrained,
      healthy: this.#health?.healthy ?? true,
    };
  }
}
