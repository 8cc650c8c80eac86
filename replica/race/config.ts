/** The replica's role file. */
import { type Parsed, readYaml, type Schema } from '../../src/config.js';
import { FirstackError, type Problem } from '../../src/errors.js';
import { type HealthConfig, healthProblem, healthSchema } from '../../src/health/health.js';
import { type ReplicaService, schemas } from '../../src/registry/records.js';
import { type CommonConfig, commonProperties, overrides, type RoleFlags } from '../../src/role-config.js';

export interface ReplicaConfig extends CommonConfig {
  id: string;
  /** R: where copies of SYNs come to. */
  address: string;
  services: ReplicaService[];
  health?: HealthConfig;
  /** `newPerSecond`: SYNs that are let in, evenly, with a second's worth at once; without it, all. */
  limits: { connections: number; cpuPct: number; newPerSecond?: number };
  /** A replica under load waits so long × its load (0 … 1) before it lets its kernel acknowledge. */
  loadPenaltyMs: number;
  /** Whether this host's clock is known to be synchronized (PTP, NTP with a bound). */
  clock: 'free' | 'synchronized';
}

const common = commonProperties({ tun: 'fsre0', admin: 7413, mark: 0x03000000, table: 7413, priority: 5 });
const record = schemas.replica.properties as Record<string, Schema>;

export const schema: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['instance', 'id', 'wan', 'registry', 'tag', 'address', 'services'],
  properties: {
    ...common,
    lan: { ...common.lan, minItems: 0, default: [] },
    steering: {
      ...common.steering,
      properties: {
        ...(common.steering.properties as Record<string, Schema>),
        // Before the local table's rule, which moves to preference 10.
        priority: { type: 'integer', minimum: 1, maximum: 9, default: 5 },
      },
    },
    id: record.id,
    address: record.address,
    services: record.services,
    health: healthSchema,
    loadPenaltyMs: { type: 'number', minimum: 0, maximum: 1000, default: 10 },
    clock: { enum: ['free', 'synchronized'], default: 'free' },
    limits: {
      type: 'object',
      additionalProperties: false,
      default: {},
      properties: {
        connections: { type: 'integer', minimum: 1, default: 100_000 },
        /** 100 switches the limit off: a machine is never busier than that. */
        cpuPct: { type: 'number', minimum: 1, maximum: 100, default: 95 },
        newPerSecond: { type: 'integer', minimum: 1, maximum: 10_000_000 },
      },
    },
  },
};

/** @throws FirstackError FSA_CONFIG_*: all problems of the file at once */
export function readReplicaConfig(flags: RoleFlags): ReplicaConfig {
  const parsed: Parsed<ReplicaConfig> = readYaml(flags.configFile, schema, overrides(flags));
  const { value, locate } = parsed;
  const problems: Problem[] = [];
  value.services.forEach((service, i) => {
    if (value.services.findIndex((s) => s.name === service.name) !== i)
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', i, 'name'])}: service ${service.name} is there twice`,
      });
  });
  const { health } = value;
  const wrong = health === undefined ? '' : healthProblem(health);
  if (wrong !== '') problems.push({ code: 'FSA_CONFIG_VALUE', message: `${locate(['health'])}: ${wrong}` });
  if (problems.length > 0) throw FirstackError.ofProblems(problems);
  return value;
}
