/**
 * The topology file: the hosts, their distances, and the machine that should win a race there. `README.md` has the
 * schema with examples; addresses follow from a host's name.
 */
import { existsSync, readdirSync } from 'node:fs';
import { type Locate, readYaml, type Schema } from '../config.js';
import { FirstackError, type Problem } from '../errors.js';
import { CONFIGURATIONS, type Configuration } from '../race/records.js';
import type { Race, Release } from '../race/release.js';
import { FARM, type FarmSpec, isMachine, MOST_MACHINES, machineNames } from './farm.js';
import { topologyDirectory } from './paths.js';

export interface PathOptions {
  /** Per cent of the packets, at random. */
  lossPct?: number;
  /** A random time up to this is added to the delay, evenly distributed. */
  jitterMs?: number;
  rateMbit?: number;
  /** The queue of a link with a rate, as a time; a packet that would wait longer is dropped. */
  queueMs?: number;
  mtu?: number;
  /** Lets jitter reorder packets. */
  reorder?: boolean;
}

export interface Limits {
  connections: number;
  cpuPct: number;
}

export interface Service {
  name: string;
  address: string;
  ports: number[];
  raceWindowMs: number;
  /**
   * The service's configuration; by default the laboratory's. If any service has its own, roles are started without a
   * configuration.
   */
  configuration?: Configuration;
  /** False: no nginx listens on its ports; the laboratory's user starts another kind of server. */
  webServer?: boolean;
}

export interface Topology {
  name: string;
  replicas: string[];
  /** Hundreds of replicas m1 … mN on one host, for which no role runs. */
  farm?: FarmSpec;
  /** gateway, origin, the replicas and the farm's host: the hosts that the WAN connects. */
  wanHosts: string[];
  /** The servers behind the origin: `server`, then `s2` …, each on its own LAN. */
  servers: string[];
  limits: Record<string, Limits>;
  services: Service[];
  /** One-way, in ms, for each ordered pair of WAN hosts, and from and to each machine of the farm for gateway and origin. */
  delaysMs: Record<string, Record<string, number>>;
  /** By "from>to". */
  paths: Record<string, PathOptions>;
  /** How many prefixes the client's connections may come from; 1 by default. */
  clientPrefixes?: number;
  /** Whether every host has an IPv6 address too, and the first service an IPv6 twin (`SERVICE6` in `network.ts`). */
  ipv6: boolean;
}

interface TopologyFile {
  ipv6: boolean;
  servers: number;
  farm?: FarmSpec;
  hosts: Record<string, { limits?: Limits }>;
  services: Service[];
  delaysMs: Record<string, Record<string, number>>;
  paths: Record<string, PathOptions>;
}

const number = (minimum: number, maximum: number) => ({ type: 'number', minimum, maximum });
const HOST = '^(gateway|origin|farm|r[1-9][0-9]?|m[1-9][0-9]{0,4})$';
const delay = number(0, 10_000);
const host = {
  type: 'object',
  additionalProperties: false,
  properties: {
    limits: {
      type: 'object',
      additionalProperties: false,
      default: { connections: 10_000, cpuPct: 100 },
      properties: {
        connections: { type: 'integer', minimum: 1, default: 10_000 },
        cpuPct: { ...number(1, 100), default: 100 },
      },
    },
  },
};

const MOST_SERVERS = 32;

