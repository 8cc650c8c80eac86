/** The race's part of the gateway's role file. */
import type { Schema } from '../../src/config.js';
import { explained, usual } from '../../src/explained.js';
import { CONFIGURATIONS, type Configuration } from '../../src/race/records.js';
import { RACES, type Race } from '../../src/race/release.js';
import { type ProgramConfig, programProperties, type RoleFlags } from '../../src/role-config.js';
import type { Allocation } from '../../src/steer/marks.js';
import type { GatewaySite } from '../config.js';
import type { Pace } from './ejections.js';

/**
 * `udp`: packets that the role on a replica answers; `syn`: a SYN to the service's port, for replicas without a role in
 * configuration A; `auto`: the first, where it is answered.
 */
export const PROBE_METHODS = ['auto', 'udp', 'syn', 'off'] as const;
export type ProbeMethod = (typeof PROBE_METHODS)[number];

export interface GatewayConfig extends ProgramConfig, GatewaySite {
  configuration?: Configuration;
  tag: { gatewayId: number; keyFile?: string };
  /** `openings`: with `--race learned` the kernel may open connections with a learned winner by itself. */
  fastpath: ProgramConfig['fastpath'] & { openings: boolean };
  race: Race;
  /** The most candidates that a race of this gateway asks. */
  raceWidth: number;
  /** How this gateway measures all replicas by itself. */
  probe: { perSecond: number; method: ProbeMethod };
  /** How soon and how rarely a machine that fails or serves slowly is tried again. */
  judge: Pace;
  /** Gateways of one site share what they learn. */
  site?: string;
}

export function schema(allocation: Allocation): { properties: Record<string, Schema>; required: string[] } {
  const common = programProperties(allocation);
  const fastpath = common.fastpath.properties as Record<string, Schema>;
  return {
    properties: {
      ...common,
      configuration: explained(
        { enum: [...CONFIGURATIONS] },
        'The configuration that services must have; without it, each has the one that its origin publishes.',
        'A',
      ),
      tag: {
        type: 'object',
        description: 'With which key this gateway signs the tags of SYNs.',
        additionalProperties: false,
        required: ['gatewayId'],
        properties: {
          gatewayId: explained(
            { type: 'integer', minimum: 0, maximum: 65535 },
            'The number for which the key was derived; no other gateway has it.',
            1,
          ),
          keyFile: usual(
            explained(
              { type: 'string' },
              'From `firstack keygen --from MASTER --gateway ID`. A gateway with an identityFile needs none once the whole fleet has identities.',
              '/etc/firstack/gateway.key',
            ),
          ),
        },
      },
      fastpath: {
        ...common.fastpath,
        properties: {
          ...fastpath,
          openings: explained(
            { type: 'boolean', default: true },
            'Whether the kernel opens connections to a learned winner by itself (race: learned).',
          ),
        },
      },
      race: explained(
        { enum: [...RACES], default: 'learned' },
        'Who starts a race: the origin (as published), this gateway, or this gateway with a learned winner first.',
      ),
      raceWidth: explained(
        { type: 'integer', minimum: 2, maximum: 32, default: 6 },
        'The most machines that a race of this gateway asks: the nearest, one further in turn, and the origin.',
      ),
      probe: {
        type: 'object',
        description: 'How this gateway measures all replicas by itself, before a connection needs one.',
        additionalProperties: false,
        default: {},
        properties: {
          perSecond: explained(
            { type: 'integer', minimum: 1, maximum: 10_000, default: 100 },
            'The most probes in a second, of all replicas together.',
          ),
          method: explained(
            { enum: [...PROBE_METHODS], default: 'auto' },
            'udp: probes that the role on a replica answers; syn: SYNs to its port, in configuration A; auto: what is answered; off: none.',
          ),
        },
      },
      judge: {
        type: 'object',
        description: 'When a machine that failed, or was slow, is tried again with one connection.',
        additionalProperties: false,
        default: {},
        properties: {
          trialMs: explained(
            { type: 'integer', minimum: 1000, maximum: 3_600_000, default: 30_000 },
            'At first after this time,',
          ),
          mostTrialMs: explained(
            { type: 'integer', minimum: 1000, maximum: 86_400_000, default: 300_000 },
            'then after twice the time before, up to this one.',
          ),
        },
      },
      site: explained(
        { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' },
        'Gateways of one site share what they learn.',
        'north',
      ),
    },
    required: ['tag'],
  };
}

export function overrides(flags: RoleFlags): Record<string, unknown> {
  const env = process.env;
  return {
    configuration: flags.configuration ?? env.FIRSTACK_CONFIGURATION,
    race: flags.race ?? env.FIRSTACK_RACE,
  };
}
