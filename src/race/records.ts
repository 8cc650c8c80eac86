/**
 * What the race's roles publish in the registry: the race's part of a service, and the records of replicas, gateways
 * and origins. Records from Redis are checked against these schemas; a record that does not match is left out, with a
 * log line.
 */
import type { Schema } from '../config.js';
import type { Problem } from '../errors.js';
import { explained } from '../explained.js';
import {
  ipv4Schema,
  ipv6Schema,
  nameSchema,
  portSchema,
  type RecordKind,
  recordSchema,
  type View,
} from '../registry/kinds.js';
import { type ServicePart, type ServiceRecord, serviceKind } from '../registry/service.js';
import { coversAddresses, coversHolder, coversNames } from '../trust/scope.js';
import { isV6Text } from '../wire/address.js';

export const CONFIGURATIONS = ['A', 'B', 'C'] as const;
/** A: the gateway translates in both directions. B: replicas spoof the origin. C: tunnel. */
export type Configuration = (typeof CONFIGURATIONS)[number];

/** One of several servers behind an origin. */
export interface OriginServer {
  /** For an adjacent server: its own address on the origin's LAN. */
  address?: string;
  /** For a remote server: the id of the replica role that runs on it. */
  replica?: string;
  /** Relative; a server with weight 0 takes no new connections. */
  weight: number;
}

/** The race's part of a service record. */
export interface RacePart {
  configuration: Configuration;
  /** Whether replicas may carry the service. */
  replicable: boolean;
  /** Cap of Dmax, the time that a synchronized release may hold a SYN. */
  raceWindowMs: number;
  /** The servers, where the origin stands before several; else the network leads to the only one. */
  servers?: OriginServer[];
}

/** A service that is raced: its service record and the race's part as one object. */
export interface RaceService extends RacePart {
  name: string;
  address: string;
  ports: number[];
}

/** up: takes flows. busy: over a limit. draining: keeps its flows. inactive: takes no part in races. */
export type ReplicaState = 'up' | 'busy' | 'draining' | 'inactive';

export interface ReplicaService {
  name: string;
  /** The port that the web server listens on, when it is not the service's own. */
  port?: number;
}

export interface ReplicaRecord {
  v: 1;
  id: string;
  /** The replica's address R. */
  address: string;
  /** Its IPv6 address, for IPv6 services. Readers of an earlier version leave a record with it out. */
  address6?: string;
  services: ReplicaService[];
  state: ReplicaState;
  /** Why the replica is not up; '' when it is. */
  reason: string;
  connections: number;
  /** Share of its most limited resource in use, 0 … 1. */
  load: number;
  /** The most connections that the replica takes; absent where its file does not say. */
  capacity?: number;
  /** Whether the replica's clock is known to be synchronized: then an origin measures one-way distances. */
  clock: 'free' | 'synchronized';
}

export interface GatewayRecord {
  v: 1;
  id: number;
  /** Client prefixes that this gateway may tag for. */
  prefixes: string[];
}

export interface OriginRecord {
  v: 1;
  id: string;
  address: string;
  services: string[];
  release: 'immediate' | 'synchronized';
  /** d(O,R) in ms by replica id, one way; half a round trip unless clocks are synchronized. */
  distancesMs: Record<string, number>;
}

export const racePart: ServicePart = {
  properties: {
    configuration: explained(
      { enum: [...CONFIGURATIONS] },
      'How its replicas are reached: A translates addresses, B spoofs the origin, C tunnels.',
      'A',
    ),
    replicable: explained({ type: 'boolean', default: true }, 'Whether replicas may carry its connections.'),
    raceWindowMs: explained(
      { type: 'number', minimum: 0, maximum: 2000, default: 500 },
      'Dmax: how long the origin waits for replicas to answer before it serves by itself.',
    ),
    servers: {
      type: 'array',
      description:
        'Several servers; without them the network leads to the only one. Each is adjacent or a replica.',
      items: {
        type: 'object',
        additionalProperties: false,
        properties: {
          address: explained(ipv4Schema, 'Of an adjacent server,', '198.51.100.20'),
          replica: explained(nameSchema, 'or the id of a replica.', 'r1'),
          weight: explained(
            { type: 'number', minimum: 0, maximum: 1000, default: 1 },
            'Its share of new connections, against the others; 0: none.',
          ),
        },
      },
    },
  },
  required: ['configuration'],
};

export const replicaSchema: Schema = recordSchema(
  1,
  {
    id: nameSchema,
    address: ipv4Schema,
    address6: ipv6Schema,
    services: {
      type: 'array',
      description: 'The services of which this machine is a replica.',
      minItems: 1,
      items: {
        type: 'object',
        additionalProperties: false,
        properties: {
          name: explained(nameSchema, "The service's name in its origin's file.", 'web'),
          port: explained(
            portSchema,
            "The web server's port on this host; by default the service's own.",
            8080,
          ),
        },
        required: ['name'],
      },
    },
    state: { enum: ['up', 'busy', 'draining', 'inactive'], default: 'up' },
    reason: { type: 'string', default: '' },
    connections: { type: 'number', minimum: 0, default: 0 },
    load: { type: 'number', minimum: 0, default: 0 },
    capacity: { type: 'number', minimum: 1 },
    clock: { enum: ['free', 'synchronized'], default: 'free' },
  },
  ['id', 'address', 'services'],
);