const SCHEMA: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['hosts', 'delaysMs'],
  properties: {
    servers: { type: 'integer', minimum: 1, maximum: MOST_SERVERS, default: 1 },
    ipv6: { type: 'boolean', default: false },
    farm: {
      type: 'object',
      additionalProperties: false,
      required: ['machines'],
      properties: {
        machines: { type: 'integer', minimum: 1, maximum: MOST_MACHINES },
        answersProbes: { type: 'boolean', default: false },
      },
    },
    hosts: {
      type: 'object',
      additionalProperties: false,
      required: ['gateway', 'origin'],
      properties: { gateway: host, origin: host },
      patternProperties: { '^r[1-9][0-9]?$': host },
    },
    services: {
      type: 'array',
      minItems: 1,
      default: [{ name: 'web', address: '203.0.113.10', ports: [80], raceWindowMs: 500 }],
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'address'],
        properties: {
          name: { type: 'string', pattern: '^[a-z0-9-]{1,32}$' },
          // The address must be in the server's LAN, because no host would have an address elsewhere.
          address: {
            type: 'string',
            pattern: '^203\\.0\\.113\\.(1[0-9]|[2-9][0-9]|1[0-9][0-9]|2[0-4][0-9])$',
          },
          ports: {
            type: 'array',
            minItems: 1,
            uniqueItems: true,
            default: [80],
            items: { type: 'integer', minimum: 1, maximum: 65_535 },
          },
          raceWindowMs: { ...number(1, 10_000), default: 500 },
          configuration: { enum: [...CONFIGURATIONS] },
          webServer: { type: 'boolean' },
        },
      },
    },
    delaysMs: {
      type: 'object',
      additionalProperties: false,
      patternProperties: {
        [HOST]: {
          type: 'object',
          additionalProperties: false,
          patternProperties: { [HOST]: delay },
        },
      },
    },
    paths: {
      type: 'object',
      additionalProperties: false,
      default: {},
      patternProperties: {
        [HOST.replace('$', HOST.replace('^', '>'))]: {
          type: 'object',
          additionalProperties: false,
          properties: {
            lossPct: number(0, 100),
            jitterMs: number(0, 10_000),
            rateMbit: { type: 'number', exclusiveMinimum: 0 },
            queueMs: number(1, 10_000),
            mtu: { type: 'integer', minimum: 576, maximum: 1500 },
            reorder: { type: 'boolean' },
          },
        },
      },
    },
  },
};

export const DEFAULT_TOPOLOGY = 'replica-nearest';

/** Names of the topologies that are part of the laboratory. */
export function knownTopologies(): string[] {
  return readdirSync(topologyDirectory)
    .filter((f) => f.endsWith('.yaml'))
    .map((f) => f.slice(0, -'.yaml'.length))
    .sort();
}

/**
 * @param nameOrFile the name of a built-in topology, or a file
 * @throws FirstackError FSA_CONFIG_* with all problems of the file
 */
export function loadTopology(nameOrFile = DEFAULT_TOPOLOGY): Topology {
  const own = `${topologyDirectory}/${nameOrFile}.yaml`;
  const file = /^[\w-]+$/.test(nameOrFile) && !existsSync(nameOrFile) ? own : nameOrFile;
  if (file === own && !existsSync(own)) {
    throw new FirstackError(
      'FSA_CONFIG_UNREADABLE',
      `${nameOrFile}: no such topology (known: ${knownTopologies().join(', ')}; or give a file)`,
    );
  }
  const { value, locate } = readYaml<TopologyFile>(file, SCHEMA);
  const problems = [...strangers(value, locate), ...doubles(value, locate), ...unhealthy(value, locate)];
  if (problems.length > 0) throw FirstackError.ofProblems(problems);
  const replicas = Object.keys(value.hosts)
    .filter((h) => h.startsWith('r'))
    .sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  const { farm } = value;
  const wanHosts = ['gateway', 'origin', ...replicas, ...(farm === undefined ? [] : [FARM])];
  return {
    name: file.replace(/^.*\//, '').replace(/\.ya?ml$/, ''),
    replicas,
    wanHosts,
    servers: serversOf(value.servers),
    limits: Object.fromEntries(
      replicas.map((r) => [r, value.hosts[r].limits ?? { connections: 10_000, cpuPct: 100 }]),
    ),
    services: value.services,
    delaysMs: withMachines(completed(value.delaysMs, wanHosts), value.delaysMs, farm),
    paths: value.paths,
    ...(farm === undefined ? {} : { farm }),
    ipv6: value.ipv6,
  };
}

export function serversOf(count: number): string[] {
  return Array.from({ length: count }, (_, n) => (n === 0 ? 'server' : `s${n + 1}`));
}

/** A direction that the file leaves out has the delay of the opposite one; a pair that it leaves out has no delay. */
function completed(given: TopologyFile['delaysMs'], hosts: string[]): Topology['delaysMs'] {
  const all: Topology['delaysMs'] = {};
  for (const from of hosts) {
    all[from] = {};
    for (const to of hosts) {
      if (to !== from) all[from][to] = given[from]?.[to] ?? given[to]?.[from] ?? 0;
    }
  }
  return all;
}

/** The hosts from and to which each machine of a farm has delays of its own. */
export const FARM_PEERS = ['gateway', 'origin'] as const;

/** Adds the delays of each machine of the farm; those that `given` leaves out are as in {@link completed}. */
export function withMachines(
  all: Topology['delaysMs'],
  given: Topology['delaysMs'],
  farm: FarmSpec | undefined,
): Topology['delaysMs'] {
  for (const m of machineNames(farm?.machines ?? 0)) {
    all[m] = {};
    for (const peer of FARM_PEERS) {
      all[m][peer] = given[m]?.[peer] ?? given[peer]?.[m] ?? 0;
      all[peer][m] = given[peer]?.[m] ?? given[m]?.[peer] ?? 0;
    }
  }
  return all;
}

function strangers(file: TopologyFile, locate: Locate): Problem[] {
  const problems: Problem[] = [];
  const check = (name: string, where: string[]) => {
    const { farm } = file;
    const isOfFarm = name === FARM || (isMachine(name) && Number(name.slice(1)) <= (farm?.machines ?? 0));
    if (file.hosts[name] !== undefined || (farm !== undefined && isOfFarm)) return;
    const message = `${locate(where)}: '${name}' is not among the hosts`;
    problems.push({ code: 'FSA_CONFIG_VALUE', message });
  };
  for (const [from, row] of Object.entries(file.delaysMs)) {
    check(from, ['delaysMs', from]);
    for (const to of Object.keys(row)) check(to, ['delaysMs', from, to]);
  }
  for (const path of Object.keys(file.paths)) {
    for (const name of path.split('>')) check(name, ['paths', path]);
  }
  return problems;
}

function doubles(file: TopologyFile, locate: Locate): Problem[] {
  const problems: Problem[] = [];
  const names = new Set<string>();
  const ports = new Set<string>();
  file.services.forEach((s, n) => {
    const twice = (what: string) =>
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', String(n)])}: ${what} is given twice`,
      });
    if (names.has(s.name)) twice(`service '${s.name}'`);
    names.add(s.name);
    for (const port of s.ports) {
      // A replica's port belongs to one service, and here a service has the same ports everywhere.
      if (ports.has(String(port))) twice(`port ${port}`);
      ports.add(String(port));
    }
  });
  return problems;
}

