/**
 * Hosts programs: everything that a role's process does around them. It reads the role file, inspects the host,
 * connects to the registry, starts each program's inner instance (`inner.ts`), serves the admin API, and removes
 * everything at the end.
 *
 *   role file ─ registry ─ checks ─ (--check ends here) ─ programs ─ admin ─ ready ─ SIGTERM ─ all removed ─ exit 0
 *
 * It knows no program: each role passes its list (`ROLE/programs.ts`).
 */
import { resolve } from 'node:path';
import { guardProblems } from './admin/guard.js';
import { openAdmin } from './admin/place.js';
import { roleMetrics } from './admin/role-metrics.js';
import type { AdminSource } from './admin/server.js';
import { EXIT, FirstackError } from './errors.js';
import { Events } from './events/events.js';
import { unpin } from './fastpath/kernel.js';
import { Hosted } from './hosted.js';
import { createLog, type Logger } from './log.js';
import { notifyManager } from './notify.js';
import { claimedTwice, type Program, type ProgramEntry } from './program.js';
import { clockProblem } from './registry/clock-check.js';
import { shown } from './registry/connect.js';
import { digestOf } from './registry/digest.js';
import type { RecordKind } from './registry/kinds.js';
import { openRegistry } from './registry/open.js';
import type { Registry } from './registry/registry.js';
import { revocationKind } from './registry/revocation.js';
import { serviceKindFor } from './registry/service.js';
import type { RoleFlags, RoleSchema } from './role-config.js';
import { DEFAULT_PROGRAM, type RoleFile, readRoleFile } from './role-file.js';
import { Steerer } from './steer/apply.js';
import { checkInterfaces, type Host, inspectHost } from './steer/host.js';
import type { RoleName } from './steer/marks.js';
import { publicText } from './trust/credential.js';
import { PairKeys } from './trust/pair-keys.js';
import { trustOf } from './trust/trust.js';
import { VERSION } from './version.js';
import { Contests } from './watch/contests.js';
import { LOOK_MS } from './watch/heartbeat.js';
import { HostWatch } from './watch/host-watch.js';

/** A role: its name, its own keys, its programs. */
export interface Role {
  readonly name: RoleName;
  readonly schema: RoleSchema;
  readonly programs: readonly ProgramEntry[];
}

/** The name of a program's inner instance. The race has the role's own name, as in versions that had only the race. */
export const innerInstance = (instance: string, program: string): string =>
  program === DEFAULT_PROGRAM ? instance : `${instance}-${program}`;

/** Runs a role until it receives a signal to stop. @returns the exit code */
export async function runRole(role: Role, flags: RoleFlags): Promise<number> {
  const available = await Promise.all(role.programs.map(async (p) => (await p.program()).program));
  checkNumbers(available);
  const read = (): RoleFile => readRoleFile(flags, role.name, role.schema, available);
  const file = read();
  const path = resolve(flags.configFile);
  const programs = file.programs.map((p) => p.program);
  const log = createLog(`firstack-${role.name}`, file.role.log, file.role.instance);
  const host = await inspectHost();
  const { lan, wan, registry: url, registryTls } = file.role;
  const early = [
    ...guardProblems(file.role.admin, path),
    ...checkInterfaces(host, wan, 'wan'),
    ...checkInterfaces(host, lan, 'lan'),
  ];
  if (early.length > 0) throw FirstackError.ofProblems(early);
  if (flags.unpin === true) return unpinAll(file);
  const trust = trustOf(file.role);
  const registry = openRegistry(url, log, kindsOf(programs), registryTls, file.role.instance, trust);
  // `--check` changes nothing, on the disk either.
  const events = new Events(file.role.instance, log, flags.check === true ? null : undefined);
  const pairs = trust && new PairKeys(trust.identity);
  const hosted = file.programs.map(({ program, config }) => {
    const instance = innerInstance(file.role.instance, program.name);
    const own = file.programs.length > 1 ? log.child({ program: program.name }) : log;
    return new Hosted({
      ...{ program, config, instance, registry, log: own, events, role: role.name },
      ...{ credential: trust?.identity.credential, onlySigned: trust?.refuses === true, pairs },
      fleet: trust && publicText(trust.identity.fleet),
    });
  });
  await registry.start();
  try {
    const problems = [
      ...(await Promise.all(hosted.map((h) => h.inner.check(host)))).flat(),
      ...claimedTwice(
        hosted.map(({ inner }) => ({ name: inner.name, claims: inner.run.claims?.(registry.view) ?? [] })),
      ),
    ];
    if (problems.length > 0) throw FirstackError.ofProblems(problems);
    if (flags.check === true) {
      for (const { inner } of hosted) {
        for (const p of inner.conflicts(host)) process.stdout.write(`# left out: ${p.code}: ${p.message}\n`);
        process.stdout.write(await inner.describe(host));
      }
      return 0;
    }
    // A replica sees other replicas' records at its start only.
    for (const { inner } of hosted)
      for (const { code, message } of inner.conflicts(host)) log.warn({ code }, `left out: ${message}`);
    for (const { inner } of hosted) await inner.claim();
    const own = trust === undefined ? [] : [revocationKind.name];
    await registry.follow([...new Set([...hosted.flatMap((h) => h.inner.run.topics), ...own])]);
    return await serve({ role, file, path, read, host, registry, hosted, log, events });
  } finally {
    await registry.stop();
  }
}

