/** The race's part of the gateway's role file. */
import type { Schema } from '../../src/config.js';
import { CONFIGURATIONS, type Configuration } from '../../src/race/records.js';
import { RACES, type Race } from '../../src/race/release.js';
import { type ProgramConfig, programProperties, type RoleFlags } from '../../src/role-config.js';
import type { Allocation } from '../../src/steer/marks.js';
import type { GatewaySite } from '../config.js';
import type { Pace } from './ejections.js';

export interface GatewayConfig extends ProgramConfig, GatewaySite {
  configuration?: Configuration;
  tag: { gatewayId: number; keyFile: string };
  /** `openings`: with `--race learned` the kernel may open connections with a learned winner by itself. */
  fastpath: ProgramConfig['fastpath'] & { openings: boolean };
  race: Race;
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
      configuration: { enum: [...CONFIGURATIONS] },
      tag: {
        type: 'object',
        additionalProperties: false,
        required: ['gatewayId', 'keyFile'],
        properties: {
          gatewayId: { type: 'integer', minimum: 0, maximum: 65535 },
          keyFile: { type: 'string' },
        },
      },
      fastpath: {
        ...common.fastpath,
        properties: { ...fastpath, openings: { type: 'boolean', default: true } },
      },
      race: { enum: [...RACES], default: 'learned' },
      judge: {
        type: 'object',
        additionalProperties: false,
        default: {},
        properties: {
          trialMs: { type: 'integer', minimum: 1000, maximum: 3_600_000, default: 30_000 },
          mostTrialMs: { type: 'integer', minimum: 1000, maximum: 86_400_000, default: 300_000 },
        },
      },
      site: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' },
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