/** The replicas' health checks go to the first service's web server. */
function unhealthy(file: TopologyFile, locate: Locate): Problem[] {
  if (file.services[0].webServer !== false) return [];
  const message = `${locate(['services', '0', 'webServer'])}: the first service needs a web server`;
  return [{ code: 'FSA_CONFIG_VALUE', message }];
}

/** When a candidate's acknowledgement reaches the gateway, counted from when the tagged SYN reached the origin. */
export interface Arrival {
  id: string;
  atMs: number;
}

/**
 * The race as the topology predicts it, with the paths' delays only: earliest candidate first. In a synchronized race
 * each copy is held for Dmax − d(O,R), with d(O,R) as the origin measures it: half a round trip, capped by the race
 * window.
 */
export function arrivals(topology: Topology, release: Release): Arrival[] {
  const d = topology.delaysMs;
  const measured = (r: string) => (d.origin[r] + d[r].origin) / 2;
  const window = Math.min(...topology.services.map((s) => s.raceWindowMs));
  const longest =
    release === 'immediate' ? 0 : Math.min(window, Math.max(0, ...topology.replicas.map(measured)));
  const all = [{ id: 'origin', atMs: longest + d.origin.gateway }];
  for (const r of topology.replicas) {
    const heldMs = Math.max(0, longest - measured(r));
    all.push({ id: r, atMs: heldMs + d.origin[r] + d[r].gateway });
  }
  return all.sort((a, b) => a.atMs - b.atMs);
}

/**
 * The machine that must serve. Synchronized: the candidate with the least d(·,C), which is the meaning of *nearest*
 * in an origin race. Immediate: the candidate whose answer comes first when every copy leaves the origin at once.
 */
export function expectedWinner(topology: Topology, release: Release, race: Race = 'origin'): string {
  const d = topology.delaysMs;
  const machines = race === 'origin' ? [] : machineNames(topology.farm?.machines ?? 0);
  const least = (cost: (id: string) => number) =>
    ['origin', ...topology.replicas, ...machines].reduce((best, id) => (cost(id) < cost(best) ? id : best));
  // A gateway's own race has no detour: the candidate with the least round trip must win.
  if (race !== 'origin') return least((id) => d.gateway[id] + d[id].gateway);
  if (release === 'immediate') return arrivals(topology, 'immediate')[0].id;
  return least((id) => d[id].gateway);
}
