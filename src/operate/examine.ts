/**
 * What is wrong with a fleet, from what its roles answer: one finding per cause, causes before consequences. Pure. What
 * follows from a cause that is named already (a machine that cannot be measured since its interface is down) is left
 * out.
 */
import type { Event } from '../events/events.js';
import type { Answered } from './asked.js';
import { NOWHERE, type Place, remedyOf } from './remedies.js';
import { differencesOf } from './status.js';

export interface Finding {
  /** The instances that say it, `registry`, or the address that does not answer. */
  where: string;
  what: string;
  /** The line to run, or the file to look at; '' where there is none. */
  run: string;
  /** Worth knowing, and as the operator wanted it: no fault. */
  isNote?: true;
}

/** What the doctor reads of a role's status. */
export interface Examined {
  role: string;
  instance: string;
  /** Path of the role file; absent in an older version, like the other optional properties of every role. */
  file?: string;
  ready: { ready: boolean; reasons: string[] };
  registry: {
    kind?: string;
    url?: string;
    connected: boolean;
    clockOffsetMs: number | null;
    views: Record<string, { count: number; hash: string }>;
  };
  full?: string[];
  fastpath?: { asked?: string; how: string; why: string; bypasses?: string };
  /** Of a replica. */
  id?: string;
  state?: string;
  reason?: string;
  check?: string;
  unacknowledged?: string[];
  services?: { name: string; configuration?: string }[];
  /** Of an origin. */
  servers?: { service: string; server: string; healthy: boolean; reason: string; check?: string }[];
  candidates?: {
    id: string;
    address?: string;
    service: string;
    raced: boolean;
    why: string;
    state: string;
  }[];
  /** Of a gateway. */
  replicas?: {
    id: string;
    address?: string;
    state: string;
    reason: string;
    leftOut?: string;
    services?: { name: string; port: number }[];
  }[];
  machines?: { service: string; id: string; state: string; why?: string }[];
  paths?: {
    machines: string[];
    address: string;
    form: string;
    state: string;
    mtuOut: number | null;
    mtuIn: number | null;
  }[];
}

export type Told = { instance: string; events: readonly Event[] };

/** A role, and the address at which it answered. */
interface Asked extends Examined {
  place: Place;
}

/** @param told what the roles said of late: for the figures of an ejection */
export function examine(answers: readonly Answered<Examined>[], told: readonly Told[]): Finding[] {
  const roles = answers.flatMap(({ admin, answer }): Asked[] =>
    answer === undefined
      ? []
      : [
          {
            ...answer,
            place: { file: answer.file ?? NOWHERE.file, registry: answer.registry.url ?? '', admin },
          },
        ],
  );
  const silent = answers.filter((a) => a.answer === undefined);
  const own = roles.flatMap(ofRole);
  const ill = new Set([
    ...silent.map((a) => hostOf(a.admin)),
    ...roles.filter((r) => own.some((f) => f.where === r.instance)).flatMap((r) => r.id ?? []),
  ]);
  const answering = new Set(roles.flatMap((r) => r.id ?? []));
  const lost = ofRegistry(roles);
  const differences = lost.length > 0 ? [] : differencesOf(roles);
  const apart = differences.length > 0 ? ofRegistries(roles) : [];
  // In another registry than the fleet's its services are not published.
  const follows = (f: Finding): boolean => apart.length > 0 && UNPUBLISHED.test(f.what);
  return [
    ...lost,
    ...apart,
    ...silent.map(ofSilent),
    ...own.filter((f) => !follows(f)),
    ...(apart.length > 0 ? [] : differences).map((what) => ({
      where: 'registry',
      what,
      run: 'firstack status',
    })),
    ...merged([
      ...roles.flatMap((r) => ofOrigin(r, ill)),
      ...roles.flatMap((r) => ofGateway(r, ill, answering, told)),
      // What is wrong on the gateway's own host may be why its probes are lost.
      ...roles.filter((r) => !own.some((f) => f.where === r.instance)).flatMap((r) => ofPaths(r, ill)),
      ...roles.flatMap(withoutReplica),
    ]),
    // Rules that are a fault already are why the fast path is off.
    ...roles.filter((r) => !own.some((f) => f.where === r.instance)).flatMap(notesOf),
  ];
}

const UNPUBLISHED = /none of its services is published/;

/** What several roles say of the same machine or service is one finding. */
function merged(all: readonly Finding[]): Finding[] {
  const by = new Map<string, Finding>();
  for (const f of all) {
    const before = by.get(f.what);
    if (before === undefined) by.set(f.what, { ...f });
    else if (!before.where.split(', ').includes(f.where)) before.where += `, ${f.where}`;
  }
  return [...by.values()];
}

/** In a laboratory a role's socket has its host's name. */
const hostOf = (admin: string): string => /\/([^/]+)\.sock$/.exec(admin)?.[1] ?? admin;

