/** Keys that all role files have in common: the keys of every role, and those of every program with a data half. */
import type { Locate, Schema } from './config.js';
import type { Faults } from './device/fault.js';
import type { Problem } from './errors.js';
import { FASTPATHS, type Fastpath } from './fastpath/modes.js';
import type { TlsFiles } from './registry/connect.js';
import type { Allocation } from './steer/marks.js';

/** The flags of the command line; undefined for a flag that was not given. Programs add flags of their own. */
export interface RoleFlags {
  configFile: string;
  /** The program whose keys are in a file without `programs`. */
  program?: string;
  registry?: string;
  fastpath?: string;
  check?: boolean;
  unpin?: boolean;
  [flag: string]: unknown;
}

/** The part of a role file that belongs to the role, whatever its programs. */
export interface RoleConfig {
  instance: string;
  lan: string[];
  wan: string[];
  registry: string;
  registryTls?: TlsFiles;
  admin: { listen: string };
  log: string;
}

/** The configuration with which a program is created: the role's keys and its own. */
export interface ProgramConfig extends RoleConfig {
  tun: { name: string; mtu?: number; queueLength: number; pcapFile?: string; fault?: Faults };
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  fastpath: { mode: Fastpath; pinAfterPackets: number };
  steering: Omit<Allocation, 'tun'>;
}

/** A role's own part of the schema. */
export interface RoleSchema {
  properties: Record<string, Schema>;
  required: string[];
  /** Problems of the role's part beyond the schema. */
  // biome-ignore lint/suspicious/noExplicitAny: each role has a site of its own
  problems?(value: any, locate: Locate): Problem[];
}

const seconds = (n: number): number => n * 1000;
const timeout = (fallback: number): Schema => ({ type: 'integer', minimum: 100, default: fallback });
const interfaceName: Schema = { type: 'string', pattern: '^[^\\s/]{1,15}$' };
export const interfaceNames: Schema = { type: 'array', items: interfaceName, minItems: 1 };
export const noInterfaces: Schema = { ...interfaceNames, minItems: 0, default: [] };

const group = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: 'object',
  additionalProperties: false,
  default: {},
  properties,
  required,
});

/** The keys of {@link RoleConfig}. @param adminPort the default of `admin.listen` on loopback */
export function roleProperties(adminPort: number): Record<string, Schema> {
  return {
    instance: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' },
    lan: interfaceNames,
    wan: interfaceNames,
    registry: { type: 'string' },
    registryTls: {
      type: 'object',
      additionalProperties: false,
      properties: { caFile: { type: 'string' }, certFile: { type: 'string' }, keyFile: { type: 'string' } },
      dependencies: { certFile: ['keyFile'], keyFile: ['certFile'] },
    },
    admin: group({ listen: { type: 'string', default: `127.0.0.1:${adminPort}` } }),
    log: { enum: ['trace', 'debug', 'info', 'warn', 'error', 'fatal'], default: 'info' },
  };
}

/** The keys that every program with a data half has: for its TUN, its flows, its marks. */
export function programProperties(a: Allocation): Record<string, Schema> {
  const word: Schema = { type: 'integer', minimum: 1, maximum: 0xffffffff };
  const share: Schema = { type: 'number', minimum: 0, maximum: 1 };
  return {
    tun: group({
      name: { ...interfaceName, default: a.tun },
      mtu: { type: 'integer', minimum: 576, maximum: 65535 },
      queueLength: { type: 'integer', minimum: 64, maximum: 1_000_000, default: 4096 },
      pcapFile: { type: 'string', minLength: 1 },
      // For laboratories: damages packets that are read from the TUN, at random from a seed.
      fault: {
        type: 'object',
        additionalProperties: false,
        required: ['seed'],
        properties: {
          seed: { type: 'integer' },
          drop: share,
          duplicate: share,
          reorder: share,
          corrupt: share,
        },
      },
    }),
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
      mark: { ...word, default: a.mark },
      tunnelMark: { ...word, default: a.tunnelMark },
      pinnedMark: { ...word, default: a.pinnedMark },
      mask: { ...word, default: a.mask },
      table: { ...word, default: a.table },
      tunnelTable: { ...word, default: a.tunnelTable },
      priority: { type: 'integer', minimum: 1, maximum: 32765, default: a.priority },
    }),
  };
}
