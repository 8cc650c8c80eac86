/**
 * What the registry holds: services, replicas, gateways, origins, one record each. Records that come
 * from Redis are checked against these schemas; one that does not fit is left out, and said.
 */
import type { Schema } from '../config.js';

export const CONFIGURATIONS = ['A', 'B', 'C'] as const;
/** A: translate both ways. B: replicas spoof the origin. C: tunnel. */
export type Configuration = (typeof CONFIGURATIONS)[number];

/** What one gateway has learned, for the others of its site. */
export interface ProximityRecord {
  v: 1;
  /** The gateway's id. */
  id: number;
  site: string;
  /** From the site to each replica (or `origin`): round trip and its variation, in µs. */
  entries: { service: string; candidate: string; rttUs: number; variationUs: number }[];
}

/** One of several servers behind an origin. */
export interface OriginServer {
  /** Of an adjacent server: its own address on the origin's LAN. */
  address?: string;
  /** Of a remote one: the id of the replica role that it runs. */
  replica?: string;
  /** Relative; 0 takes no new connections. */
  weight: number;
}

/** Published by an origin. Has no TTL: flows outlive the role. */
export interface ServiceRecord {
  v: 1;
  name: string;
  /** The service address S ("VIP"). */
  address: string;
  ports: number[];
  configuration: Configuration;
  /** Whether replicas may carry it [310]. */
  replicable: boolean;
  /** Cap of Dmax, the time that a synchronized release may hold a SYN. */
  raceWindowMs: number;
  /** Where the origin stands before several; else the network leads to the one there is. */
  servers?: OriginServer[];
}

/** up: takes flows. busy: over a limit [406]. draining: keeps its flows. inactive: dead to the race [404]. */
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
  /** Connections that it takes at most; absent where nobody said. */
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

export interface View {
  services: ServiceRecord[];
  replicas: ReplicaRecord[];
  gateways: GatewayRecord[];
  /** Undefined where the registry does not tell (a file): then every origin counts as alive. */
  origins: OriginRecord[] | undefined;
  /** What the gateways of the fleet have learned; a file tells nothing. */
  proximities?: ProximityRecord[];
}

export type Kind = 'service' | 'replica' | 'gateway' | 'origin' | 'proximity';
export type Records = {
  service: ServiceRecord;
  replica: ReplicaRecord;
  gateway: GatewayRecord;
  origin: OriginRecord;
  proximity: ProximityRecord;
};

const name: Schema = { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' };
const port: Schema = { type: 'integer', minimum: 1, maximum: 65535 };
const v: Schema = { const: 1, default: 1 };
const ipv4: Schema = { type: 'string', format: 'ipv4' };

const record = (properties: Record<string, Schema>, required: string[]): Schema => ({
  type: 'object',
  additionalProperties: false,
  properties: { v, ...properties },
  required,
});

export const schemas: Record<Kind, Schema> = {
  service: record(
    {
      name,
      address: ipv4,
      ports: { type: 'array', items: port, minItems: 1, uniqueItems: true },
      configuration: { enum: [...CONFIGURATIONS] },
      replicable: { type: 'boolean', default: true },
      raceWindowMs: { type: 'number', minimum: 0, maximum: 2000, default: 500 },
      servers: {
        type: 'array',
        items: {
          type: 'object',
          additionalProperties: false,
          properties: {
            address: ipv4,
            replica: name,
            weight: { type: 'number', minimum: 0, maximum: 1000, default: 1 },
          },
        },
      },
    },
    ['name', 'address', 'ports', 'configuration'],
  ),
  replica: record(
    {
      id: name,
      address: ipv4,
      services: {
        type: 'array',
        minItems: 1,
        items: {
          type: 'object',
          additionalProperties: false,
          properties: { name, port },
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
  ),
  gateway: record(
    {
      id: { type: 'integer', minimum: 0, maximum: 65535 },
      prefixes: { type: 'array', minItems: 1, items: { type: 'string', format: 'ipv4-cidr' } },
    },
    ['id', 'prefixes'],
  ),
  origin: record(
    {
      id: name,
      address: ipv4,
      services: { type: 'array', items: name },
      release: { enum: ['immediate', 'synchronized'] },
      distancesMs: { type: 'object', additionalProperties: { type: 'number', minimum: 0 } },
    },
    ['id', 'address', 'services', 'release', 'distancesMs'],
  ),
  proximity: record(
    {
      id: { type: 'integer', minimum: 0, maximum: 65535 },
      site: name,
      entries: {
        type: 'array',
        maxItems: 4096,
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['service', 'candidate', 'rttUs', 'variationUs'],
          properties: {
            service: name,
            candidate: name,
            rttUs: { type: 'number', minimum: 0 },
            variationUs: { type: 'number', minimum: 0 },
          },
        },
      },
    },
    ['id', 'site', 'entries'],
  ),
};

/** Name of a record inside its kind. */
export function idOf(kind: Kind, value: Records[Kind]): string {
  return kind === 'service' ? (value as ServiceRecord).name : String((value as ReplicaRecord).id);
}

/** The file form of the registry. */
export const fileSchema: Schema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    services: { type: 'array', items: schemas.service, default: [] },
    replicas: { type: 'array', items: schemas.replica, default: [] },
    gateways: { type: 'array', items: schemas.gateway, default: [] },
  },
};

/** The port on which a replica serves `port` of a service. */
export function replicaPort(service: ReplicaService, port: number): number {
  return service.port ?? port;
}

type Claimant = Pick<ReplicaRecord, 'id' | 'address' | 'services'>;

/** Endpoints with the service for which a replica claims them. */
function claimsOf(services: ReadonlyMap<string, ServiceRecord>, r: Claimant): [string, string][] {
  return r.services.flatMap((s) => {
    const service = services.get(s.name);
    if (service === undefined || service.configuration === 'C') return [];
    return service.ports.map((p): [string, string] => [`${r.address}:${replicaPort(s, p)}`, s.name]);
  });
}

interface Claims {
  services: Map<string, ServiceRecord>;
  /** By endpoint: who claims it, for which service. */
  owners: Map<string, { id: string; service: string }[]>;
}

/** A view is replaced, never changed: what was gathered from it holds as long as it does. */
const gathered = new WeakMap<View, Claims>();

function claimsIn(view: View): Claims {
  let claims = gathered.get(view);
  if (claims === undefined) {
    claims = { services: new Map(view.services.map((s) => [s.name, s])), owners: new Map() };
    for (const r of view.replicas)
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