const gatewaySchema: Schema = recordSchema(
  1,
  {
    id: { type: 'integer', minimum: 0, maximum: 65535 },
    prefixes: { type: 'array', minItems: 1, items: { type: 'string', format: 'cidr' } },
  },
  ['id', 'prefixes'],
);

const originSchema: Schema = recordSchema(
  1,
  {
    id: nameSchema,
    address: ipv4Schema,
    services: { type: 'array', items: nameSchema },
    release: { enum: ['immediate', 'synchronized'] },
    distancesMs: { type: 'object', additionalProperties: { type: 'number', minimum: 0 } },
  },
  ['id', 'address', 'services', 'release', 'distancesMs'],
);

/** A change of load below this step is not published. */
export const LOAD_STEP = 0.1;

export const replicaKind: RecordKind<ReplicaRecord> = {
  name: 'replica',
  isIdentity: true,
  inFile: 'replicas',
  isUrgent: true,
  isForgottenAtOnce: true,
  reader: 'seldom',
  laterMs: 2000,
  schemaOf: () => replicaSchema,
  idOf: (r) => r.id,
  authority: (r, by) =>
    coversHolder(by, 'replica', r.id) ||
    coversAddresses(by, 'addresses', [r.address, r.address6]) ||
    coversNames(
      by,
      'services',
      r.services.map((s) => s.name),
    ),
  newsOf: (told, now) => {
    const decisive = ({ v, id, address, services, state, clock }: ReplicaRecord): string =>
      JSON.stringify([v, id, address, services, state, clock]);
    if (decisive(told) !== decisive(now)) return 'now';
    // Slightly less than the step, because in floating point 0.4 − 0.3 is not exactly 0.1.
    return Math.abs(now.load - told.load) > LOAD_STEP - 1e-9 ? 'later' : 'none';
  },
};

export const gatewayKind: RecordKind<GatewayRecord> = {
  name: 'gateway',
  isIdentity: true,
  inFile: 'gateways',
  reader: 'often',
  schemaOf: () => gatewaySchema,
  idOf: (g) => String(g.id),
  authority: (g, by) => coversHolder(by, 'gateway', g.id) || coversAddresses(by, 'prefixes', g.prefixes),
};

export const originKind: RecordKind<OriginRecord> = {
  name: 'origin',
  isIdentity: true,
  isForgottenAtOnce: true,
  reader: 'often',
  schemaOf: () => originSchema,
  idOf: (o) => o.id,
  authority: (o, by) =>
    coversHolder(by, 'origin', o.id) ||
    coversAddresses(by, 'addresses', [o.address]) ||
    coversNames(by, 'services', o.services),
  newsOf: (told, now) => {
    // Only the origin itself uses its distances; they are published for operators to read.
    const decisive = (o: OriginRecord): string => JSON.stringify({ ...o, distancesMs: undefined });
    return decisive(told) === decisive(now) ? 'none' : 'now';
  },
};

/** The record kinds of all of the race's roles, beside the service. */
export const raceKinds: readonly RecordKind[] = [replicaKind, gatewayKind, originKind] as RecordKind[];

/** The record of a service that is raced. */
export function serviceRecordOf({ name, address, ports, ...race }: RaceService): ServiceRecord {
  return { v: 2, name, address, ports, protocol: 'tcp', program: 'race', race };
}

/** A view is replaced, never changed, so a result computed from a view is valid as long as the view. */
const raced = new WeakMap<View, readonly RaceService[]>();

/** The services that are raced. */
export function raceServices(view: View): readonly RaceService[] {
  let services = raced.get(view);
  if (services === undefined) {
    services = view
      .of(serviceKind)
      .filter((s) => s.program === 'race')
      .map(({ name, address, ports, race }) => ({ name, address, ports, ...(race as RacePart) }));
    raced.set(view, services);
  }
  return services;
}

/** Names of all race records in the registry, for `/v1/status`. */
export function namesIn(view: View): Record<string, (string | number)[]> {
  const replicas = view.of(replicaKind);
  return {
    services: raceServices(view).map((s) => s.name),
    replicas: replicas.map((r) => r.id),
    replicasUp: replicas.filter((r) => r.state === 'up').map((r) => r.id),
    gateways: view.of(gatewayKind).map((g) => g.id),
  };
}

/** The number of services and replicas, for `systemctl status`. */
export function summaryOf(view: View): string {
  const { services, replicas, replicasUp } = namesIn(view);
  return `services ${services.length}, replicas up ${replicasUp.length} of ${replicas.length}`;
}

/**
 * Services of one fleet may have different configurations, but a role that was started with a configuration must
 * match it.
 * @param names undefined for all services
 */
export function configurationMismatches(
  view: View,
  names: readonly string[] | undefined,
  told: string | undefined,
): Problem[] {
  if (told === undefined) return [];
  return raceServices(view)
    .filter((s) => (names === undefined || names.includes(s.name)) && s.configuration !== told)
    .map((s) => ({
      code: 'FSA_CONFIGURATION_MISMATCH',
      message: `service ${s.name} is published with configuration ${s.configuration}, this role was started with ${told}`,
    }));
}

/** The port on which a replica serves `port` of a service. */
export function replicaPort(service: ReplicaService, port: number): number {
  return service.port ?? port;
}

/** The address at which a replica carries a service: of the service's own family. */
export function addressFor(
  service: { address: string },
  r: Pick<ReplicaRecord, 'address' | 'address6'>,
): string | undefined {
  return isV6Text(service.address) ? r.address6 : r.address;
}
