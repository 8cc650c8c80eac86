/**
 * One way to reach a web server, with its own namespaces, so that arms can interleave without restarts, and no arm's
 * filters affect another arm's packets. No emulator, no delay.
 *
 *   client ──── gateway ──── r1 … rN
 *  192.0.2.2   .1    198.18.(10+n).1   .2
 *
 * The service's own address has no machine behind it: packets to it are lost, and a replica always wins.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { FirstackError } from '../../errors.js';
import { within } from '../network.js';
import { namespaceRoot } from '../paths.js';
import { mustRun, type ProcessId } from '../process.js';
import { type Carrier, instancesOf, startCarrier } from './carriers.js';
import type { Testbed } from './testbed.js';

export const SERVICE = '203.0.113.10';
export const PORT = 80;
export const CLIENT = '192.0.2.2';
export const CLIENTS = '192.0.2.0/24';

export interface WorldSpec {
  /** At most 16 of a-z, 0-9 and '-'. */
  name: string;
  carrier: Carrier;
  /** Replicas; 1 by default. */
  replicas?: number;
  /** 6: clients and service have IPv6 addresses. */
  family?: 6;
}

export const replicaAddress = (n: number): string => `198.18.${10 + n}.2`;

// The same over IPv6 (RFC 3849).
export const SERVICE6 = '2001:db8:80::10';
export const CLIENTS6 = '2001:db8:1::/64';
export const replicaAddress6 = (n: number): string => `2001:db8:18:${10 + n}::2`;

/**
 * The sender and the receiver of a stream have a processor each. Otherwise the scheduler now and then places both on
 * one processor, for seconds, which changes every arm by a factor of three. The carrier's processes are scheduled
 * freely.
 */
export const FIRST_PROCESSOR = 0;
export const LAST_PROCESSOR = cpus().length - 1;
export const onProcessor = (n: number): string[] => ['taskset', '-c', String(n)];

/** Settings of every namespace, so that the machine's own are not inherited. */
const SYSCTLS: Record<string, string> = {
  'ipv4/conf/all/rp_filter': '0',
  'ipv4/conf/default/rp_filter': '2',
  'ipv4/conf/all/send_redirects': '0',
  'ipv4/conf/default/send_redirects': '0',
  'ipv4/ip_forward': '1',
  'ipv4/tcp_timestamps': '1',
  'ipv4/tcp_sack': '1',
  // A run must not begin with metrics that the run before has learned.
  'ipv4/tcp_no_metrics_save': '1',
  'ipv4/tcp_max_syn_backlog': '65535',
  'ipv4/tcp_syncookies': '0',
  'ipv4/ip_local_port_range': '1024 65535',
  'ipv4/tcp_rmem': '4096 131072 6291456',
  'ipv4/tcp_wmem': '4096 16384 4194304',
  'core/somaxconn': '65535',
};

export class World {
  /** The processes that carry this world's packets, besides the kernel. */
  carriers: ProcessId[] = [];

  constructor(
    readonly bed: Testbed,
    readonly spec: WorldSpec,
  ) {}

  static namespacesOf(spec: WorldSpec): string[] {
    return World.hostsOf(spec).map((h) => `fsb-${spec.name}-${h}`);
  }
  static hostsOf(spec: WorldSpec): string[] {
    return ['client', 'gateway', ...replicasOf(spec)];
  }
  static instancesOf(spec: WorldSpec): string[] {
    return instancesOf(spec);
  }

  get name(): string {
    return this.spec.name;
  }
  get replicas(): string[] {
    return replicasOf(this.spec);
  }
  /** The address to which clients of this world connect. */
  get address(): string {
    const isPlain = this.spec.carrier.kind === 'plain';
    if (this.spec.family === 6) return isPlain ? replicaAddress6(1) : SERVICE6;
    return isPlain ? replicaAddress(1) : SERVICE;
  }

  namespace(host: string): string {
    return `fsb-${this.name}-${host}`;
  }

  pids(): number[] {
    return this.carriers.map((c) => c.pid);
  }

  async createNetwork(): Promise<void> {
    await mustRun(
      ['ip', '-batch', '-'],
      World.namespacesOf(this.spec)
        .map((n) => `netns add ${n}\n`)
        .join(''),
    );
    for (const host of World.hostsOf(this.spec)) {
      within(this.namespace(host), () => {
        for (const [key, value] of Object.entries(SYSCTLS)) writeFileSync(`/proc/sys/net/${key}`, value);
      });
    }
    const gateway = this.namespace('gateway');
    await this.ip('client', [
      'link set lo up',
      `link add lan0 type veth peer name lan0 netns ${gateway}`,
      `addr add ${CLIENT}/24 dev lan0`,
      'link set lan0 up',
      'route add default via 192.0.2.1',
    ]);
    await this.ip('gateway', [
      'link set lo up',
      'addr add 192.0.2.1/24 dev lan0',
      'link set lan0 up',
      // Packets to this neighbour reach no machine, and are dropped.
      'link add void0 type veth peer name void1',
      'link set void0 up',
      'link set void1 up',
      `neigh add ${SERVICE} lladdr 02:00:00:00:00:01 dev void0`,
      `route add ${SERVICE}/32 dev void0`,
    ]);
    for (const [k, host] of this.replicas.entries()) {
      const net = `198.18.${11 + k}`;
      await this.ip(host, [
        'link set lo up',
        `link add wan0 type veth peer name wan${k + 1} netns ${gateway}`,
        `addr add ${net}.2/24 dev wan0`,
        'link set wan0 up',
        `route add default via ${net}.1`,
      ]);
      await this.ip('gateway', [`addr add ${net}.1/24 dev wan${k + 1}`, `link set wan${k + 1} up`]);
    }
    if (this.spec.family === 6) await this.#addV6();
  }

