/** Starts the emulator in the wan namespace, and sets the paths' properties. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import type { OneOff, WanPlan, WanStatistics } from './emulator.js';
import { type FarmSpec, machineNames } from './farm.js';
import { namespaceOf, prefixesOf, prefixesOf6 } from './network.js';
import { emulatorScript } from './paths.js';
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
import { FARM_PEERS, type PathOptions, type Topology } from './topology.js';

/** The properties of a path that may change while it is in use. */
export type PathChange = Partial<Omit<WanPlan['paths'][string], 'mtu'>>;

export class Wan {
  readonly #directory: string;
  #process: ProcessId | undefined;

  constructor(
    readonly state: LabState,
    readonly plan: WanPlan,
  ) {
    this.#directory = state.directory;
  }

  /** The plan of a topology's paths. */
  static planOf(topology: Topology, seed: number): WanPlan {
    const paths: WanPlan['paths'] = {};
    for (const from of topology.wanHosts) {
      for (const to of topology.wanHosts) {
        if (from === to) continue;
        const path = `${from}>${to}`;
        paths[path] = { delayMs: topology.delaysMs[from][to], ...topology.paths[path] };
      }
    }
    const { farm } = topology;
    for (const [from, to] of farmPaths(farm)) {
      const path = `${from}>${to}`;
      paths[path] = { delayMs: topology.delaysMs[from][to], ...topology.paths[path] };
    }
    const hosts = topology.wanHosts.map((name) => ({
      name,
      prefixes: [...prefixesOf(name), ...(topology.ipv6 ? prefixesOf6(name) : [])],
    }));
    return { generation: 0, seed, hosts, machines: farm?.machines ?? 0, paths, linesMs: {} };
  }

  async start(): Promise<void> {
    this.#write();
    const files = ['wan.json', 'wan.applied', 'wan-statistics.json'].map((f) => `${this.#directory}/${f}`);
    const namespace = namespaceOf(this.state.record.name, 'wan');
    const argv = inNamespace(namespace, [process.execPath, emulatorScript, ...files]);
    const child = spawnLogged(argv, this.#log);
    this.#process = this.state.noteProcess('emulator', child.pid);
    await this.#applied();
  }

  /** Changes a path's delay, loss, jitter or rate from now on. `mtu` is a route, which cannot be changed. */
  async setPath(path: string, change: PathChange): Promise<void> {
    await this.setPaths({ [path]: change });
  }

  /** {@link setPath} of several paths at the same time. */
  async setPaths(changes: Record<string, PathChange>): Promise<void> {
    for (const [path, change] of Object.entries(changes)) {
      if (this.plan.paths[path] === undefined) throw new FirstackError('FSA_USAGE', `no path '${path}'`);
      this.plan.paths[path] = { ...this.plan.paths[path], ...(change as PathOptions) };
    }
    await this.#change();
  }

  /**
   * From now on every packet to `host`, from any other, takes `delayMs` longer: its own access line has a queue. 0 ends
   * it; packets that come then wait for those before them, as in a queue that empties.
   */
  async setLine(host: string, delayMs: number): Promise<void> {
    if (!this.plan.hosts.some((h) => h.name === host))
      throw new FirstackError('FSA_USAGE', `no host '${host}'`);
    this.plan.linesMs = { ...this.plan.linesMs, [host]: delayMs };
    await this.#change();
  }

  /**
   * Makes the next packet on each of these paths late, or drops it; with `next: 'syn'`, the next SYN or SYN-ACK
   * of a client's connection.
   * Replaces what has not happened yet; `once()` alone ends it. `WanStatistics.struck` counts what has happened.
   */
  async once(...all: OneOff[]): Promise<void> {
    const unknown = all.find(({ path }) => this.plan.paths[path] === undefined);
    if (unknown !== undefined) throw new FirstackError('FSA_USAGE', `no path '${unknown.path}'`);
    this.plan.once = all;
    await this.#change();
    // A later change must not make it happen again.
    this.plan.once = undefined;
  }

  async #change(): Promise<void> {
    this.plan.generation++;
    this.#write();
    if (this.#process !== undefined) signal(this.#process, 'SIGHUP');
    await this.#applied();
  }

  async statistics(): Promise<WanStatistics> {
    const file = `${this.#directory}/wan-statistics.json`;
    const before = read(file);
    if (this.#process !== undefined) signal(this.#process, 'SIGUSR2');
    // Without traffic in between the new file equals the old one; then the old one is right.
    await waitUntil(() => read(file) !== before, 300);
    const text = read(file);
    if (text === undefined) throw this.#failure('wrote no statistics');
    return JSON.parse(text);
  }

  async stop(): Promise<void> {
    if (this.#process !== undefined) await endAll([this.#process]);
  }

  get #log(): string {
    return `${this.#directory}/emulator.log`;
  }

  #write(): void {
    const file = `${this.#directory}/wan.json`;
    writeFileSync(`${file}.new`, JSON.stringify(this.plan));
    renameSync(`${file}.new`, file);
  }

  async #applied(): Promise<void> {
    const want = String(this.plan.generation);
    const done = () => read(`${this.#directory}/wan.applied`) === want;
    const dead = () => this.#process === undefined || !isAlive(this.#process);
    await waitUntil(() => done() || dead(), 10_000, 5);
    if (!done()) throw this.#failure('did not apply the plan');
  }

  #failure(what: string): FirstackError {
    return new FirstackError('FSA_LAB_FAILED', `the WAN emulator ${what}:\n${tail(this.#log)}`);
  }
}

/** The ordered pairs of the farm's machines with gateway and origin. */
function farmPaths(farm: FarmSpec | undefined): [string, string][] {
  return machineNames(farm?.machines ?? 0).flatMap((m) =>
    FARM_PEERS.flatMap((peer): [string, string][] => [
      [peer, m],
      [m, peer],
    ]),
  );
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
