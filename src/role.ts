/**
 * What every role does around its packets: reads its file, looks at the host, joins the registry, starts
 * the data plane, steers, follows changes, answers its admin API, and takes everything back.
 *
 *   configuration file ─ checks ─ registry ─ (--check ends here) ─ data plane ─ steering ─ admin ─ ready
 *                                    │                                 ▲           ▲
 *                                    └──── each change of the view ────┴───────────┘
 *   SIGTERM: steering removed ─ data plane stopped ─ registry left ─ exit 0
 *
 * Knows no role: each one hands in a {@link Role}.
 */
import { createAdmin } from './admin/server.js';
import { describeError, FirstackError, type Problem } from './errors.js';
import { chooseFastpath, describeFastpath } from './fastpath/choose.js';
import { type Attachment, unpin } from './fastpath/kernel.js';
import type { KernelMode } from './fastpath/modes.js';
import { openKernelPath } from './fastpath/open.js';
import { createLog, type Logger } from './log.js';
import { notifyManager } from './notify.js';
import { DataPlane } from './pipeline/data-plane.js';
import { PINNED_FLOWS } from './pipeline/reasons.js';
import type { RaceRecord } from './race/record.js';
import { clockProblem } from './registry/clock-check.js';
import { openRegistry } from './registry/open.js';
import type { View } from './registry/records.js';
import type { Registry } from './registry/registry.js';
import type { CommonConfig, RoleFlags } from './role-config.js';
import { Steerer } from './steer/apply.js';
import { checkInterfaces, type Host, inspectHost } from './steer/host.js';
import { describe, type Steering } from './steer/plan.js';
import type { Prefix } from './wire/address.js';

/** What the data plane and the kernel should be doing now. */
export interface Duty {
  steering: Steering;
  snapshot: unknown;
  tunMtu: number;
  /** For /v1/status, once it is carried out: names of what it goes by, beside what the registry says. */
  names?: Record<string, string[]>;
}

export interface Role {
  readonly name: 'gateway' | 'origin' | 'replica';
  readonly config: CommonConfig;
  /** URL of the pipeline module that the data plane's thread loads. */
  readonly module: URL;
  readonly pipelineOptions: unknown;
  readonly holdSlots: number;
  readonly raceBytes: number;
  readonly learnedBytes: number;
  /** What of the registry it goes by (`registry/keys.ts`), once {@link check} has seen all. */
  readonly topics: readonly string[];
  /** What stands against running here, with this registry. Changes nothing. */
  check(host: Host, view: View): Problem[];
  /** @param kernel how pinned flows are carried now */
  duty(host: Host, view: View, kernel: KernelMode): Duty;
  /** The programs that carry this role's flows; none where it has none to carry. */
  attachments?(host: Host): Attachment[];
  /** Prefixes of those whose connections the programs may take to the TUN. */
  readonly clients?: readonly Prefix[];
  /** Why this role's flows cannot be carried by those here; '' when they can. */
  whyNoFastpath?(host: Host): string;
  /** After the data plane is up: states its records, starts its probes and health checks. */
  start(context: RoleContext): Promise<void>;
  /** Told to stop, with everything still in place: lets go of new work, and waits for what ends within moments. */
  leave?(): Promise<void>;
  stop(): Promise<void>;
  /**
   * On SIGHUP: takes over what of its file may change while it runs.
   * @throws FirstackError FSA_CONFIG_*; then nothing has changed
   */
  reload?(flags: RoleFlags): Promise<void>;
  /** For /v1/status. */
  status(): Record<string, unknown>;
  races?(count: number): RaceRecord[];
  /** What an operator may ask for, by name; see the admin API. */
  readonly actions?: Record<string, () => void>;
  /** For /v1/proximity: who wins for whom. */
  proximity?(): unknown[];
}

export interface RoleContext {
  log: Logger;
  registry: Registry;
  plane: DataPlane;
  /** Asks for a new {@link Duty}, soon. */
  refresh(): void;
}

