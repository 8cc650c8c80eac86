/**
 * What the race's roles state in the registry: the race's part of a service, and the records of replicas, gateways and
 * origins. Records that come from Redis are checked against these schemas; one that does not fit is left out, and said.
 */
import type { Schema } from '../config.js';
import type { Problem } from '../errors.js';
import {
  ipv4Schema,
  nameSchema,
  portSchema,
  type RecordKind,
  recordSchema,
  type View,
} from '../registry/kinds.js';
import { type ServicePart, type ServiceRecord, serviceKind } from '../registry/service.js';

export const CONFIGURATIONS = ['A', 'B', 'C'] as const;
/** A: translate both ways. B: replicas spoof the origin. C: tunnel. */
export type Configuration = (typeof CONFIGURATIONS)[number];

/** One of several servers behind an origin. */
export interface OriginServer {
  /** Of an adjacent server: its own address on the origin's LAN. */
  address?: string;
  /** Of a remote one: the id of the replica role that it runs. */
  replica?: string;
  /** Relative; 0 takes no new connections. */
  weight: number;
}

/** The race's part of a service record. */
export interface RacePart {
  configuration: Configuration;
  /** Whether replicas may carry it. */
  replicable: boolean;
  /** Cap of Dmax, the time that a synchronized release may hold a SYN. */
  raceWindowMs: number;
  /** Where the origin stands before several; else the network leads to the one there is. */
  servers?: OriginServer[];
}

/** A service that is raced: its record and the race's part as one. */
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
  services: ReplicaService[];
  state: ReplicaState;
  /** Why it is not up; '' when it is. */
  reason: string;
  connections: number;
  /** Share of its most limited resource in use, 0 … 1. */
  load: number;
  /** Connections that it takes at most; absent where its file does not say. */
  capacity?: number;
  /** Whether its clock is known to be synchronized: then an origin measures one way. */
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
  /** d(O,R) in ms by replica id, one way; from RTT/2 unless clocks are synchronized. */
  distancesMs: Record<string, number>;
}

export const racePart: ServicePart = {
  properties: {
    configuration: { enum: [...CONFIGURATIONS] },
    replicable: { type: 'boolean', default: true },
    raceWindowMs: { type: 'number', minimum: 0, maximum: 2000, default: 500 },
    servers: {
      type: 'array',
      items: {
        type: 'object',
        additionalProperties: false,
        properties: {
          address: ipv4Schema,
          replica: nameSchema,
          weight: { type: 'number', minimum: 0, maximum: 1000, default: 1 },
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
    services: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        additionalProperties: false,
        properties: { name: nameSchema, port: portSchema },
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
    prefixes: { type: 'array', minItems: 1, items: { type: 'string', format: 'ipv4-cidr' } },
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

/** A smaller change of load is no news for others. */
export const LOAD_STEP = 0.1;

export const replicaKind: RecordKind<ReplicaRecord> = {
  name: 'replica',
  inFile: 'replicas',
  isUrgent: true,
  isForgottenAtOnce: true,
  reader: 'seldom',
  laterMs: 2000,
  schemaOf: () => replicaSchema,
  idOf: (r) => r.id,
  newsOf: (told, now) => {
    const decisive = ({ v, id, address, services, state, clock }: ReplicaRecord): string =>
      JSON.stringify([v, id, address, services, state, clock]);
    if (decisive(told) !== decisive(now)) return 'now';
    // A hair less than the step: 0.4 − 0.3 is 0.1 to a person only.
    return Math.abs(now.load - told.load) > LOAD_STEP - 1e-9 ? 'later' : 'none';
  },
};

export const gatewayKind: RecordKind<GatewayRecord> = {
  name: 'gateway',
  inFile: 'gateways',
  reader: 'often',
  schemaOf: () => gatewaySchema,
  idOf: (g) => String(g.id),
};

export const originKind: RecordKind<OriginRecord> = {
  name: 'origin',
  isForgottenAtOnce: true,
  reader: 'often',
  schemaOf: () => originSchema,
  idOf: (o) => o.id,
  newsOf: (told, now) => {
    // Distances are the origin's own business; they stand there for a person to read.
    const decisive = (o: OriginRecord): string => JSON.stringify({ ...o, distancesMs: undefined });
    return decisive(told) === decisive(now) ? 'none' : 'now';
  },
};

/** The kinds of every role of the race, beside the service. */
export const raceKinds: readonly RecordKind[] = [replicaKind, gatewayKind, originKind] as RecordKind[];

/** A race's service as its record. */
export function serviceRecordOf({ name, address, ports, ...race }: RaceService): ServiceRecord {
  return { v: 2, name, address, ports, protocol: 'tcp', program: 'race', race };
}

/** A view is replaced, never changed: what was gathered from it holds as long as it does. */
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

/** Names of all that the registry knows of the race, for `/v1/status`. */
export function namesIn(view: View): Record<string, (string | number)[]> {
  const replicas = view.of(replicaKind);
  return {
    services: raceServices(view).map((s) => s.name),
    replicas: replicas.map((r) => r.id),
    replicasUp: replicas.filter((r) => r.state === 'up').map((r) => r.id),
    gateways: view.of(gatewayKind).map((g) => g.id),
  };
}

/** What a role of the race goes by, for `systemctl status`. */
export function summaryOf(view: View): string {
  const { services, replicas, replicasUp } = namesIn(view);
  return `services ${services.length}, replicas up ${replicasUp.length} of ${replicas.length}`;
}

/** Two services of one fleet may differ; what this role was told to be must not. @param names undefined for all */
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

type Claimant = Pick<ReplicaRecord, 'id' | 'address' | 'services'>;

/** Endpoints with the service for which a replica claims them. */
function claimsOf(services: ReadonlyMap<string, RaceService>, r: Claimant): [string, string][] {
  return r.services.flatMap((s) => {
    const service = services.get(s.name);
    if (service === undefined || service.configuration === 'C') return [];
    return service.ports.map((p): [string, string] => [`${r.address}:${replicaPort(s, p)}`, s.name]);
  });
}

interface Claims {
  services: Map<string, RaceService>;
  /** By endpoint: which replicas claim it, for which service. */
  owners: Map<string, { id: string; service: string }[]>;
}

const gathered = new WeakMap<View, Claims>();

function claimsIn(view: View): Claims {
  let claims = gathered.get(view);
  if (claims === undefined) {
    claims = { services: new Map(raceServices(view).map((s) => [s.name, s])), owners: new Map() };
    for (const r of view.of(replicaKind))
      for (const [endpoint, service] of claimsOf(claims.services, r)) {
        const owners = claims.owners.get(endpoint);
        if (owners === undefined) claims.owners.set(endpoint, [{ id: r.id, service }]);
        else owners.push({ id: r.id, service });
      }
    gathered.set(view, claims);
  }
  return claims;
}

/**
 * Under A and B a replica's (address, port) belongs to exactly one service, since translation folds
 * C→S1 and C→S2 into one tuple. The view must not be changed after it was given here.
 * @returns what stands against adding `replica`, or undefined
 */
export function endpointConflict(view: View, replica: Claimant): string | undefined {
  const { services, owners } = claimsIn(view);
  const own = new Map<string, string>();
  for (const [endpoint, service] of claimsOf(services, replica)) {
    const other = owners.get(endpoint)?.findLast((o) => o.id !== replica.id);
    const taken = own.get(endpoint) ?? (other && `${other.service} (replica ${other.id})`);
    if (taken !== undefined) return `${endpoint} for service ${service} is already taken by ${taken}`;
    own.set(endpoint, service);
  }
  return undefined;
}
