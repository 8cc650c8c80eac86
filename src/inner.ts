/**
 * The inner instance of one running program: it has its own thread, TUN, nftables table, hooks and run directory.
 *
 *   claim ─ hooks loaded ─ data plane ─ first duty ─ program started ─ running ─┬─ leave ─ everything removed
 *                                          ▲                                     │
 *                                          └──── each change of the view ────────┘
 */

import { Duties } from './duties.js';
import { FirstackError, type Problem } from './errors.js';
import type { Events } from './events/events.js';
import { chooseFastpath, decideFastpath, describeFastpath, type FastpathChoice } from './fastpath/choose.js';
import type { KernelSettings } from './fastpath/kernel.js';
import type { KernelMode } from './fastpath/modes.js';
import { type KernelSide, openKernelPath } from './fastpath/open.js';
import { Fullness, LOOK_MS } from './fullness.js';
import type { Logger } from './log.js';
import { DataPlane } from './pipeline/data-plane.js';
import type { Duty, KernelHalf, Program, Run } from './program.js';
import type { Registry } from './registry/registry.js';
import type { ProgramConfig } from './role-config.js';
import { Steerer } from './steer/apply.js';
import { conflicts } from './steer/conflicts.js';
import { checkInterfaces, checkInterfacesUp, type Host, isOfHost } from './steer/host.js';
import { describe } from './steer/plan.js';
import { hasUnsoundRecord } from './steer/record.js';
import { Heartbeat } from './watch/heartbeat.js';
import type { Look } from './watch/host-watch.js';
import { Reconciler } from './watch/reconciler.js';

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