/** Two services of one fleet may differ; what this role was told to be must not. */
export function configurationMismatches(
  view: View,
  names: readonly string[] | undefined,
  told: string | undefined,
): Problem[] {
  if (told === undefined) return [];
  return view.services
    .filter((s) => (names === undefined || names.includes(s.name)) && s.configuration !== told)
    .map((s) => ({
      code: 'FSA_CONFIGURATION_MISMATCH',
      message: `service ${s.name} is published with configuration ${s.configuration}, this role was started with ${told}`,
    }));
}

/** What the data plane and the kernel go by now, for /v1/status: the names of all that is known. */
function namesOf(
  view: View,
): Record<'services' | 'replicas' | 'replicasUp' | 'gateways', (string | number)[]> {
  return {
    services: view.services.map((s) => s.name),
    replicas: view.replicas.map((r) => r.id),
    replicasUp: view.replicas.filter((r) => r.state === 'up').map((r) => r.id),
    gateways: view.gateways.map((g) => g.id),
  };
}

/** What `systemctl status` shows of a role that is ready. */
function statusLine(
  config: CommonConfig,
  applied: ReturnType<typeof namesOf>,
  how: KernelMode | undefined,
): string {
  const { services, replicas, replicasUp } = applied;
  const carried = how === undefined ? '' : `, fastpath ${how}`;
  return `${config.instance}: services ${services.length}, replicas up ${replicasUp.length} of ${replicas.length}${carried}`;
}

const REFRESH_MS = 20;

/** Runs a role until it is told to stop. @returns the exit code */
export async function runRole(role: Role, flags: RoleFlags): Promise<number> {
  const { config } = role;
  const log = createLog(`firstack-${role.name}`, config.log);
  const host = await inspectHost();
  const registry = openRegistry(config.registry, log, config.registryTls);
  const steerer = new Steerer(config.instance);
  const early = [...checkInterfaces(host, config.wan, 'wan'), ...checkInterfaces(host, config.lan, 'lan')];
  if (early.length > 0) throw FirstackError.ofProblems(early);
  if (flags.unpin === true) {
    await steerer.claim();
    const left = await unpin(config.instance);
    process.stdout.write(`${config.instance}: ${left ? 'what was pinned is gone' : 'nothing was pinned'}\n`);
    return 0;
  }
  await registry.start();
  try {
    const problems = role.check(host, registry.view);
    if (problems.length > 0) throw FirstackError.ofProblems(problems);
    if (flags.check === true) {
      const choice =
        role.attachments && (await chooseFastpath(config.fastpath.mode, host, whyNoFastpath(role, host)));
      process.stdout.write(describe(role.duty(host, registry.view, choice?.how ?? 'off').steering));
      if (choice !== undefined) process.stdout.write(`# ${describeFastpath(choice)}\n`);
      return 0;
    }
    await steerer.claim();
    await registry.follow(role.topics);
    return await serve(role, flags, host, registry, steerer, log);
  } finally {
    await registry.stop();
  }
}

const whyNoFastpath = (role: Role, host: Host): string => role.whyNoFastpath?.(host) ?? '';

