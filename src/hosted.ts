/**
 * A program as its role hosts it. Where several programs run, a program whose data plane fails is started again by
 * itself. Where it is the only program, its failure ends the process, which the service manager starts again.
 */
import type { Metric } from './admin/metrics.js';
import type { AdminProgram } from './admin/server.js';
import { describeError } from './errors.js';
import type { KernelMode } from './fastpath/modes.js';
import { Inner, type InnerOptions } from './inner.js';
import type { RoleFile } from './role-file.js';
import type { Host } from './steer/host.js';
import type { RoleName } from './steer/marks.js';
import { SET_KINDS } from './steer/standing.js';
import type { Credential } from './trust/credential.js';
import type { PairKeys } from './trust/pair-keys.js';
import type { Look } from './watch/host-watch.js';

/** How long a failed program rests before it is started again. The rest doubles with each failure, up to a limit. */
const RESTART_MS = 1000;
const MOST_DOUBLINGS = 5;
/** After running for this long, a program that fails has the shortest rest again. */
const STEADY_MS = 60_000;
const MODES: readonly KernelMode[] = ['on', 'stack', 'off'];

export interface HostedOptions extends Omit<InnerOptions, 'run' | 'onApplied'> {
  role: RoleName;
  credential?: Credential;
  onlySigned?: boolean;
  pairs?: PairKeys;
  fleet?: string;
}

export class Hosted {
  inner: Inner;
  /** The reason why the program does not run, for `/readyz`; undefined while it runs. */
  problem: string | undefined;
  #failures = 0;
  #startedAt = 0;
  #restart: NodeJS.Timeout | undefined;
  #restarting: Promise<void> | undefined;
  #stopping = false;
  #onApplied: () => void = () => {};

  constructor(readonly options: HostedOptions) {
    this.inner = this.#create();
  }

  #create(): Inner {
    const { program, config, role, instance, log, events, ...rest } = this.options;
    const { credential, onlySigned, pairs, fleet } = rest;
    const site = { role, instance, log, events, credential, onlySigned, pairs, fleet };
    const run = program.create(config, site);
    return new Inner({ ...this.options, run, onApplied: () => this.#onApplied() });
  }

  /**
   * @param onFailure called when the program fails; without it this program alone is started again
   * @param onApplied called after each duty that was performed
   */
  async start(host: Host, onFailure: (() => void) | undefined, onApplied: () => void): Promise<void> {
    this.#onApplied = onApplied;
    this.#startedAt = performance.now();
    await this.inner.start(host, (error) => {
      this.options.log.fatal({ error: error.message }, 'the data plane failed');
      if (onFailure !== undefined) onFailure();
      else this.#fail(host, error);
    });
  }

  /** For a program beside others: stops this program's instance, and starts it again after a rest. */
  #fail(host: Host, error: Error): void {
    if (this.#stopping || this.#restart !== undefined) return;
    if (performance.now() - this.#startedAt > STEADY_MS) this.#failures = 0;
    const restMs = RESTART_MS * 2 ** Math.min(this.#failures++, MOST_DOUBLINGS);
    this.problem = `program ${this.inner.name} failed (${error.message}): started again in ${restMs / 1000} s`;
    this.#restart = setTimeout(() => {
      this.#restart = undefined;
      this.#restarting = this.#startAgain(host);
    }, restMs);
    void this.inner.stop().catch(() => {});
  }

  async #startAgain(host: Host): Promise<void> {
    try {
      await this.inner.stop();
      this.inner = this.#create();
      await this.inner.claim();
      await this.start(host, undefined, this.#onApplied);
      this.problem = undefined;
      this.options.log.info({ program: this.inner.name }, 'the program runs again');
    } catch (error) {
      this.options.log.error({ error: describeError(error) }, 'the program could not be started again');
      this.#fail(host, error as Error);
    }
  }

  /** Whether the program's thread is stuck; said once. Call it at the period of `watch/heartbeat.ts`. */
  isStuck(): boolean {
    const stuck = this.problem === undefined && !this.inner.isAlive();
    if (stuck !== this.#stuck) {
      const { events, instance } = this.options;
      if (stuck)
        events.say('error', 'stuck', instance, "the data plane's thread has not run for some seconds");
      else events.say('info', 'runs-again', instance, "the data plane's thread runs again");
    }
    this.#stuck = stuck;
    return stuck;
  }
  #stuck = false;

  /** Passes on a look at the host. */
  observe(look: Look): void {
    if (this.problem === undefined) this.inner.observe(look);
  }

  /** The program's state, in a few words. */
  get summary(): string {
    if (this.problem !== undefined) return this.problem;
    const { run, how } = this.inner;
    return `${run.summary?.() ?? this.inner.name}${how === undefined ? '' : `, fastpath ${how}`}`;
  }

  /**
   * The program for the admin API. The functions look up the inner instance at each call, because a restart replaces
   * it.
   */
  get source(): AdminProgram {
    const { reads = {}, actions = {} } = this.inner.run;
    return {
      name: this.inner.name,
      counters: () => this.inner.counters(),
      carried: () => this.inner.carried(),
      status: () => this.inner.status(),
      metrics: () => [
        repairsMetric(this.inner.repairs),
        modeMetric(this.inner.how),
        ...(this.inner.run.metrics?.() ?? []),
      ],
      reads: Object.fromEntries(
        Object.entries(reads).map(([name, { query }]) => [
          name,
          { query, answer: (q) => this.inner.run.reads![name].answer(q) },
        ]),
      ),
      actions: Object.fromEntries(
        Object.keys(actions).map((name) => [name, () => this.inner.run.actions![name]()]),
      ),
    };
  }

  /** @param read reads the role file again */
  async reload(read: () => RoleFile): Promise<void> {
    const { log } = this.options;
    const { run } = this.inner;
    if (run.reload === undefined) return log.warn('SIGHUP: nothing of this role changes without a restart');
    try {
      const part = read().programs.find((p) => p.program.name === this.inner.name);
      await run.reload(part?.config);
      log.info('the role file was read again');
    } catch (error) {
      log.error({ error: describeError(error) }, 'the role file was refused: nothing has changed');
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    await this.#restarting;
    await this.inner.stop();
  }
}

const repairsMetric = (repairs: Readonly<Record<string, number>>): Metric => ({
  name: 'firstack_repairs_total',
  help: 'What this role put back because another program had removed or changed it, by kind.',
  type: 'counter',
  // A counter that first appears with a 1 has no increase for Prometheus.
  samples: SET_KINDS.map((what) => ({ labels: { what }, value: repairs[what] ?? 0 })),
});

/** @param how undefined for a program that pins no flows */
const modeMetric = (how: KernelMode | undefined): Metric => ({
  name: 'firstack_fastpath_mode',
  help: 'How decided flows are carried: 1 for the present mode, 0 for the others.',
  type: 'gauge',
  samples: how === undefined ? [] : MODES.map((mode) => ({ labels: { mode }, value: mode === how ? 1 : 0 })),
});