/** Characters of a snapshot from which a fleet is large: some thousand machines. */
const LARGE = 250_000;

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
  readonly #reconciler: Reconciler;
  readonly #heartbeat = new Heartbeat();
  readonly #events: Events;
  #host: Host | undefined;
  #plane: DataPlane | undefined;
  #kernel: KernelSide | undefined;
  #loaded = '';
  #looking: NodeJS.Timeout | undefined;
  #attached = false;
  /** The last look at the host that was not acted on yet. */
  #look: Look | undefined;
  readonly #fullness: Fullness;
  /** Of the host, as of the last look, and all that were said. */
  #hostProblems: readonly Problem[] = [];
  #problems: readonly Problem[] = [];
  #bypassed = '';
  /** Names of the services and machines that the data plane and the kernel use now. */
  applied: NonNullable<Duty['names']> = {};

  constructor(options: InnerOptions) {
    this.program = options.program;
    this.run = options.run;
    this.instance = options.instance;
    this.#config = options.config;
    this.#registry = options.registry;
    this.#log = options.log;
    this.#events = options.events;
    this.#reconciler = new Reconciler(options.events);
    this.#fullness = new Fullness(options.run.fullness ?? {}, options.events);
    this.#onApplied = options.onApplied ?? (() => {});
    this.#steerer = new Steerer(options.instance);
    const isLarge = (): boolean => (this.#loaded?.length ?? 0) > LARGE;
    this.#duties = new Duties(() => this.#perform(), options.log, isLarge);
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
        run.kernel,
      ));
    const text = describe(run.duty(host, this.#registry.view, choice?.how ?? 'off').steering);
    return choice === undefined ? text : `${text}# ${describeFastpath(choice)}\n`;
  }

  /** Problems that prevent the program from starting here. Changes nothing. */
  async check(host: Host): Promise<Problem[]> {
    const { run } = this;
    const problems = run.check(host, this.#registry.view);
    // A duty needs a host and a registry without problems.
    if (problems.length > 0 || run.duty === undefined) return problems;
    return conflicts(run.duty(host, this.#registry.view, 'off').steering);
  }

  /** What is left out here because other machines' records contradict this role's file. Changes nothing. */
  conflicts(host: Host): Problem[] {
    return this.run.conflicts?.(host, this.#registry.view) ?? [];
  }

  /**
   * Claims the instance's name, and removes what a killed predecessor left.
   * @throws FirstackError FSA_INSTANCE_RUNNING
   */
  async claim(): Promise<void> {
    if (this.run.duty === undefined) return;
    if (hasUnsoundRecord(this.instance))
      this.#log.warn(
        { instance: this.instance },
        'no role wrote the record of what was set on this host: it is not followed',
      );
    await this.#steerer.claim();
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
          bypass: run.kernel,
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
    this.#looking = setInterval(() => this.#fullness.look(this.counters(), performance.now()), LOOK_MS);
    this.refresh();
  }

  /** Requests a new duty soon. */
  readonly refresh = (isUrgent = false): void => this.#duties.refresh(isUrgent);

  async #perform(): Promise<void> {
    const { run } = this;
    if (run.duty === undefined) return;
    const { view } = this.#registry;
    const duty = run.duty(this.#host!, view, this.#kernel?.carries ?? 'off');
    const text = JSON.stringify([duty.snapshot, duty.tunMtu]);
    if (text !== this.#loaded) {
      await this.#plane?.load(duty.snapshot, duty.tunMtu);
      this.#loaded = text;
    }
    await this.#steerer.apply(duty.steering);
    if (!this.#attached) await this.#attach();
    await this.#reconcile();
    this.applied = duty.names ?? {};
    run.performed?.(view);
    this.#onApplied();
  }

  async #attach(): Promise<void> {
    const { kernel } = this.run;
    const path = this.#kernel?.path;
    if (path === undefined || kernel === undefined) return;
    await path.attach(kernel.attachments(this.#host!), this.#kernelSettings());
    this.#attached = true;
  }

  #kernelSettings(): KernelSettings {
    const { mask, pinnedMark: mark } = this.#config.steering;
    const { how, carries } = this.#kernel!;
    // Where nothing may be pinned any more, the hooks carry the flows that they have, and no client is theirs.
    const clients = how === 'off' ? [] : (this.run.kernel!.clients ?? []);
    return { stack: carries === 'stack', mark, mask, tun: this.#config.tun.name, clients };
  }

  /** Acts on a look at the host: new problems are said, the fast path is chosen again, what was changed is put back. */
  observe(look: Look): void {
    this.#host = look.host;
    if (look.rulesetChanged) this.#steerer.suspectTables();
    const before = this.#look;
    this.#look = {
      ...look,
      isWhole: look.isWhole || before?.isWhole === true,
      by: look.by ?? before?.by,
    };
    this.refresh();
  }

  async #reconcile(): Promise<void> {
    const look = this.#look;
    if (look !== undefined) this.#hostProblems = this.#check(look.host);
    this.#sayProblems([...this.#hostProblems, ...this.conflicts(this.#host!)]);
    if (look === undefined) return;
    this.#look = undefined;
    await this.#chooseAgain(look.host);
    const path = this.#attached ? this.#kernel?.path : undefined;
    // What could not be put back is looked for until it stands.
    const isWhole = look.isWhole || this.#reconciler.reasons.length > 0;
    const found = [
      ...(await this.#steerer.deviations(isWhole)),
      ...((await path?.deviations(isWhole)) ?? []),
    ];
    const by = look.by === undefined ? '' : ` by ${look.by.name} (process ${look.by.pid})`;
    await this.#reconciler.reconcile(found, by, performance.now());
  }

  #check(host: Host): Problem[] {
    const { lan, wan } = this.#config;
    const missing = [...checkInterfaces(host, wan, 'wan'), ...checkInterfaces(host, lan, 'lan')];
    const down = [...checkInterfacesUp(host, wan, 'wan'), ...checkInterfacesUp(host, lan, 'lan')];
    return [...missing, ...down, ...this.run.check(host, this.#registry.view)];
  }

  /** Each problem is said once when it comes, and once when it has gone. */
  #sayProblems(now: readonly Problem[]): void {
    const has = (list: readonly Problem[], p: Problem): boolean => list.some((x) => x.message === p.message);
    for (const p of now)
      if (!has(this.#problems, p))
        this.#events.say('error', 'problem', this.instance, `${p.code}: ${p.message}`);
    for (const p of this.#problems)
      if (!has(now, p)) this.#events.say('info', 'mended', this.instance, `no longer: ${p.message}`);
    this.#problems = now;
  }

  /** Chooses the fast path again for the host as it is now. */
  async #chooseAgain(host: Host): Promise<void> {
    const { kernel } = this.run;
    const side = this.#kernel;
    if (side === undefined || kernel === undefined) return;
    if (side.path === undefined) return this.#sayPossible(side, kernel, host);
    const { mode } = this.#config.fastpath;
    let choice: FastpathChoice;
    try {
      choice = decideFastpath(mode, host, kernel.whyNot?.(host) ?? '', '', kernel);
    } catch (error) {
      if (!(error instanceof FirstackError)) throw error;
      // The operator's own choice is no longer possible: nothing is pinned until it is.
      choice = { how: 'off', why: error.message, skipped: [] };
    }
    const bypassed = choice.skipped.join();
    if (choice.how !== side.how || bypassed !== this.#bypassed)
      this.#events.say('warn', 'fastpath', this.instance, describeFastpath(choice), { before: side.how });
    this.#bypassed = bypassed;
    if (choice.how === side.how) return;
    side.how = choice.how;
    side.why = choice.why;
    if (choice.how !== 'off') side.carries = choice.how;
    this.#plane?.allowPinning(choice.how !== 'off');
    await side.path.configure(this.#kernelSettings());
    this.refresh();
  }

  /** Hooks are loaded at the start only: where they were not, what has become possible is said. */
  #sayPossible(side: KernelSide, kernel: KernelHalf, host: Host): void {
    const { mode } = this.#config.fastpath;
    if (mode !== 'auto' || side.missing !== '') return;
    const choice = decideFastpath(mode, host, kernel.whyNot?.(host) ?? '', '', kernel);
    const isPossible = choice.how !== 'off';
    const why = isPossible ? `${choice.how} is possible now, from the role's next start on` : choice.why;
    if (why === side.why) return;
    side.why = why;
    if (isPossible) this.#events.say('info', 'fastpath', this.instance, `fastpath off: ${why}`);
  }

  /** What is wrong on this host, for `/readyz`. */
  get reasons(): string[] {
    return [...this.#problems.map((p) => `${p.code}: ${p.message}`), ...this.#reconciler.reasons];
  }

  /** Whether something on this host keeps the program from working. */
  get isImpaired(): boolean {
    return this.#problems.some((p) => isOfHost(p.code)) || this.#reconciler.reasons.length > 0;
  }

  /** What was put back so far, by kind. */
  get repairs(): Readonly<Record<string, number>> {
    return this.#reconciler.counts;
  }

  /** Whether the data plane's thread runs. Call it at the period of `watch/heartbeat.ts`. */
  isAlive(): boolean {
    return this.#plane === undefined || this.#heartbeat.look(this.#plane.beats);
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
      fastpath: this.#kernel && {
        asked: this.#config.fastpath.mode,
        how: this.#kernel.how,
        why: this.#kernel.why,
        bypasses: this.#bypassed,
        ...this.carried(),
      },
      flows: this.#plane?.gauge(FLOWS) ?? 0,
      repairs: this.repairs,
      problems: this.reasons,
      full: this.#fullness.present(performance.now()),
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
