/** What all role files have in common, and how flags and environment stand over it. */
import type { Schema } from './config.js';
import { FASTPATHS, type Fastpath } from './fastpath/modes.js';
import type { TlsFiles } from './registry/connect.js';
import { CONFIGURATIONS } from './registry/records.js';

/** What the command line gave; undefined where it gave nothing. */
export interface RoleFlags {
  configFile: string;
  configuration?: string;
  registry?: string;
  race?: string;
  release?: string;
  fastpath?: string;
  check?: boolean;
  unpin?: boolean;
}

/** The part of a role file that all roles share. */
export interface CommonConfig {
  instance: string;
  configuration?: 'A' | 'B' | 'C';
  lan: string[];
  wan: string[];
  tun: { name: string; mtu?: number; queueLength: number; pcapFile?: string };
  registry: string;
  registryTls?: TlsFiles;
  tag: { keyFile: string };
  admin: { listen: string };
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  fastpath: { mode: Fastpath; pinAfterPackets: number };
  steering: {
    mark: number;
    tunnelMark: number;
    pinnedMark: number;
    mask: number;
    table: number;
    tunnelTable: number;
    priority: number;
  };
  log: string;
}

/** Where the defaults for encapsulated traffic stand beside a role's own. */
const TUNNEL_BIT = 0x04000000;
const PINNED_BIT = 0x08000000;
const TUNNEL_TABLES = 1000;

const seconds = (n: number): number => n * 1000;
const timeout = (fallback: number): Schema => ({ type: 'integer', minimum: 100, default: fallback });
const interfaceName: Schema = { type: 'string', pattern: '^[^\\s/]{1,15}$' };

/** The schema of {@link CommonConfig}, to be extended by each role. */
export function commonProperties(defaults: {
  tun: string;
  admin: number;
  mark: number;
  table: number;
  priority: number;
}): Record<string, Schema> {
  const group = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
    type: 'object',
    additionalProperties: false,
    default: {},
    properties,
    required,
  });
  const word: Schema = { type: 'integer', minimum: 1, maximum: 0xffffffff };
  return {
    instance: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' },
    configuration: { enum: [...CONFIGURATIONS] },
    lan: { type: 'array', items: interfaceName, minItems: 1 },
    wan: { type: 'array', items: interfaceName, minItems: 1 },
    tun: group({
      name: { ...interfaceName, default: defaults.tun },
      mtu: { type: 'integer', minimum: 576, maximum: 65535 },
      queueLength: { type: 'integer', minimum: 64, maximum: 1_000_000, default: 4096 },
      pcapFile: { type: 'string', minLength: 1 },
    }),
    registry: { type: 'string' },
    registryTls: {
      type: 'object',
      additionalProperties: false,
      properties: { caFile: { type: 'string' }, certFile: { type: 'string' }, keyFile: { type: 'string' } },
      dependencies: { certFile: ['keyFile'], keyFile: ['certFile'] },
    },
    tag: group({ keyFile: { type: 'string' } }, ['keyFile']),
    admin: group({ listen: { type: 'string', default: `127.0.0.1:${defaults.admin}` } }),
    flows: group({
      max: { type: 'integer', minimum: 16, maximum: 8_388_608, default: 262_144 },
      openingTimeoutMs: timeout(seconds(240)),
      establishedTimeoutMs: timeout(seconds(7440)),
      closingTimeoutMs: timeout(seconds(240)),
    }),
    fastpath: group({
      mode: { enum: [...FASTPATHS], default: 'auto' },
      pinAfterPackets: { type: 'integer', minimum: 0, maximum: 65535, default: 0 },
    }),
    steering: group({
      mark: { ...word, default: defaults.mark },
      tunnelMark: { ...word, default: defaults.mark | TUNNEL_BIT },
      pinnedMark: { ...word, default: defaults.mark | PINNED_BIT },
      mask: { ...word, default: 0x0f000000 },
      table: { ...word, default: defaults.table },
      tunnelTable: { ...word, default: defaults.table + TUNNEL_TABLES },
      priority: { type: 'integer', minimum: 1, maximum: 32765, default: defaults.priority },
    }),
    log: { enum: ['trace', 'debug', 'info', 'warn', 'error', 'fatal'], default: 'info' },
  };
}

/** Flags, then environment, over the file: the overrides for `readYaml`. */
export function overrides(flags: RoleFlags): Record<string, unknown> {
  const env = process.env;
  const listen = env.FIRSTACK_ADMIN_LISTEN;
  const fastpath = flags.fastpath ?? env.FIRSTACK_FASTPATH;
  return {
    instance: env.FIRSTACK_INSTANCE,
    configuration: flags.configuration ?? env.FIRSTACK_CONFIGURATION,
    registry: flags.registry ?? env.FIRSTACK_REGISTRY,
    log: env.FIRSTACK_LOG,
    ...(listen === undefined ? {} : { admin: { listen } }),
    ...(fastpath === undefined ? {} : { fastpath: { mode: fastpath } }),
  };
}