/**
 * Two programs with the same number would share marks and tables. That is a defect of the programs, which every start
 * reports.
 */
function checkNumbers(programs: readonly Program[]): void {
  for (const p of programs) {
    const other = programs.find((q) => q !== p && q.number === p.number);
    if (other !== undefined)
      throw new Error(`programs ${p.name} and ${other.name} have the same number ${p.number}`);
  }
}

/** The registry's kinds: the service with each program's part, and the kinds of the programs. */
export function kindsOf(programs: readonly Program[]): RecordKind[] {
  const parts = programs.flatMap((p) => (p.service === undefined ? [] : [[p.name, p.service] as const]));
  const kinds = new Map<string, RecordKind>();
  for (const kind of [
    revocationKind as RecordKind,
    serviceKindFor(Object.fromEntries(parts)) as RecordKind,
    ...programs.flatMap((p) => p.kinds),
  ])
    kinds.set(kind.name, kind);
  return [...kinds.values()];
}

async function unpinAll(file: RoleFile): Promise<number> {
  for (const { program } of file.programs) {
    const instance = innerInstance(file.role.instance, program.name);
    await new Steerer(instance).claim();
    const left = await unpin(instance);
    process.stdout.write(
      `${instance}: ${left ? 'the pinned connections have ended' : 'nothing was pinned'}\n`,
    );
  }
  return 0;
}

interface Serving {
  role: Role;
  file: RoleFile;
  /** Of the role file. */
  path: string;
  /** Reads the role file again. */
  read: () => RoleFile;
  host: Host;
  registry: Registry;
  hosted: readonly Hosted[];
  log: Logger;
  events: Events;
}

/** A heartbeat that is later than this was held up: the process, or its machine, was stopped. */
const HELD_UP_MS = 2500;

/** Runs the programs until the process is told to stop, or one that is alone fails. @returns the exit code */
async function serve(serving: Serving): Promise<number> {
  const { file, read, host, registry, hosted, log } = serving;
  const { instance } = file.role;
  let end: (code: number) => void = () => {};
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  let ready = false;
  const told = (): string => `STATUS=${instance}: ${hosted.map((h) => h.summary).join('; ')}`;
  let live = true;
  const contests = new Contests(serving.events);
  const admin = adminOf(serving, () => ({
    ready,
    live,
    contests: [...contests.reasons, ...(watch.problem === '' ? [] : [watch.problem])],
  }));
  let beating: NodeJS.Timeout | undefined;
  const watch = new HostWatch((look) => {
    for (const h of hosted) h.observe(look);
  }, log);
  const signals = onSignals({
    SIGHUP: () => {
      if (ready) for (const h of hosted) void h.reload(read);
    },
    SIGTERM: () => end(0),
    SIGINT: () => end(0),
  });
  try {
    const onFailure = hosted.length === 1 ? () => end(1) : undefined;
    for (const h of hosted) await h.start(host, onFailure, () => ready && notifyManager(told()));
    const sayRegistry = registrySayings(serving);
    registry.onChange(() => {
      sayRegistry();
      for (const h of hosted) h.inner.refresh();
    });
    registry.onContested((contest) => contests.hear(contest, () => end(EXIT.unavailable)));
    await admin.listen();
    watch.start();
    let before = performance.now();
    beating = setInterval(() => {
      const gapMs = performance.now() - before;
      before += gapMs;
      if (gapMs > HELD_UP_MS)
        serving.events.say(
          'error',
          'was-stuck',
          instance,
          `this process did not run for ${(gapMs / 1000).toFixed(1)} s`,
        );
      live = hosted.filter((h) => h.isStuck()).length === 0;
      if (live) notifyManager('WATCHDOG=1');
    }, LOOK_MS);
    ready = true;
    notifyManager('READY=1', told());
    const tun = file.programs.map((p) => p.config.tun?.name).join(', ');
    log.info({ instance, tun, registry: registry.kind }, 'ready');
    serving.events.say(
      'info',
      'started',
      instance,
      `firstack ${VERSION} has started, process ${process.pid}`,
    );
    const code = await ended;
    ready = false;
    // From here on nothing is put back: soon everything is removed.
    await watch.stop();
    if (code === 0) await Promise.all(hosted.map((h) => h.inner.leave()));
    return code;
  } finally {
    ready = false;
    notifyManager('STOPPING=1', 'STATUS=stopping');
    clearInterval(beating);
    await watch.stop();
    for (const h of hosted) await h.stop();
    await admin.close();
    signals.forget();
    log.info('stopped');
  }
}