async function serve(
  role: Role,
  flags: RoleFlags,
  host: Host,
  registry: Registry,
  steerer: Steerer,
  log: Logger,
): Promise<number> {
  const { config } = role;
  let end: (code: number) => void = () => {};
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  const pinnable = {
    instance: config.instance,
    asked: config.fastpath.mode,
    against: whyNoFastpath(role, host),
    max: config.flows.max,
    pref: config.steering.priority,
  };
  const kernel = role.attachments && (await openKernelPath(pinnable, host, log));
  const plane = await DataPlane.start({
    module: role.module,
    options: role.pipelineOptions,
    tun: config.tun,
    holdSlots: role.holdSlots,
    raceBytes: role.raceBytes,
    learnedBytes: role.learnedBytes,
    pinFds: kernel?.path?.pinFds(config.fastpath.pinAfterPackets),
    onFailure: (error) => {
      log.fatal({ error: error.message }, 'the data plane failed');
      end(1);
    },
  });

  // Duties are carried out one after another; asking twice while one is under way does it once more.
  let loaded = '';
  let wanted = false;
  let working: Promise<void> | undefined;
  let applied = namesOf(registry.view);
  let attached = false;
  let ready = false;
  let over = false;
  const perform = async (): Promise<void> => {
    const { view } = registry;
    const duty = role.duty(host, view, kernel?.how ?? 'off');
    const text = JSON.stringify([duty.snapshot, duty.tunMtu]);
    if (text !== loaded) {
      await plane.load(duty.snapshot, duty.tunMtu);
      loaded = text;
    }
    await steerer.apply(duty.steering);
    if (kernel?.path !== undefined && !attached) {
      const { mask, pinnedMark: mark } = config.steering;
      const clients = role.clients ?? [];
      const settings = { stack: kernel.how === 'stack', mark, mask, tun: config.tun.name, clients };
      await kernel.path.attach(role.attachments!(host), settings);
      attached = true;
    }
    applied = { ...namesOf(view), ...duty.names };
    if (ready) notifyManager(`STATUS=${statusLine(config, applied, kernel?.how)}`);
  };
  const refresh = (): void => {
    // What is being taken back is not to be built up again.
    if (over) return;
    wanted = true;
    working ??= (async () => {
      while (wanted) {
        await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
        wanted = false;
        await perform().catch((error: Error) =>
          log.error({ error: error.message }, 'a change could not be applied'),
        );
      }
      working = undefined;
    })();
  };

  /** What the kernel carries, in numbers. */
  const carried = (): Record<string, number> | undefined =>
    kernel?.path === undefined ? undefined : { flows: plane.gauges[PINNED_FLOWS], ...kernel.path.totals() };

  const admin = createAdmin({
    ready: () => ({
      ready: ready && registry.connected,
      // Without its registry a role goes on with what it knows, and says so here.
      reasons: [
        ...(ready ? [] : ['starting']),
        ...(registry.problem === undefined ? [] : [registry.problem]),
        // No reason to take the role away: what it cannot race, the origin serves.
        ...[clockProblem(registry.clockOffsetMs) ?? []].flat(),
      ],
    }),
    counters: () => plane.counters(),
    fastpath: () => carried(),
    clockOffsetMs: () => registry.clockOffsetMs,
    status: () => ({
      role: role.name,
      instance: config.instance,
      counters: plane.counters(),
      registry: {
        kind: registry.kind,
        connected: registry.connected,
        viewAgeMs: Math.round(registry.viewAgeMs),
        clockOffsetMs: registry.clockOffsetMs ?? null,
      },
      applied,
      fastpath: kernel === undefined ? undefined : { how: kernel.how, why: kernel.why, ...carried() },
      ...role.status(),
    }),
    races: role.races === undefined ? undefined : (count) => role.races!(count),
    proximity: role.proximity === undefined ? undefined : () => role.proximity!(),
    actions: role.actions ?? {},
  });
  const onSignal = (): void => end(0);
  const onHangUp = (): void => {
    if (ready) void reload(role, flags, log);
  };
  process.on('SIGHUP', onHangUp);
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    await perform();
    await role.start({ log, registry, plane, refresh });
    registry.onChange(refresh);
    refresh();
    await admin.listen(config.admin.listen);
    ready = true;
    notifyManager('READY=1', `STATUS=${statusLine(config, applied, kernel?.how)}`);
    log.info({ instance: config.instance, tun: config.tun.name, registry: registry.kind }, 'ready');
    const code = await ended;
    ready = false;
    if (code === 0) await role.leave?.();
    return code;
  } finally {
    ready = false;
    notifyManager('STOPPING=1', 'STATUS=taking everything back');
    over = true;
    wanted = false;
    await working;
    await role.stop();
    await kernel?.path?.detach();
    await steerer.remove();
    await plane.stop();
    // Not before: until now the data plane had its hands in the maps.
    await kernel?.path?.remove();
    await admin.close();
    process.off('SIGHUP', onHangUp);
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
    log.info('stopped');
  }
}

async function reload(role: Role, flags: RoleFlags, log: Logger): Promise<void> {
  if (role.reload === undefined) return log.warn('SIGHUP: nothing of this role changes without a restart');
  try {
    await role.reload(flags);
    log.info('the role file was read again');
  } catch (error) {
    log.error({ error: describeError(error) }, 'the role file was not taken over: nothing has changed');
  }
}
