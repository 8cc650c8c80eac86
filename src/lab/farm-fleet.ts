/** Starts the farm's process (`farm-main.ts`), and tells it which machines to publish. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import {
  FARM,
  type FarmChanges,
  type FarmPlan,
  type FarmSpec,
  machineNames,
  type Published,
  publishedAs,
} from './farm.js';
import { namespaceOf } from './network.js';
import { farmScript } from './paths.js';
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
import type { Service } from './topology.js';

const APPLY_TIMEOUT_MS = 10_000;

export class FarmFleet {
  /** m1 … mN, whether published or not. */
  readonly machines: readonly string[];
  readonly #plan: FarmPlan;
  readonly #directory: string;
  #process: ProcessId | undefined;

  constructor(
    readonly state: LabState,
    readonly spec: FarmSpec,
    service: Service,
    redisSocket: string,
  ) {
    this.machines = machineNames(spec.machines);
    this.#directory = state.directory;
    this.#plan = {
      generation: 0,
      redisSocket,
      masterKeyFile: `${state.directory}/master.key`,
      service: { name: service.name, port: service.ports[0] },
      answersProbes: spec.answersProbes,
      published: this.machines.map(publishedAs),
    };
  }

  /** The ids that are published as `up`. */
  get up(): string[] {
    return this.#plan.published.flatMap((p) => (p.state === undefined || p.state === 'up' ? [p.id] : []));
  }

  /** Requires Redis, and the master key where probes are answered. Returns when every record is published. */
  async start(): Promise<void> {
    await this.stop();
    rmSync(this.#applied, { force: true });
    this.#write();
    const argv = [process.execPath, farmScript, `${this.#directory}/farm.json`, this.#applied];
    const child = spawnLogged(inNamespace(namespaceOf(this.state.record.name, FARM), argv), this.#log);
    this.#process = this.state.noteProcess('farm-fleet', child.pid);
    await this.#untilApplied();
  }

  /** Publishes these records instead of the present ones: machines' names, or identities of their own. */
  async publish(all: readonly (string | Published)[]): Promise<void> {
    this.#plan.published = all.map((p) => (typeof p === 'string' ? publishedAs(p) : p));
    await this.#change();
  }

  /** Whether probes to the published machines are answered from now on. */
  async answerProbes(answers: boolean): Promise<void> {
    this.#plan.answersProbes = answers;
    await this.#change();
  }

  /** Lets the records change by themselves from now on; undefined: no more. */
  async vary(changes: FarmChanges | undefined): Promise<void> {
    this.#plan.changes = changes;
    await this.#change();
  }

  /** Ends without a word: the records expire, as those of killed machines do. The web servers keep running. */
  async stop(): Promise<void> {
    if (this.#process !== undefined) await endAll([this.#process]);
    this.#process = undefined;
  }

  get #log(): string {
    return `${this.#directory}/farm.log`;
  }
  get #applied(): string {
    return `${this.#directory}/farm.applied`;
  }

  async #change(): Promise<void> {
    this.#plan.generation++;
    this.#write();
    if (this.#process === undefined) return;
    signal(this.#process, 'SIGHUP');
    await this.#untilApplied();
  }

  #write(): void {
    const file = `${this.#directory}/farm.json`;
    writeFileSync(`${file}.new`, JSON.stringify(this.#plan));
    renameSync(`${file}.new`, file);
  }

  async #untilApplied(): Promise<void> {
    const done = () => {
      try {
        return readFileSync(this.#applied, 'utf8') === String(this.#plan.generation);
      } catch {
        return false;
      }
    };
    const dead = () => this.#process === undefined || !isAlive(this.#process);
    await waitUntil(() => done() || dead(), APPLY_TIMEOUT_MS, 5);
    if (!done()) throw new FirstackError('FSA_LAB_FAILED', `the farm did not start:\n${tail(this.#log)}`);
  }
}