/** @returns a function that says when the registry was lost, and when it is back */
function registrySayings({ registry, file, events }: Serving): () => void {
  let connected = registry.connected;
  const url = shown(file.role.registry);
  return () => {
    if (registry.connected === connected) return;
    connected = registry.connected;
    if (connected) events.say('info', 'registry-back', url, 'the registry is back');
    else events.say('warn', 'registry-lost', url, registry.problem ?? 'the registry is lost');
  };
}

function adminOf(
  { role, file, path, registry, hosted, events }: Serving,
  state: () => { ready: boolean; live: boolean; contests: string[] },
): ReturnType<typeof openAdmin> {
  const isReady = (): boolean => state().ready;
  const views = (): ReturnType<typeof digestOf> => digestOf(registry.view, comparable(hosted));
  const source: AdminSource = {
    programs: hosted.map((h) => h.source),
    live: () => state().live,
    ready: () => ({
      ready: isReady() && state().live && registry.connected && !hosted.some((h) => h.inner.isImpaired),
      reasons: [
        ...(isReady() ? [] : ['starting']),
        ...hosted.flatMap((h) => h.problem ?? []),
        ...hosted.flatMap((h) => h.inner.reasons),
        ...(state().live ? [] : ["the data plane's thread is stuck"]),
        ...state().contests,
        // Without its registry a role continues with its last view, and reports that here.
        ...(registry.problem === undefined ? [] : [registry.problem]),
        ...refusedReason(registry.refused),
        // Reported, but no reason to end the role: connections that it cannot race go to the origin.
        ...[clockProblem(registry.clockOffsetMs) ?? []].flat(),
      ],
    }),
    clockOffsetMs: () => registry.clockOffsetMs,
    metrics: () => roleMetrics(registry, views()),
    events: (sinceMs) => events.since(sinceMs),
    who: () => ({ role: role.name, instance: file.role.instance }),
    head: () => ({
      role: role.name,
      instance: file.role.instance,
      version: VERSION,
      file: path,
      registry: {
        kind: registry.kind,
        url: shown(file.role.registry),
        connected: registry.connected,
        viewAgeMs: Math.round(registry.viewAgeMs),
        views: views(),
        refused: registry.refused,
        clockOffsetMs: registry.clockOffsetMs ?? null,
      },
    }),
    asked: (action, by) => events.say('info', 'asked', action, `${action} was asked for by ${by}`, { by }),
  };
  return openAdmin(source, file.role.admin, role.name, file.role.instance);
}

/** Reported, but no reason to end the role: a record without authority is a mistake, or an attack. */
function refusedReason(refused: Readonly<Record<string, string>>): string[] {
  const all = Object.entries(refused);
  if (all.length === 0) return [];
  const [[key, why]] = all;
  const more = all.length === 1 ? '' : ` (and ${all.length - 1} more)`;
  return [`records without authority: ${key}: ${why}${more}`];
}

/**
 * The kinds of records of which two roles must see the same. A hint that expired is noticed by each role at another
 * moment, since no sweeper announces it.
 */
function comparable(hosted: readonly Hosted[]): string[] {
  const hints = hosted.flatMap((h) => h.inner.program.kinds.filter((k) => k.isUnswept).map((k) => k.name));
  return hosted.flatMap((h) => h.inner.run.topics).filter((topic) => !hints.includes(topic));
}

function onSignals(handlers: Partial<Record<NodeJS.Signals, () => void>>): { forget(): void } {
  const all = Object.entries(handlers) as [NodeJS.Signals, () => void][];
  for (const [signal, handle] of all) process.on(signal, handle);
  return {
    forget: () => {
      for (const [signal, handle] of all) process.off(signal, handle);
    },
  };
}
