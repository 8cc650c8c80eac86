/** The race's part of the replica's role file. */
import type { Locate, Schema } from '../../src/config.js';
import type { Problem } from '../../src/errors.js';
import { explained } from '../../src/explained.js';
import { type HealthConfig, healthProblem, healthSchema } from '../../src/health/health.js';
import { type ReplicaService, replicaSchema } from '../../src/race/records.js';
import { type CommonConfig, commonProperties, missingKey } from '../../src/race/role-file.js';
import { type ProgramConfig, programProperties, type RoleFlags } from '../../src/role-config.js';
import type { Allocation } from '../../src/steer/marks.js';
import type { ReplicaSite } from '../config.js';

export interface ReplicaConfig extends ProgramConfig, CommonConfig, ReplicaSite {
  services: ReplicaService[];
  health?: HealthConfig;
  /** `newPerSecond`: SYNs that are accepted per second, evenly, with a burst of one second's worth; without it, all. */
  limits: { connections: number; cpuPct: number; newPerSecond?: number };
  /** A replica under load delays its kernel's acknowledgement by this time × its load (0 … 1). */
  loadPenaltyMs: number;
}

export function schema(allocation: Allocation): { properties: Record<string, Schema>; required: string[] } {
  const common = programProperties(allocation);
  return {
    properties: {
      ...common,
      ...commonProperties,
      steering: {
        ...common.steering,
        properties: {
          ...(common.steering.properties as Record<string, Schema>),
          // The rule must stand before the local table's rule, which moves to preference 10.
          priority: explained(
            { type: 'integer', minimum: 1, maximum: 9, default: allocation.priority },
            'The preference of the two rules that lead to them, before the local table.',
          ),
        },
      },
      services: (replicaSchema.properties as Record<string, Schema>).services,
      health: healthSchema,
      loadPenaltyMs: explained(
        { type: 'number', minimum: 0, maximum: 1000, default: 10 },
        "A replica under load delays its kernel's acknowledgement by this time × its load (0 … 1).",
      ),
      limits: {
        type: 'object',
        description: 'Beyond a limit the replica says that it is busy, and is not raced.',
        additionalProperties: false,
        default: {},
        properties: {
          connections: explained({ type: 'integer', minimum: 1, default: 100_000 }, 'Connections at once.'),
          cpuPct: explained(
            { type: 'number', minimum: 1, maximum: 100, default: 95 },
            "Use of the host's processors; 100 switches this limit off.",
          ),
          newPerSecond: explained(
            { type: 'integer', minimum: 1, maximum: 10_000_000 },
            "New connections a second, evenly, with a burst of one second's worth; without this key, all.",
            500,
          ),
        },
      },
    },
    required: ['services'],
  };
}

export function overrides(flags: RoleFlags): Record<string, unknown> {
  return { configuration: flags.configuration ?? process.env.FIRSTACK_CONFIGURATION };
}

export function problems(value: ReplicaConfig, locate: Locate): Problem[] {
  const { services, health } = value;
  const keyless = missingKey(value, locate);
  const twice = services.flatMap(({ name }, i): Problem[] =>
    services.findIndex((s) => s.name === name) === i
      ? []
      : [
          {
            code: 'FSA_CONFIG_VALUE',
            message: `${locate(['services', i, 'name'])}: service ${name} is listed twice`,
          },
        ],
  );
  const wrong = health === undefined ? '' : healthProblem(health);
  if (wrong === '') return [...keyless, ...twice];
  return [...keyless, ...twice, { code: 'FSA_CONFIG_VALUE', message: `${locate(['health'])}: ${wrong}` }];
}
