/**
 * The inner instance of one running program: it has its own thread, TUN, nftables table, hooks and run directory.
 *
 *   claim ─ hooks loaded ─ data plane ─ first duty ─ program started ─ running ─┬─ leave ─ everything removed
 *                                          ▲                                     │
 *                                          └──── each change of the view ────────┘
 */

import { Duties } from './duties.js';
import type { Events } from './events/events.js';
import { chooseFastpath, describeFastpath } from './fastpath/choose.js';
import type { KernelMode } from './fastpath/modes.js';
import { type KernelSide, openKernelPath } from './fastpath/open.js';
import { Fullness, LOOK_MS } from './fullness.js';
import type { Logger } from './log.js';
import { DataPlane } from './pipeline/data-plane.js';
import type { Duty, Program, Run } from './program.js';
import type { Registry } from './registry/registry.js';
import type { ProgramConfig } from './role-config.js';
import { Steerer } from './steer/apply.js';
import type { Host } from './steer/host.js';
import { describe } from './steer/plan.js';

export interface InnerOptions {
  program: Program;
  run: Run;
  config: ProgramConfig;
  instance: string;
  registry: Registry;
  log: Logger;
  events: Events;
  /** Called after each duty that was performed. */
  onApplied?: () => void;
}

/** The gauges that the role looks up by name, where a program has them. */
const FLOWS = 'flows';
const PINNED = 'pinned';

export class Inner {
  readonly program: Program;
  readonly run: Run;
  readonly instance: string;
  readonly #config: ProgramConfig;
  readonly #registry: Registry;
  readonly #log: Logger;
  readonly #steerer: Steerer;
  readonly #duties: Duties;
  readonly #onApplied: () => void;
  #host: Host | undefined;
  #plane: DataPlane | undefined;
  #kernel: KernelSide | undefined;
  #loaded = '';
  #looking: NodeJS.Timeout | undefined;
  #attached = false;
  /** Names of the services and machines that the data plane and the kernel use now. */
  applied: NonNullable<Duty['names']> = {};

  constructor(options: InnerOptions) {
    this.program = options.program;
    this.run = options.run;
    this.instance = options.instance;
    this.#config = options.config;
    this.#registry = options.registry;
    this.#log = options.log;
    this.#onApplied = options.onApplied ?? (() => {});
    this.#steerer = new Steerer(options.instance);
    this.#duties = new Duties(() => this.#perform(), options.log);
  }

  get name(): string {
    return this.program.name;
  }

  /** How pinned flows are carried; undefined for a program that pins none. */
  get how(): KernelMode | undefined {
    return this.#kernel?.how;
  }

  /** The output of `--check`: the steering, and the choice of fast path. */
  async describe(host: Host): Promise<string> {
    const { run } = this;
    if (run.duty === undefined) return '';
    const choice =
      run.kernel &&
      (await chooseFastpath(
        this.#config.fastpath.mode,
        host,
        run.kernel.whyNot?.(host) ?? '',
        run.kernel.hooks.object,
      ));
    const text = describe(run.duty(host, this.#registry.view, choice?.how ?? 'off').steering);
    return choice === undefined ? text : `${text}# ${describeFastpath(choice)}\n`;
  }

  /**
   * Claims the instance's name, and removes what a killed predecessor left.
   * @throws FirstackError FSA_INSTANCE_RUNNING
   */
  async claim(): Promise<void> {
    if (this.run.duty !== undefined) await this.#steerer.claim();
  }

  /**
   * Builds everything up, and performs the first duty.
   * @param onFailure called when the data plane fails later: then this program cannot continue
   */
  async start(host: Host, onFailure: (error: Error) => void): Promise<void> {
    const { run } = this;
    this.#host = host;
    if (run.kernel !== undefined)
      this.#kernel = await openKernelPath(
        {
          instance: this.instance,
          asked: this.#config.fastpath.mode,
          against: run.kernel.whyNot?.(host) ?? '',
          hooks: run.kernel.hooks,
          pref: this.#config.steering.priority,
        },
        host,
        this.#log,
      );
    if (run.plane !== undefined)
      this.#plane = await DataPlane.start({
        ...run.plane,
        tun: this.#config.tun,
        kernel: this.#kernel?.path?.handles(this.#config.fastpath.pinAfterPackets),
        onFailure,
      });
    await this.#perform();
    await run.start?.({ registry: this.#registry, plane: this.#plane, refresh: this.refresh });
    const fullness = new Fullness(run.fullness ?? {}, this.#log);
    this.#looking = setInterval(() => fullness.look(this.counters(), performance.now()), LOOK_MS);
    this.refresh();
  }

  /** Requests a new duty soon. */
  readonly refresh = (): void => this.#duties.refresh();

  async #perform(): Promise<void> {
    const { run } = this;
    if (run.duty === undefined) return;
    const duty = run.duty(this.#host!, this.#registry.view, this.#kernel?.how ?? 'off');
    const text = JSON.stringify([duty.snapshot, duty.tunMtu]);
    if (text !== this.#loaded) {
      await this.#plane?.load(duty.snapshot, duty.tunMtu);
      this.#loaded = text;
    }
    await this.#steerer.apply(duty.steering);
    if (!this.#attached) await this.#attach();
    this.applied = duty.names ?? {};
    run.performed?.();
    this.#onApplied();
  }

  async #attach(): Promise<void> {
    const { kernel } = this.run;
    const side = this.#kernel;
    if (side?.path === undefined || kernel === undefined) return;
    const { mask, pinnedMark: mark } = this.#config.steering;
    await side.path.attach(kernel.attachments(this.#host!), {
      stack: side.how === 'stack',
      mark,
      mask,
      tun: this.#config.tun.name,
      clients: kernel.clients ?? [],
    });
    this.#attached = true;
  }

  counters(): Record<string, number> {
    return this.#plane?.counters() ?? {};
  }

  /** Counters of what the kernel carries; undefined for a program without hooks. */
  carried(): Record<string, number> | undefined {
    const path = this.#kernel?.path;
    return path === undefined ? undefined : { flows: this.#plane?.gauge(PINNED) ?? 0, ...path.totals() };
  }

  /** For `/v1/status`. */
  status(): Record<string, unknown> {
    return {
      counters: this.counters(),
      applied: this.applied,
      fastpath: this.#kernel && { how: this.#kernel.how, why: this.#kernel.why, ...this.carried() },
      flows: this.#plane?.gauge(FLOWS) ?? 0,
      ...this.run.status(),
    };
  }

  /** Stops taking new work, with everything still in place. */
  async leave(): Promise<void> {
    await this.run.leave?.();
  }

  /** Removes everything. Does nothing when nothing was built up. */
  async stop(): Promise<void> {
    clearInterval(this.#looking);
    await this.#duties.end();
    await this.run.stop?.();
    await this.#kernel?.path?.detach();
    await this.#steerer.remove();
    await this.#plane?.stop();
    // Only now, because until here the data plane used the maps.
    await this.#kernel?.path?.remove();
  }
}