  async #addV6(): Promise<void> {
    for (const host of World.hostsOf(this.spec))
      within(this.namespace(host), () => writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1'));
    const add = (host: string, ...lines: string[]): Promise<void> => this.ip(host, lines, ['-6']);
    await add('client', 'addr add 2001:db8:1::2/64 dev lan0 nodad', 'route add default via 2001:db8:1::1');
    await add(
      'gateway',
      'addr add 2001:db8:1::1/64 dev lan0 nodad',
      `neigh add ${SERVICE6} lladdr 02:00:00:00:00:01 dev void0`,
      `route add ${SERVICE6}/128 dev void0`,
    );
    for (const [k, host] of this.replicas.entries()) {
      const near = replicaAddress6(k + 1).replace(/2$/, '1');
      await add(
        host,
        `addr add ${replicaAddress6(k + 1)}/64 dev wan0 nodad`,
        `route add default via ${near}`,
      );
      await add('gateway', `addr add ${near}/64 dev wan${k + 1} nodad`);
    }
  }

  async ip(host: string, lines: string[], options: string[] = []): Promise<void> {
    await mustRun(['ip', ...options, '-n', this.namespace(host), '-batch', '-'], `${lines.join('\n')}\n`);
  }

  /** Starts servers and carrier, and checks that a connection succeeds. */
  async start(): Promise<void> {
    for (const host of this.replicas) {
      const what = `${this.name}-server-${host}`;
      this.bed.spawn(what, this.namespace(host), [
        ...onProcessor(LAST_PROCESSOR),
        this.bed.program('load'),
        ...['serve', this.spec.family === 6 ? '::' : '0.0.0.0', String(PORT)],
      ]);
      await this.bed.until(what, () => this.#said(what, 'ready'));
    }
    this.carriers = await startCarrier(this);
    // The first connections also find their neighbours.
    for (let tries = 0; tries < 3; tries++) {
      const tried = await this.load<{ count: number; failed: number }>(['crr'], ['1', '0', '50']);
      if (tried.count > 0 && tried.failed === 0) return;
    }
    throw new FirstackError('FSA_LAB_FAILED', `bench: no connection comes through in ${this.name}`);
  }

  #said(what: string, text: string): boolean {
    return readFileSync(this.bed.logFile(what), 'utf8').includes(text);
  }

  /** Runs a load from the client, and returns its last line as JSON. */
  async load<T>(what: string[], more: string[], prefix: string[] = []): Promise<T> {
    const argv = [...prefix, this.bed.program('load'), ...what, this.address, String(PORT), ...more];
    const out = await this.exec('client', argv);
    return JSON.parse(out.trimEnd().split('\n').at(-1)!) as T;
  }

  /** @throws FirstackError when it ends with another status than 0 */
  async exec(host: string, argv: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.bed.run(this.namespace(host), argv);
    if (status === 0) return stdout;
    const what = argv.map((a) => a.replace(/^.*\//, '')).join(' ');
    throw new FirstackError('FSA_LAB_FAILED', `bench: ${this.name}: ${what}: ${stderr.trim() || status}`);
  }

  within<T>(host: string, what: () => T): T {
    return within(this.namespace(host), what);
  }

  /** A file of /proc whose content belongs to this thread's namespace. */
  proc(host: string, file: string): string {
    return this.within(host, () => readFileSync(`/proc/thread-self/net/${file}`, 'utf8'));
  }

  /** The number of packets that were received there so far. */
  received(host: string, device: string): number {
    const line = this.proc(host, 'dev')
      .split('\n')
      .find((l) => l.trim().startsWith(`${device}:`))!;
    return Number(line.split(':')[1].trim().split(/\s+/)[1]);
  }

  /** A counter of the TcpExt lines of /proc/net/netstat. */
  tcpExt(host: string, name: string): number {
    const [names, values] = this.proc(host, 'netstat')
      .split('\n')
      .filter((l) => l.startsWith('TcpExt:'))
      .map((l) => l.split(' '));
    return Number(values[names.indexOf(name)]);
  }

  netns(host: string): string {
    return `${namespaceRoot}/${this.namespace(host)}`;
  }
}

function replicasOf(spec: WorldSpec): string[] {
  return Array.from({ length: spec.replicas ?? 1 }, (_, k) => `r${k + 1}`);
}
