/** The part of service-level routing in the replica's role file: a server at which tunnels end. */
import type { Locate, Schema } from '../../src/config.js';
import type { Problem } from '../../src/errors.js';
import { explained } from '../../src/explained.js';
import { type HealthConfig, healthProblem, healthSchema } from '../../src/health/health.js';
import { type ProgramConfig, programProperties } from '../../src/role-config.js';
import { type TlsFiles, tlsProperties } from '../../src/routing/session.js';
import { addressProblem, type VirtualSubnet, virtualSchema } from '../../src/routing/virtual.js';
import type { Allocation } from '../../src/steer/marks.js';
import type { ReplicaSite } from '../config.js';

export interface ServerConfig extends ProgramConfig, ReplicaSite {
  virtual: VirtualSubnet[];
  hello: TlsFiles & { uppers: string[] };
  health?: HealthConfig;
  limits: { connections: number; cpuPct: number };
  standby: boolean;
  weight: number;
  giveBack: boolean;
}

export function schema(allocation: Allocation): { properties: Record<string, Schema>; required: string[] } {
  return {
    properties: {
      ...programProperties(allocation),
      virtual: virtualSchema,
      hello: {
        type: 'object',
        description: 'Sessions with the routers above, by mutual TLS.',
        additionalProperties: false,
        required: ['caFile', 'certFile', 'keyFile', 'uppers'],
        properties: {
          ...tlsProperties,
          uppers: explained(
            {
              type: 'array',
              items: { type: 'string', pattern: '^[0-9.]+:[0-9]{1,5}$' },
              minItems: 1,
              maxItems: 16,
              uniqueItems: true,
            },
            'The routers of its site, to which this server says hello.',
            ['198.51.100.1:7417'],
          ),
        },
      },
      health: healthSchema,
      limits: {
        type: 'object',
        description: 'What counts as a load of 1.',
        additionalProperties: false,
        default: {},
        properties: {
          connections: explained(
            { type: 'integer', minimum: 1, default: 10_000 },
            "Connections at once to the virtual hosts' ports.",
          ),
          cpuPct: explained(
            { type: 'number', minimum: 1, maximum: 100, default: 100 },
            "Use of the host's processors.",
          ),
        },
      },
      weight: explained(
        { type: 'number', minimum: 0, maximum: 1000, default: 1 },
        'Its part of new connections, relative to other servers of equal load; read again on SIGHUP.',
      ),
      giveBack: explained(
        { type: 'boolean', default: true },
        'Whether packets of a connection that no socket of this host has go back to the router, which looks for its server; where the server is in a container, false.',
      ),
      standby: explained(
        { type: 'boolean', default: false },
        'Whether it gets new connections only while no other member is available.',
      ),
    },
    required: ['virtual', 'hello'],
  };
}

export function problems({ health, virtual, address6 }: ServerConfig, locate: Locate): Problem[] {
  const all = {
    health: health === undefined ? '' : healthProblem(health),
    virtual: addressProblem(virtual, address6),
  };
  return Object.entries(all).flatMap(([key, wrong]): Problem[] =>
    wrong === '' ? [] : [{ code: 'FSA_CONFIG_VALUE', message: `${locate([key])}: ${wrong}` }],
  );
}
