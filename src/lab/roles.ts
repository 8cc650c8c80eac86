/**
 * The roles of one configuration, or of services with configurations of their own: their files, their processes, and
 * their readiness. Each role is the ordinary command (`firstack gateway --config-file …`) in its host's namespace.
 */
import { readdirSync, rmSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { FirstackError } from '../errors.js';
import type { Fastpath } from '../fastpath/modes.js';
import type { RaceRecord } from '../race/record-read.js';
import type { Configuration } from '../race/records.js';
import type { Race, Release } from '../race/release.js';
import { ask, askJson, type RoleStatus } from './admin-client.js';
import { namespaceOf } from './network.js';
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
import { GATEWAY_ID, RoleFiles } from './role-files.js';
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
  /**
   * Whether each role has an identity of its own, and believes signed records only; `alone`: none has a key for tags beside
   * it.
   */
  identities?: boolean | 'alone';
  /** The level of the roles' logs. */
  log: string;
}

const READY_TIMEOUT_MS = 15_000;
/** In production each role has its own machine; here it shares two cores with the clients. */
const NICENESS = -10;

/** As the package starts a role (`deploy/debian/firstack`). */
const MEMORY = ['--max-semi-space-size=16', '--max-old-space-size=1024'];

export class Roles {
  options: RoleOptions = {
    configuration: 'A',
    race: 'origin',
    release: 'synchronized',
    registry: 'redis',
    fastpath: 'auto',
    log: 'info',
  };
  /** Ids of replicas without a role here, which the gateway must know as `up` before it counts as ready. */
  alsoUp: () => readonly string[] = () => [];
  readonly hosts: string[];
  readonly #directory: string;
  readonly #lab: string;
  readonly #files: RoleFiles;
  readonly #processes = new Map<string, ProcessId>();

  constructor(
    readonly state: LabState,
    readonly topology: Topology,
    readonly redisUrl: string,
  ) {
    this.#lab = state.record.name;
    this.#directory = state.directory;
    this.hosts = ['gateway', 'origin', ...topology.replicas];
    this.#files = new RoleFiles(this.#directory, this.#lab, topology, this.hosts, this.options);
  }

  /** Writes keys, once, and the files of every role for these options. Does not affect running roles. */
  prepare(options: RoleOptions): void {
    this.options = options;
    const { record } = this.state;
    record.instances = this.hosts.map((h) => this.instanceOf(h));
    this.state.save();
    this.#files.write(options);
  }

  configFile(host: string): string {
    return this.#files.configFile(host);
  }
  logFile(host: string): string {
    return `${this.#directory}/${host}.log`;
  }
  instanceOf(host: string): string {
    return this.#files.instanceOf(host);
  }
  adminSocket(host: string): string {
    return this.#files.adminSocket(host);
  }
  get services(): Service[] {
    return this.#files.services;
  }
  configurationOf(service: Service): Configuration {
    return this.#files.configurationOf(service);
  }
  get registryUrl(): string {
    return this.options.registry === 'redis' ? this.redisUrl : `file:${this.#directory}/registry.yaml`;
  }

  /** The command line of a host's role, without the namespace. */
  argv(host: string): string[] {
    const { configuration, race, release, fastpath } = this.options;
    const role = host === 'gateway' || host === 'origin' ? host : 'replica';
    const tree = this.options.trees?.[host];
    const command =
      tree === undefined
        ? [process.execPath, ...MEMORY, cliScript]
        : [`${tree}/bin/node`, `${tree}/dist/src/cli.js`];
    const argv = [...command, role, '--config-file', this.configFile(host)];
    if (!this.#files.isMixed) argv.push('--configuration', configuration);
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
          host === 'gateway' &&
          missingFrom(applied.replicasUp, [...this.#runningReplicas(), ...this.alsoUp()]);
        if (late) return { host, why: `it does not know yet that replica ${late} is up` };
      }
    }
    return undefined;
  }

  #runningReplicas(): string[] {
    return this.topology.replicas.filter((r) => this.#processes.has(r));
  }
}

function missingFrom(known: readonly string[], wanted: readonly string[]): string | undefined {
  const all = new Set(known);
  return wanted.find((id) => !all.has(id));
}