function ofSilent({ admin, problem = '', said = '' }: Answered<unknown>): Finding {
  const socket = /^unix:(\/run\/firstack\/lab\/.*)\.sock$/.exec(admin)?.[1];
  const look =
    socket === undefined
      ? 'systemctl status "firstack-*"; journalctl -n 20 -u "firstack-*"'
      : `tail -n 20 ${socket}.log`;
  const place = { ...NOWHERE, admin, ...(socket === undefined ? {} : { file: `${socket}.yaml` }) };
  const why = problem.replace(`${admin}/v1/status: `, '');
  const last = said === '' ? '' : `; the last that it said: ${said}`;
  return {
    where: hostOf(admin),
    what: `no role answers at ${admin}: is it running? (${why})${last}`,
    run: (said === '' ? '' : remedyOf(said, place)) || look,
  };
}

const OF_REGISTRY = /^registry (?:lost|refuses us).*?going on with the last view(?:: (.*))?$/;

/** What the roles say of their registry: one finding, because one Redis is one cause. */
function ofRegistry(roles: readonly Asked[]): Finding[] {
  const hit = roles.flatMap((r) => {
    const reason = r.ready.reasons.find((x) => OF_REGISTRY.test(x));
    return reason === undefined ? [] : [{ r, why: OF_REGISTRY.exec(reason)![1] ?? '' }];
  });
  if (hit.length === 0) return [];
  const { place } = hit[0].r;
  const why = hit.find((h) => /OOM|MISCONF|READONLY|NOREPLICAS|NO[A-Z]|WRONG/.test(h.why))?.why ?? hit[0].why;
  const url = [...new Set(hit.map((h) => h.r.place.registry))].join(', ');
  const names = hit.map((h) => h.r.instance).join(', ');
  const all = roles.filter((r) => r.registry.kind !== 'file').length;
  const verb = /OOM|MISCONF|READONLY|NOREPLICAS/.test(why)
    ? 'refuses writes'
    : /NOAUTH|WRONGPASS|NOPERM/.test(why)
      ? 'refuses the user'
      : 'does not answer';
  const whom =
    hit.length === all
      ? `all ${all} roles go on with the last view`
      : `${names} of ${all} roles: look at the way from there, or at their role files`;
  const what = `registry ${url} ${verb}${why === '' ? '' : ` (${why})`}: ${whom}`;
  const run = place.registry.startsWith('file:')
    ? `firstack ${hit[0].r.role} --check --config-file ${place.file}`
    : remedyOf(what, place);
  return [{ where: 'registry', what, run }];
}

/** What a role says of itself and of its host. */
function ofRole(r: Asked): Finding[] {
  const at = (what: string, run = remedyOf(what, r.place)): Finding => ({ where: r.instance, what, run });
  const reasons = r.ready.reasons.filter((x) => !OF_REGISTRY.test(x));
  const isOfInterface = (x: string): boolean => /^FSA_INTERFACE_/.test(x);
  // Without its interface a host has neither its address nor its routes.
  const follows = (x: string): boolean =>
    reasons.some(isOfInterface) &&
    /could not be put back|again and again|is not an address of this host: copies/.test(x);
  const causes = fought(reasons)
    .filter((x) => !follows(x))
    .sort((a, b) => Number(isOfInterface(b)) - Number(isOfInterface(a)));
  return [
    ...causes.map((reason) => at(reason)),
    ...ofState(r, causes, at),
    ...ofServers(r, at),
    ...(r.full ?? []).map((sentence) => at(sentence)),
  ];
}

/** One program that removes several things again and again is one cause. */
function fought(reasons: readonly string[]): string[] {
  const isFought = (x: string): boolean => / again and again/.test(x);
  const all = reasons.filter(isFought);
  if (all.length < 2) return [...reasons];
  return [`${all[0]} (and ${all.length - 1} more)`, ...reasons.filter((x) => !isFought(x))];
}

type At = (what: string, run?: string) => Finding;

function ofState(r: Asked, causes: readonly string[], at: At): Finding[] {
  const { state = 'up', reason = '', check = '', unacknowledged = [] } = r;
  // "This address is not here" is a problem of the host, and the reason of the state as well.
  if (state === 'up' || causes.some((c) => reason !== '' && c.includes(reason))) return [];
  const waits = unacknowledged.length === 0 ? '' : `; ${unacknowledged.join('; ')}`;
  const what = `takes no new connections: ${state}: ${reason}${waits}`;
  return [/^health check/.test(reason) && check !== '' ? at(what, check) : at(what)];
}

function ofServers(r: Asked, at: At): Finding[] {
  const services = [...new Set((r.servers ?? []).map((s) => s.service))];
  return services.flatMap((service) => {
    const all = r.servers!.filter((s) => s.service === service);
    const down = all.filter((s) => !s.healthy);
    const told = down.map((s) => `${s.server} (${s.reason})`).join(', ');
    if (down.length > 1 && down.length === all.length)
      return [at(`all ${all.length} servers of ${service} are down: ${told}`, down[0].check ?? '')];
    return down.map((s) =>
      at(
        `server ${s.server} of ${service} gets no connections: ${s.reason}`,
        s.check || remedyOf(s.reason, r.place),
      ),
    );
  });
}

