/**
 * The admin API (fastify), on a Unix socket, on loopback or, with TLS and a token, elsewhere: liveness, readiness, metrics,
 * status, and the programs' own reads and actions. `listen` is HOST:PORT or unix:PATH; `place.ts` has the defaults.
 */
import { rmSync } from 'node:fs';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { type FastifyInstance, type FastifyServerOptions, fastify } from 'fastify';
import { addFormats, type Schema } from '../config.js';
import { FirstackError } from '../errors.js';
import { type Guard, isLoopback, NO_GUARD, whyRefused } from './guard.js';
import { exposition, type Metric } from './metrics.js';

/** What the API needs from one program. */
export interface AdminProgram {
  name: string;
  counters(): Record<string, number>;
  /** Counters of what the kernel carried; undefined for a program without hooks. */
  carried(): Record<string, number> | undefined;
  status(): Record<string, unknown>;
  /** Metric families of the program. */
  metrics(): Metric[];
  /** `GET /v1/NAME`. */
  reads: Record<
    string,
    {
      query?: Record<string, Schema>;
      answer(query: Record<string, unknown>): Record<string, unknown> | Promise<Record<string, unknown>>;
    }
  >;
  /** Actions that an operator may request, by name: `POST /v1/NAME`, answered with the status. */
  actions: Record<string, () => void>;
}

export interface AdminSource {
  programs: readonly AdminProgram[];
  /** Whether every data plane's thread runs. */
  live(): boolean;
  ready(): { ready: boolean; reasons: string[] };
  /** This host's wall clock less the registry's; undefined where the registry has no clock. */
  clockOffsetMs(): number | undefined;
  /** Events of this time (ms since 1970) or later. */
  events(sinceMs: number): readonly unknown[];
  /** Which role answers: in every answer that is compared with other roles'. */
  who(): { role: string; instance: string };
  /** Metric families of the role besides the programs'. */
  metrics(): Metric[];
  /** The properties of the status besides the programs. */
  head(): Record<string, unknown>;
  /** Notes that an action was asked for. @param by from where */
  asked(action: string, by: string): void;
}

export interface Admin {
  listen(address: string): Promise<void>;
  close(): Promise<void>;
}

/** The program whose status is repeated at the top level, where commands of earlier versions look for it. */
const FIRST_PROGRAM = 'race';

function status(source: AdminSource): Record<string, unknown> {
  const programs = Object.fromEntries(source.programs.map((p) => [p.name, p.status()]));
  return { ...source.head(), ready: source.ready(), ...programs[FIRST_PROGRAM], programs };
}

/**
 * Compiles a query's schema with its first request; fastify's own compiler would do so at the start of the role, for all of them.
 */
function compileLate({ schema }: { schema: unknown }): (query: unknown) => true | { error: ErrorObject[] } {
  let check: ValidateFunction | undefined;
  return (query) => {
    check ??= compile(schema as Schema);
    return check(query) || { error: check.errors! };
  };
}

function compile(schema: Schema): ValidateFunction {
  const ajv = new Ajv({
    validateSchema: false,
    meta: false,
    coerceTypes: 'array',
    useDefaults: true,
    removeAdditional: true,
  });
  addFormats(ajv);
  return ajv.compile(schema);
}

/** In the place of fastify's own. Answers have no schemas. The types of fastify name the standalone compilers' forms. */
const compilersFactory = {
  buildValidator: () => compileLate,
  buildSerializer: () => () => JSON.stringify,
} as unknown as NonNullable<FastifyServerOptions['schemaController']>['compilersFactory'];

export function createAdmin(source: AdminSource, guard: Guard = NO_GUARD): Admin {
  const { app, admin } = open(source, guard);
  app.get('/v1/status', async () => status(source));
  const since = { since: { type: 'integer', minimum: 0, default: 0 } };
  app.get<{ Querystring: { since: number } }>(
    '/v1/events',
    { schema: { querystring: { type: 'object', additionalProperties: false, properties: since } } },
    async (request) => ({ ...source.who(), events: source.events(request.query.since) }),
  );
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
      app.post(`/v1/${name}`, async ({ socket }) => {
        source.asked(name, socket.remoteAddress ?? 'the Unix socket');
        act();
        return status(source);
      });
  }
  return admin;
}

/** Liveness, readiness and metrics, and nothing else. */
export const createHealth = (source: AdminSource): Admin => open(source, NO_GUARD).admin;

