/**
 * The admin API (fastify), on loopback or a Unix socket: liveness, readiness, metrics, status, races.
 * `listen` is HOST:PORT or unix:PATH.
 */
import { rmSync } from 'node:fs';
import { fastify } from 'fastify';
import { FirstackError } from '../errors.js';
import type { RaceRecord } from '../race/record.js';

export interface AdminSource {
  ready(): { ready: boolean; reasons: string[] };
  counters(): Record<string, number>;
  /** What the kernel carried; undefined where it carries nothing. */
  fastpath(): Record<string, number> | undefined;
  /** This host's wall clock less the registry's; undefined where that has none. */
  clockOffsetMs(): number | undefined;
  status(): Record<string, unknown>;
  races: ((count: number) => RaceRecord[]) | undefined;
  proximity: (() => unknown[]) | undefined;
  /** What an operator may ask of the role, by name: `POST /v1/NAME`, answered with the status. */
  actions: Record<string, () => void>;
}

export interface Admin {
  listen(address: string): Promise<void>;
  close(): Promise<void>;
}

const lastSchema = {
  querystring: {
    type: 'object',
    additionalProperties: false,
    properties: { last: { type: 'integer', minimum: 1, maximum: 4096, default: 1 } },
  },
} as const;

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
  app.get('/v1/status', async () => source.status());
  const races = source.races;
  if (races !== undefined)
    app.get<{ Querystring: { last: number } }>('/v1/races', { schema: lastSchema }, async (request) => ({
      races: races(request.query.last),
    }));
  const proximity = source.proximity;
  if (proximity !== undefined) app.get('/v1/proximity', async () => ({ proximity: proximity() }));
  for (const [name, act] of Object.entries(source.actions))
    app.post(`/v1/${name}`, async () => {
      act();
      return source.status();
    });
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

function metrics(source: AdminSource): string {
  const lines = [
    '# HELP firstack_packets_total Packets by verdict and reason.',
    '# TYPE firstack_packets_total counter',
  ];
  for (const [name, value] of Object.entries(source.counters())) {
    const dot = name.indexOf('.');
    lines.push(
      `firstack_packets_total{verdict="${name.slice(0, dot)}",reason="${name.slice(dot + 1)}"} ${value}`,
    );
  }
  const kernel = source.fastpath();
  if (kernel !== undefined) {
    lines.push(
      '# HELP firstack_fastpath_flows Flows that the kernel carries.',
      '# TYPE firstack_fastpath_flows gauge',
      `firstack_fastpath_flows ${kernel.flows}`,
      '# HELP firstack_fastpath_total What the kernel carried, out from clients and in to them, and left to the stack.',
      '# TYPE firstack_fastpath_total counter',
    );
    for (const [name, value] of Object.entries(kernel))
      if (name !== 'flows') lines.push(`firstack_fastpath_total{what="${name}"} ${value}`);
  }
  const offsetMs = source.clockOffsetMs();
  if (offsetMs !== undefined)
    lines.push(
      "# HELP firstack_clock_offset_seconds This host's wall clock less the registry's.",
      '# TYPE firstack_clock_offset_seconds gauge',
      `firstack_clock_offset_seconds ${offsetMs / 1000}`,
    );
  lines.push(
    '# HELP firstack_ready Whether the role is ready and sees its registry.',
    '# TYPE firstack_ready gauge',
    `firstack_ready ${source.ready().ready ? 1 : 0}`,
  );
  return `${lines.join('\n')}\n`;
}
