/** The origin's role file. */
import { type Parsed, readYaml, type Schema } from '../../src/config.js';
import { FirstackError, type Problem } from '../../src/errors.js';
import { type HealthConfig, healthProblem, healthSchema } from '../../src/health/health.js';
import { RACES, type Race, RELEASES, type Release } from '../../src/race/release.js';
import { type OriginServer, schemas } from '../../src/registry/records.js';
import { type CommonConfig, commonProperties, overrides, type RoleFlags } from '../../src/role-config.js';
import { mostServers } from '../../src/steer/next-hops.js';

/** A service as its origin's file has it; its configuration defaults to the role's. */
export interface OriginService {
  name: string;
  address: string;
  ports: number[];
  configuration?: 'A' | 'B' | 'C';
  replicable: boolean;
  raceWindowMs: number;
  /** Several servers; without any, the network leads to the one there is. */
  servers?: OriginServer[];
  /** Of each adjacent server; `{server}` stands for its address. */
  health?: HealthConfig;
}

export interface OriginConfig extends CommonConfig {
  /** Beside the role's own: bits of the mark, and the first routing table, of adjacent servers. */
  steering: CommonConfig['steering'] & { serverMask: number; serverTable: number };
  /** O: the outer source of the copies. */
  address: string;
  services: OriginService[];
  /** The gateway's affair; named here so that one set of flags fits every role. */
  race: Race;
  /** The web server is this host itself. */
  local: boolean;
  release: Release;
  /** Whether this host's clock is known to be synchronized (PTP, NTP with a bound). */
  clock: 'free' | 'synchronized';
}

const common = commonProperties({ tun: 'fsor0', admin: 7412, mark: 0x02000000, table: 7412, priority: 7412 });
const { v: _v, ...serviceProperties } = schemas.service.properties as Record<string, Schema>;

export const schema: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['instance', 'wan', 'registry', 'tag', 'address', 'services'],
  properties: {
    ...common,
    steering: {
      ...common.steering,
      properties: {
        ...(common.steering.properties as Record<string, Schema>),
        serverMask: { type: 'integer', minimum: 1, maximum: 0xffffffff, default: 0x000000ff },
        serverTable: { type: 'integer', minimum: 256, maximum: 0x7fffff00, default: 17412 },
      },
    },
    address: { type: 'string', format: 'ipv4' },
    services: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'address', 'ports'],
        properties: { ...serviceProperties, health: healthSchema },
      },
    },
    lan: { ...common.lan, minItems: 0, default: [] },
    local: { type: 'boolean', default: false },
    race: { enum: [...RACES], default: 'origin' },
    release: { enum: [...RELEASES], default: 'synchronized' },
    clock: { enum: ['free', 'synchronized'], default: 'free' },
  },
};

/** @throws FirstackError FSA_CONFIG_*: all problems of the file at once */
export function readOriginConfig(flags: RoleFlags): OriginConfig {
  const parsed: Parsed<OriginConfig> = readYaml(flags.configFile, schema, {
    ...overrides(flags),
    race: flags.race ?? process.env.FIRSTACK_RACE,
    release: flags.release ?? process.env.FIRSTACK_RELEASE,
  });
  const { value, locate } = parsed;
  const problems: Problem[] = [];
  const owners = new Map<string, string>();
  if (value.lan.length === 0 && !value.local)
    problems.push({
      code: 'FSA_CONFIG_MISSING',
      message: `${locate([])}: 'lan' is needed, or 'local: true' where this host is the web server`,
    });
  value.services.forEach((service, i) => {
    if (value.services.findIndex((s) => s.name === service.name) !== i)
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', i, 'name'])}: service ${service.name} is there twice`,
      });
    if ((service.configuration ?? value.configuration) === undefined)
      problems.push({
        code: 'FSA_CONFIG_MISSING',
        message: `${locate(['services', i])}: service ${service.name} has no configuration (give it one, or --configuration A|B|C)`,
      });
    // A flag that contradicts the file is an error, never a silent choice between the two.
    else if (
      flags.configuration !== undefined &&
      service.configuration !== undefined &&
      service.configuration !== flags.configuration
    )
      problems.push({
        code: 'FSA_CONFIGURATION_MISMATCH',
        message: `${locate(['services', i, 'configuration'])}: service ${service.name} has configuration ${service.configuration}, --configuration says ${flags.configuration}`,
      });
    if (value.local && service.servers?.some((s) => s.address !== undefined))
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', i])}: service ${service.name} has adjacent servers, and 'local: true' says that this host is its server`,
      });
    for (const message of serverProblems(service, value.steering.serverMask))
      problems.push({ code: 'FSA_CONFIG_VALUE', message: `${locate(['services', i])}: ${message}` });
    if (service.address === value.address && (service.configuration ?? value.configuration) !== 'A')
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['address'])}: ${value.address} is service ${service.name}'s own, which its replicas have too under B and C: copies and probes need another address of this host`,
      });
    for (const port of service.ports) {
      const endpoint = `${service.address}:${port}`;
      const owner = owners.get(endpoint);
      if (owner !== undefined)
        problems.push({
          code: 'FSA_CONFIG_VALUE',
          message: `${locate(['services', i, 'ports'])}: ${endpoint} belongs to service ${owner} already`,
        });
      owners.set(endpoint, service.name);
    }
  });
  if (problems.length > 0) throw FirstackError.ofProblems(problems);
  return value;
}

/** What is wrong with the servers of a service, beyond the schema. */
function serverProblems({ name, servers = [], health }: OriginService, mask: number): string[] {
  const problems: string[] = [];
  const known = new Set<string>();
  for (const { address, replica } of servers) {
    if ((address === undefined) === (replica === undefined))
      problems.push(`a server of ${name} needs an address (adjacent) or a replica (remote), one of both`);
    const server = address ?? replica ?? '';
    if (known.has(server)) problems.push(`server ${server} of ${name} is there twice`);
    known.add(server);
  }
  if (servers.length > 0 && servers.every((s) => s.weight === 0))
    problems.push(`no server of ${name} has a weight`);
  if (servers.length > mostServers(mask))
    problems.push(`steering.serverMask numbers ${mostServers(mask)} servers, ${name} has ${servers.length}`);
  const wrong = health === undefined ? '' : healthProblem(health);
  if (wrong !== '') problems.push(wrong);
  if (health !== undefined && !servers.some((s) => s.address !== undefined))
    problems.push(`'health' is about adjacent servers, and ${name} has none`);
  return problems;
}