/** A server that answers liveness, readiness and metrics, and refuses what its guard refuses. */
function open(source: AdminSource, { token, tls }: Guard): { app: FastifyInstance; admin: Admin } {
  const common = { logger: false, schemaController: { compilersFactory } };
  const app = (tls === undefined
    ? fastify(common)
    : fastify({ ...common, https: tls })) as unknown as FastifyInstance;
  let own: { host: string } | undefined;
  app.addHook('onRequest', async ({ method, url, headers, socket }, reply) => {
    if (own === undefined) return;
    const isLocal = isLoopback(socket.remoteAddress ?? '');
    const why = whyRefused({ method, path: url.split('?')[0], headers, isLocal }, own.host, token);
    if (why !== '') return reply.code(403).send({ error: 'FSA_PERMISSION', message: why });
  });
  app.get('/livez', async (_request, reply) => {
    const live = source.live();
    return reply.code(live ? 200 : 503).send({ live });
  });
  app.get('/readyz', async (_request, reply) => {
    const state = source.ready();
    return reply.code(state.ready ? 200 : 503).send(state);
  });
  app.get('/metrics', async (_request, reply) =>
    reply.type('text/plain; version=0.0.4').send(await metrics(source)),
  );
  const listen = async (address: string): Promise<void> => {
    const at = parseListen(address);
    // Removes the socket that a killed predecessor left; this process has claimed the instance's name before.
    if ('path' in at) rmSync(at.path, { force: true });
    else own = at;
    try {
      await app.listen(at);
    } catch (error) {
      throw new FirstackError('FSA_CONFIG_VALUE', `admin: ${address}: ${(error as Error).message}`);
    }
  };
  return { app, admin: { listen, close: () => app.close() } };
}

/** @throws FirstackError FSA_CONFIG_VALUE */
export function parseListen(address: string): { path: string } | { host: string; port: number } {
  if (address.startsWith('unix:') && address.length > 5) return { path: address.slice(5) };
  const match = /^(.+):(\d{1,5})$/.exec(address);
  if (match === null || Number(match[2]) > 65535)
    throw new FirstackError('FSA_CONFIG_VALUE', `admin: '${address}' is neither HOST:PORT nor unix:PATH`);
  return { host: match[1].replace(/^\[(.*)\]$/, '$1'), port: Number(match[2]) };
}

/** Adds the program's name to each sample's labels. */
function labelled<M extends Metric>(m: M, program: string): M {
  return { ...m, samples: m.samples.map((s) => ({ ...s, labels: { program, ...s.labels } })) };
}

/** A counter's name has two parts: verdict and reason. */
function metrics(source: AdminSource): Promise<string> {
  const { programs } = source;
  const packets = programs.flatMap((p) =>
    Object.entries(p.counters()).map(([name, value]) => {
      const dot = name.indexOf('.');
      const labels = { program: p.name, verdict: name.slice(0, dot), reason: name.slice(dot + 1) };
      return { labels, value };
    }),
  );
  const carried = programs.flatMap((p) =>
    Object.entries(p.carried() ?? {}).map(([what, value]) => ({ program: p.name, what, value })),
  );
  const offsetMs = source.clockOffsetMs();
  return exposition([
    {
      name: 'firstack_packets_total',
      help: 'Packets by program, verdict and reason.',
      type: 'counter',
      samples: packets,
    },
    {
      name: 'firstack_fastpath_flows',
      help: 'Flows that the kernel carries.',
      type: 'gauge',
      samples: carried
        .filter((c) => c.what === 'flows')
        .map(({ program, value }) => ({ labels: { program }, value })),
    },
    {
      name: 'firstack_fastpath_total',
      help: 'What the kernel carried, out from clients and in to them, and left to the stack.',
      type: 'counter',
      samples: carried
        .filter((c) => c.what !== 'flows')
        .map(({ program, what, value }) => ({ labels: { program, what }, value })),
    },
    ...programs.flatMap((p) => p.metrics().map((m) => labelled(m, p.name))),
    {
      name: 'firstack_clock_offset_seconds',
      help: "This host's wall clock less the registry's.",
      type: 'gauge',
      samples: offsetMs === undefined ? [] : [{ labels: {}, value: offsetMs / 1000 }],
    },
    {
      name: 'firstack_ready',
      help: 'Whether the role is ready and sees its registry.',
      type: 'gauge',
      samples: [{ labels: {}, value: source.ready().ready ? 1 : 0 }],
    },
    ...source.metrics(),
  ]);
}
