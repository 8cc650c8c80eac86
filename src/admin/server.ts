/**
 * The admin API (fastify), on loopback or a Unix socket: liveness, readiness, metrics, status, and what programs bring.
 * `listen` is HOST:PORT or unix:PATH.
 */
import { rmSync } from 'node:fs';
import { fastify } from 'fastify';
import type { Schema } from '../config.js';
import { FirstackError } from '../errors.js';
import type { Metric } from '../program.js';

/** What the API asks of one program. */
export interface AdminProgram {
  name: string;
  counters(): Record<string, number>;
  /** What the kernel carried; undefined where it carries nothing. */
  carried(): Record<string, number> | undefined;
  status(): Record<string, unknown>;
  /** Families of its own. */
  metrics(): Metric[];
  /** `GET /v1/NAME`. */
  reads: Record<
    string,
    { query?: Record<string, Schema>; answer(query: Record<string, unknown>): Record<string, unknown> }
  >;
  /** What an operator may ask of it, by name: `POST /v1/NAME`, answered with the status. */
  actions: Record<string, () => void>;
}

export interface AdminSource {
  programs: readonly AdminProgram[];
  ready(): { ready: boolean; reasons: string[] };
  /** This host's wall clock less the registry's; undefined where that has none. */
  clockOffsetMs(): number | undefined;
  /** What the status says beside its programs. */
  head(): Record<string, unknown>;
}

export interface Admin {
  listen(address: string): Promise<void>;
  close(): Promise<void>;
}

/** The program whose status stands at the top as well, where commands of earlier versions look for it. */
const FIRST_PROGRAM = 'race';

function status(source: AdminSource): Record<string, unknown> {
  const programs = Object.fromEntries(source.programs.map((p) => [p.name, p.status()]));
  return { ...source.head(), ...programs[FIRST_PROGRAM], programs };
}

export function createAdmin(source: AdminSource): Admin {
  const app = fastify({ logger: false });
  app.get('/livez', async () => ({ live: true }));
  app.get('/readyz', async (_request, reply) => {
    const state = source.ready();
    return reply.code(state.ready ? 200 : 503).send(state);
  });
  app.get('/metrics', async (_request, reply) =>
    reply.type('text/plain; version=0.0.4').send(metrics(source)),
  );
  app.get('/v1/status', async () => status(source));
  for (const program of source.programs) {
    for (const [name, { query = {}, answer }] of Object.entries(program.reads)) {
      const querystring = { type: 'object', additionalProperties: false, properties: query };
      app.get<{ Querystring: Record<string, unknown> }>(
        `/v1/${name}`,
        { schema: { querystring } },
        async (request) => answer(request.query),
      );
    }
    for (const [name, act] of Object.entries(program.actions))
      app.post(`/v1/${name}`, async () => {
        act();
        return status(source);
      });
  }
  return {
    listen: async (address) => {
      const at = parseListen(address);
      // A killed predecessor leaves its socket behind; the instance's name has been claimed by now.
      if ('path' in at) rmSync(at.path, { force: true });
      try {
        await app.listen(at);
      } catch (error) {
        throw new FirstackError('FSA_CONFIG_VALUE', `admin.listen: ${address}: ${(error as Error).message}`);
      }
    },
    close: () => app.close(),
  };
}

/** @throws FirstackError FSA_CONFIG_VALUE */
export function parseListen(address: string): { path: string } | { host: string; port: number } {
  if (address.startsWith('unix:') && address.length > 5) return { path: address.slice(5) };
  const match = /^(.+):(\d{1,5})$/.exec(address);
  if (match === null || Number(match[2]) > 65535)
    throw new FirstackError(
      'FSA_CONFIG_VALUE',
      `admin.listen: '${address}' is neither HOST:PORT nor unix:PATH`,
    );
  return { host: match[1].replace(/^\[(.*)\]$/, '$1'), port: Number(match[2]) };
}

/** The exposition format of Prometheus. Verdict and reason are the two parts of a counter's name. */
function metrics(source: AdminSource): string {
  const lines: string[] = [];
  const family = (name: string, help: string, type: string, samples: readonly string[]): void => {
    if (samples.length > 0) lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples);
  };
  const { programs } = source;
  family(
    'firstack_packets_total',
    'Packets by program, verdict and reason.',
    'counter',
    programs.flatMap((p) =>
      Object.entries(p.counters()).map(([name, value]) => {
        const dot = name.indexOf('.');
        const labels = `program="${p.name}",verdict="${name.slice(0, dot)}",reason="${name.slice(dot + 1)}"`;
        return `firstack_packets_total{${labels}} ${value}`;
      }),
    ),
  );
  const carried = programs.flatMap((p) => {
    const totals = p.carried();
    return totals === undefined ? [] : [{ name: p.name, totals }];
  });
  family(
    'firstack_fastpath_flows',
    'Flows that the kernel carries.',
    'gauge',
    carried.map(({ name, totals }) => `firstack_fastpath_flows{program="${name}"} ${totals.flows}`),
  );
  family(
    'firstack_fastpath_total',
    'What the kernel carried, out from clients and in to them, and left to the stack.',
    'counter',
    carried.flatMap(({ name, totals }) =>
      Object.entries(totals)
        .filter(([what]) => what !== 'flows')
        .map(([what, value]) => `firstack_fastpath_total{program="${name}",what="${what}"} ${value}`),
    ),
  );
  for (const p of programs)
    for (const { name, help, type, samples } of p.metrics())
      family(
        name,
        help,
        type,
        samples.map(({ labels, value }) => `${name}{${labelled(p.name, labels)}} ${value}`),
      );
  const offsetMs = source.clockOffsetMs();
  family(
    'firstack_clock_offset_seconds',
    "This host's wall clock less the registry's.",
    'gauge',
    offsetMs === undefined ? [] : [`firstack_clock_offset_seconds ${offsetMs / 1000}`],
  );
  family('firstack_ready', 'Whether the role is ready and sees its registry.', 'gauge', [
    `firstack_ready ${source.ready().ready ? 1 : 0}`,
  ]);
  return `${lines.join('\n')}\n`;
}

const labelled = (program: string, labels: Readonly<Record<string, string>>): string =>
  Object.entries({ program, ...labels })
    .map(([name, value]) => `${name}="${value}"`)
    .join(',');