/** @param ill ids of machines of which a cause is named already */
function ofOrigin(r: Asked, ill: ReadonlySet<string>): Finding[] {
  return (r.candidates ?? [])
    .filter((c) => !c.raced && c.state === 'up' && !ill.has(c.id))
    .map((c) => {
      const at = c.address === undefined ? '' : ` at ${c.address}`;
      const what = `machine ${c.id}${at} is not raced for ${c.service}: ${c.why}`;
      return { where: r.instance, what, run: remedyOf(what, r.place) };
    });
}

function ofGateway(
  r: Asked,
  ill: ReadonlySet<string>,
  answering: ReadonlySet<string>,
  told: readonly Told[],
): Finding[] {
  if (r.role !== 'gateway') return [];
  const at: At = (what, run = remedyOf(what, r.place)) => ({ where: r.instance, what, run });
  const ejected = (r.machines ?? []).filter((m) => m.state === 'ejected' && !ill.has(m.id));
  const said = told.find((t) => t.instance === r.instance)?.events ?? [];
  const events = `firstack events --since 1h --admin ${r.place.admin}`;
  return [
    ...ejected.map((m) => {
      const last = said.filter((e) => e.kind === 'ejected' && e.subject === `${m.service}/${m.id}`).at(-1);
      const what = last?.message ?? `${m.id} is not raced for ${m.service}: it ${m.why ?? 'fails'}`;
      return at(`machine ${what}`, probeOf(r, m.id, m.service) ?? events);
    }),
    ...(r.replicas ?? []).flatMap((m) => {
      if (m.leftOut !== undefined) return [at(`machine ${m.id} is left out: ${m.leftOut}`)];
      // A machine that answers itself says why by itself.
      if (m.state === 'up' || answering.has(m.id) || ill.has(m.id)) return [];
      return [
        at(
          `machine ${m.id} takes no new connections: ${m.state}: ${m.reason}`,
          `firstack doctor   # on the host of ${m.id}${m.address === undefined ? '' : `, ${m.address}`}`,
        ),
      ];
    }),
  ];
}

/** Paths whose probes are not answered any more. */
function ofPaths(r: Asked, ill: ReadonlySet<string>): Finding[] {
  return (r.paths ?? []).flatMap((p) => {
    if (p.state !== 'silent' || p.machines.every((id) => ill.has(id))) return [];
    const what = `path to ${p.machines.join(', ')} (${p.address}): no ${p.form} probe is answered any more`;
    return [{ where: r.instance, what, run: remedyOf(what, r.place) }];
  });
}

/** A request to the machine itself, where it answers with its own address. */
function probeOf(r: Asked, id: string, service: string): string | undefined {
  const replica = r.replicas?.find((m) => m.id === id);
  const port = replica?.services?.find((s) => s.name === service)?.port;
  const isOwn = r.services?.find((s) => s.name === service)?.configuration === 'A';
  if (!isOwn || replica?.address === undefined || port === undefined) return undefined;
  return `curl -sS -o /dev/null -D - -m 3 http://${replica.address}:${port}/   # from this gateway`;
}

/** Roles whose views differ because they have different registries. */
function ofRegistries(roles: readonly Asked[]): Finding[] {
  const urls = new Map<string, string[]>();
  for (const r of roles) urls.set(r.place.registry, [...(urls.get(r.place.registry) ?? []), r.instance]);
  if (urls.size < 2) return [];
  const told = [...urls].map(([url, who]) => `${who.join(', ')}: ${url}`).join('; ');
  const fewest = [...urls].sort((a, b) => a[1].length - b[1].length)[0][1][0];
  const { file } = roles.find((r) => r.instance === fewest)!.place;
  return [
    {
      where: 'registry',
      what: `roles have different registries, and see different records: ${told}`,
      run: `grep -n "^registry" ${file}`,
    },
  ];
}

/** A service that has replicas, of which none is up: last, because it follows from what is wrong with each of them. */
function withoutReplica(r: Asked): Finding[] {
  if (r.role !== 'gateway') return [];
  return (r.services ?? []).flatMap(({ name }) => {
    const carry = (r.replicas ?? []).filter((m) => m.services?.some((s) => s.name === name));
    if (carry.length === 0 || carry.some((m) => m.state === 'up')) return [];
    const what = `service ${name} has no replica that is up (of ${carry.length}): its origin serves all connections`;
    return [{ where: r.instance, what, run: `firstack status --admin ${r.place.admin}` }];
  });
}

function notesOf(r: Asked): Finding[] {
  const { asked = '', how = '', why = '', bypasses = '' } = r.fastpath ?? {};
  const note = (what: string, run: string): Finding[] => [{ where: r.instance, what, run, isNote: true }];
  if (asked === 'on' && bypasses !== '')
    return note(
      `fastpath on, as asked: redirected packets bypass ${bypasses}`,
      `grep -n "fastpath" -A2 ${r.place.file}   # auto or stack lets these rules see every packet`,
    );
  if (asked !== '' && asked !== 'off' && how === 'off')
    return note(`fastpath off: ${why}`, remedyOf(why, r.place));
  return [];
}
