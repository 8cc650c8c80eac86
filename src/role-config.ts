/** Keys that all role files have in common: the keys of every role, and those of every program with a data half. */
import type { AdminConfig } from './admin/guard.js';
import { AUTO, PORTS, SOCKETS } from './admin/place.js';
import type { Locate, Schema } from './config.js';
import type { Faults } from './device/fault.js';
import type { Problem } from './errors.js';
import { explained } from './explained.js';
import { FASTPATHS, type Fastpath } from './fastpath/modes.js';
import type { TlsFiles } from './registry/connect.js';
import type { Allocation, RoleName } from './steer/marks.js';

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
  identityFile?: string;
  unsignedRecords: 'refuse' | 'accept';
  admin: AdminConfig;
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

const group = (description: string, properties: Record<string, Schema>): Schema => ({
  type: 'object',
  description,
  additionalProperties: false,
  default: {},
  properties,
});

/** The keys of {@link RoleConfig}. */
export function roleProperties(role: RoleName): Record<string, Schema> {
  return {
    instance: explained(
      { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' },
      'Name of this role on its host: its tables, its files under /run/firstack, its lines in the journal.',
      'one',
    ),
    lan: explained(interfaceNames, 'Interfaces towards the clients, or the servers.', ['lan0']),
    wan: explained(interfaceNames, 'Interfaces towards the other roles.', ['wan0']),
    registry: explained(
      { type: 'string' },
      'Where the roles find each other: redis://, rediss:// (TLS), redis+unix:///PATH, redis+sentinel://HOST:PORT,…/MASTER, or file:PATH.',
      'redis://USER:PASSWORD@192.0.2.53:6379',
    ),
    registryTls: {
      type: 'object',
      description: 'Files for rediss://, in PEM.',
      additionalProperties: false,
      properties: {
        caFile: explained(
          { type: 'string' },
          "The authority that signed the server's certificate.",
          '/etc/firstack/ca.pem',
        ),
        certFile: explained({ type: 'string' }, "This role's own certificate.", '/etc/firstack/role.pem'),
        keyFile: explained({ type: 'string' }, 'Its key.', '/etc/firstack/role-key.pem'),
      },
      dependencies: { certFile: ['keyFile'], keyFile: ['certFile'] },
    },
    identityFile: explained(
      { type: 'string' },
      "This machine's identity (firstack fleet issue). With it, only records of machines that the fleet's key knows count.",
      '/etc/firstack/identity.yaml',
    ),
    unsignedRecords: explained(
      { enum: ['refuse', 'accept'], default: 'refuse' },
      'With identityFile: accept leaves no record out, and says which would be; for a fleet that is being given identities.',
    ),
    admin: group('The admin API.', {
      listen: explained(
        { type: 'string', default: AUTO },
        `HOST:PORT, or unix:PATH. auto: a Unix socket, ${SOCKETS}/${role}-INSTANCE.sock, for root and the service's user; with a token or TLS 127.0.0.1:${PORTS[role]}. From another host health and metrics alone are answered, unless there are a token and TLS.`,
      ),
      metrics: explained(
        { type: 'string', default: AUTO },
        `HOST:PORT on which health and metrics alone are answered. auto: 127.0.0.1:${PORTS[role]} where listen is auto, else none; off: none.`,
      ),
      tokenFile: explained(
        { type: 'string' },
        'A file with a token that requests must show, mode 0600 (openssl rand -hex 32).',
        '/etc/firstack/admin.token',
      ),
      tls: {
        type: 'object',
        description: 'The certificate that the admin API shows, in PEM.',
        additionalProperties: false,
        required: ['certFile', 'keyFile'],
        properties: {
          certFile: explained({ type: 'string' }, 'The certificate.', '/etc/firstack/admin.pem'),
          keyFile: explained({ type: 'string' }, 'Its key.', '/etc/firstack/admin-key.pem'),
        },
      },
    }),
    log: explained(
      { enum: ['trace', 'debug', 'info', 'warn', 'error', 'fatal'], default: 'info' },
      'The least important lines that are logged.',
    ),
  };
}

/** The keys that every program with a data half has: for its TUN, its flows, its marks. */
export function programProperties(a: Allocation): Record<string, Schema> {
  const word: Schema = { type: 'integer', minimum: 1, maximum: 0xffffffff };
  const share: Schema = { type: 'number', minimum: 0, maximum: 1 };
  return {
    tun: group('The TUN interface through which packets reach this process.', {
      name: explained({ ...interfaceName, default: a.tun }, 'Its name.'),
      mtu: explained(
        { type: 'integer', minimum: 576, maximum: 65535 },
        "Its MTU; without this key, that of the host's interfaces.",
        1500,
      ),
      queueLength: explained(
        { type: 'integer', minimum: 64, maximum: 1_000_000, default: 4096 },
        'Packets that may wait for this process.',
      ),
      pcapFile: explained(
        { type: 'string', minLength: 1 },
        'Captures what is read and written, for debugging: it grows without bound.',
        '/var/tmp/role.pcap',
      ),
      fault: {
        type: 'object',
        description: 'For laboratories: damages packets that are read, at random from a seed.',
        additionalProperties: false,
        required: ['seed'],
        properties: {
          seed: explained({ type: 'integer' }, 'The same seed damages the same packets.', 1),
          drop: explained(share, 'The share of packets that are dropped,', 0.01),
          duplicate: explained(share, 'that come twice,', 0.01),
          reorder: explained(share, 'that come after their successor,', 0.01),
          corrupt: explained(share, 'of which a byte is changed.', 0.01),
        },
      },
    }),
    flows: group('Flows that this process carries.', {
      max: explained(
        { type: 'integer', minimum: 16, maximum: 8_388_608, default: 262_144 },
        'How many at once: memory for all of them is taken at the start.',
      ),
      openingTimeoutMs: explained(
        timeout(seconds(240)),
        'A flow without a packet is forgotten: while it opens,',
      ),
      establishedTimeoutMs: explained(
        timeout(seconds(7440)),
        'when it is open (RFC 5382 asks for two hours and four minutes),',
      ),
      closingTimeoutMs: explained(timeout(seconds(240)), 'and when it has ended.'),
    }),
    fastpath: group("Flows are left to the kernel's hooks where they can be.", {
      mode: explained(
        { enum: [...FASTPATHS], default: 'auto' },
        "auto takes the fastest that the host's other rules allow: on (before the stack), stack (through it), off.",
      ),
      pinAfterPackets: explained(
        { type: 'integer', minimum: 0, maximum: 65535, default: 0 },
        'Packets of a flow that this process carries first.',
      ),
    }),
    steering: group('Numbers in which this program must not collide with others on the host.', {
      mark: explained({ ...word, default: a.mark }, 'The firewall mark of packets for the TUN,'),
      tunnelMark: explained({ ...word, default: a.tunnelMark }, 'of packets that come out of a tunnel,'),
      pinnedMark: explained({ ...word, default: a.pinnedMark }, 'and of packets of flows in the kernel.'),
      mask: explained(
        { ...word, default: a.mask },
        'The bits that these marks use; other bits stay as they are.',
      ),
      table: explained({ ...word, default: a.table }, 'The routing table that leads to the TUN,'),
      tunnelTable: explained(
        { ...word, default: a.tunnelTable },
        'and the one for what comes out of a tunnel.',
      ),
      priority: explained(
        { type: 'integer', minimum: 1, maximum: 32765, default: a.priority },
        'The preference of the two rules that lead to them.',
      ),
    }),
  };
}
