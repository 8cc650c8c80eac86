/**
 * `firstack status`: every role that is asked, the services, and the machines; what each side says of a machine stands
 * in a column of its own, and roles whose registry views differ are named.
 */
import { EXIT } from '../errors.js';
import { type Answered, type AskedOptions, askAll } from './asked.js';
import { columns } from './columns.js';

export interface StatusOptions extends AskedOptions {
  json: boolean;
}

interface RoleStatus {
  role: string;
  instance: string;
  version: string;
  registry: {
    kind: string;
    connected: boolean;
    viewAgeMs: number;
    views: Record<string, { count: number; hash: string }>;
    refused?: Record<string, string>;
  };
  ready: { ready: boolean; reasons: string[] };
  services?: { name: string; address: string; port?: number; ports?: number[]; configuration: string }[];
  replicas?: {
    id: string;
    address: string;
    state: string;
    reason: string;
    load: number;
    leftOut?: string;
    /** Absent in an older version, as the next one. */
    rttMs?: number | null;
    /** Whether it is asked in no race, because others are nearer. */
    isFarther?: boolean;
  }[];
  candidates?: {
    id: string;
    service: string;
    state: string;
    distanceMs: number | null;
    raced: boolean;
    why: string;
  }[];
  applied?: { ejected?: string[] };
  fastpath?: { how: string; why: string; flows: number } | null;
  flows: number;
}

/** @returns 1 when a role is not ready, does not answer, or sees another registry than the others */
export async function status(o: StatusOptions): Promise<number> {
  const answers = await askAll<RoleStatus>(o, '/v1/status');
  const roles = answers.flatMap((a) => a.answer ?? []);
  const differences = differencesOf(roles);
  const isWell = differences.length === 0 && answers.every((a) => a.answer?.ready.ready);
  if (o.json) process.stdout.write(`${JSON.stringify({ roles: answers, differences, isWell }, null, 2)}\n`);
  else process.stdout.write(`${report(answers, roles, differences)}\n`);
  return isWell ? EXIT.ok : EXIT.expectation;
}

/** A role, and the digest of each kind of records in its view; absent in an older version. */
interface Seeing {
  instance: string;
  registry: { views?: Record<string, { count: number; hash: string }> };
}

/** Kinds of records of which two roles have different views, as sentences. */
export function differencesOf(roles: readonly Seeing[]): string[] {
  const kinds = new Set(roles.flatMap((r) => Object.keys(r.registry.views ?? {})));
  return [...kinds].flatMap((kind) => {
    const seen = roles.flatMap((r) => {
      const view = r.registry.views?.[kind];
      return view === undefined ? [] : [{ who: r.instance, ...view }];
    });
    if (new Set(seen.map((s) => s.hash)).size <= 1) return [];
    return [
      `views of ${kind} records differ: ${seen.map((s) => `${s.who} ${s.hash} (${s.count})`).join(', ')}`,
    ];
  });
}

function report(
  answers: readonly Answered<RoleStatus>[],
  roles: readonly RoleStatus[],
  differences: readonly string[],
): string {
  const rows = answers.map(({ admin, answer: r, problem }) =>
    r === undefined
      ? ['?', admin, 'no answer', '', '', problem ?? '']
      : [
          r.role,
          r.instance,
          r.ready.ready ? 'ready' : 'NOT READY',
          `${r.registry.kind}, ${r.registry.connected ? 'connected' : 'LOST'}, ${(r.registry.viewAgeMs / 1000).toFixed(1)} s old`,
          r.fastpath ? `${r.fastpath.how}, ${r.fastpath.flows} in the kernel` : '',
          r.ready.reasons.join('; '),
        ],
  );
  const machines = roles.flatMap((r) => machinesOf(r));
  const services = roles.flatMap((r) =>
    (r.services ?? []).map((s) => [
      s.name,
      `${s.address}:${s.ports?.join(',') ?? s.port}`,
      s.configuration,
      r.instance,
    ]),
  );
  const refused = roles.flatMap((r) =>
    Object.entries(r.registry.refused ?? {}).map(([key, why]) => [key, r.instance, why]),
  );
  return [
    columns(['role', 'instance', 'state', 'registry', 'fast path', 'why'], rows),
    columns(['service', 'address', 'configuration', 'as seen by'], services),
    columns(['machine', 'as seen by', 'says of itself', 'measured', 'used', 'why not'], machines),
    ...roles.flatMap(farther),
    ...(refused.length === 0 ? [] : [columns(['record without authority', 'as seen by', 'why'], refused)]),
    ...(differences.length === 0 ? [] : [differences.join('\n')]),
  ].join('\n\n');
}

/** A fleet of hundreds has many machines that no race asks: they are counted, not listed. */
function farther({ instance, replicas = [] }: RoleStatus): string[] {
  const count = replicas.filter((m) => m.isFarther === true && m.state === 'up').length;
  if (count === 0) return [];
  return [
    `${instance}: ${count} more machines are up, and farther than the 31 nearest of their service (--json lists them)`,
  ];
}

function machinesOf(r: RoleStatus): string[][] {
  const ejected = new Set(r.applied?.ejected ?? []);
  const listed = (r.replicas ?? []).filter((m) => m.isFarther !== true || m.state !== 'up');
  const byGateway = (r.role === 'gateway' ? listed : []).map((m) => {
    const why = ejected.has(m.id)
      ? 'ejected: see firstack events'
      : (m.leftOut ?? (m.state === 'up' ? '' : m.reason));
    return [
      m.id,
      r.instance,
      `${m.state}, load ${Math.round(m.load * 100)} %`,
      m.rttMs == null ? '' : `${m.rttMs.toFixed(1)} ms`,
      why === '' ? 'yes' : 'no',
      why,
    ];
  });
  const byOrigin = (r.candidates ?? []).map((c) => [
    c.id,
    r.instance,
    c.state,
    c.distanceMs === null ? 'not measured' : `${c.distanceMs.toFixed(1)} ms`,
    c.raced ? 'yes' : 'no',
    c.why,
  ]);
  return [...byGateway, ...byOrigin];
}
