/** The race's part of the origin's role file. */
import type { Locate, Schema } from '../../src/config.js';
import type { Problem } from '../../src/errors.js';
import { explained } from '../../src/explained.js';
import { type HealthConfig, healthProblem, healthSchema } from '../../src/health/health.js';
import { type Configuration, type OriginServer, racePart } from '../../src/race/records.js';
import { RACES, type Race, RELEASES, type Release } from '../../src/race/release.js';
import { type CommonConfig, commonProperties, missingKey } from '../../src/race/role-file.js';
import { nameSchema, portSchema, serviceIpSchema } from '../../src/registry/kinds.js';
import { type ProgramConfig, programProperties, type RoleFlags } from '../../src/role-config.js';
import type { Allocation } from '../../src/steer/marks.js';
import { mostServers } from '../../src/steer/next-hops.js';
import { isV6Text } from '../../src/wire/address.js';
import type { OriginSite } from '../config.js';

/** A service in its origin's file; its configuration defaults to the role's. */
export interface OriginService {
  name: string;
  address: string;
  ports: number[];
  configuration?: Configuration;
  replicable: boolean;
  raceWindowMs: number;
  /** Several servers; without any, the network leads to the only one. */
  servers?: OriginServer[];
  /** Health check of each adjacent server; `{server}` stands for the server's address. */
  health?: HealthConfig;
}

export interface OriginConfig extends ProgramConfig, CommonConfig, OriginSite {
  /** Besides the role's own keys: the bits of the mark, and the first routing table, for adjacent servers. */
  steering: ProgramConfig['steering'] & { serverMask: number; serverTable: number };
  services: OriginService[];
  /** Only a gateway uses it; the key exists here so that one set of flags fits every role. */
  race: Race;
  release: Release;
}

export function schema(allocation: Allocation): { properties: Record<string, Schema>; required: string[] } {
  const common = programProperties(allocation);
  return {
    properties: {
      ...common,
      ...commonProperties,
      steering: {
        ...common.steering,
        properties: {
          ...(common.steering.properties as Record<string, Schema>),
          serverMask: explained(
            { type: 'integer', minimum: 1, maximum: 0xffffffff, default: 0x000000ff },
            'The bits of the mark that number adjacent servers,',
          ),
          serverTable: explained(
            { type: 'integer', minimum: 256, maximum: 0x7fffff00, default: 17412 },
            'and the first of their routing tables.',
          ),
        },
      },
      services: {
        type: 'array',
        description: 'The services for which this origin speaks.',
        minItems: 1,
        items: serviceSchema,
      },
      race: explained(
        { enum: [...RACES], default: 'origin' },
        'Only a gateway uses it; it is accepted here so that one set of flags fits every role.',
      ),
      release: explained(
        { enum: [...RELEASES], default: 'synchronized' },
        'When copies of a SYN leave: each so early that all arrive at once, or at once, as published.',
      ),
    },
    required: ['services'],
  };
}

const serviceSchema: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'address', 'ports'],
  properties: {
    name: explained(nameSchema, 'Its name, which replicas refer to.', 'web'),
    address: explained(serviceIpSchema, 'The address that clients use.', '203.0.113.10'),
    ports: explained(
      { type: 'array', items: portSchema, minItems: 1, uniqueItems: true },
      'The TCP ports that clients use.',
      [80],
    ),
    ...racePart.properties,
    health: explained(healthSchema, 'How adjacent servers are checked; {server} stands for the address.'),
  },
};

export function overrides(flags: RoleFlags): Record<string, unknown> {
  const env = process.env;
  return {
    configuration: flags.configuration ?? env.FIRSTACK_CONFIGURATION,
    race: flags.race ?? env.FIRSTACK_RACE,
    release: flags.release ?? env.FIRSTACK_RELEASE,
  };
}

export function problems(value: OriginConfig, locate: Locate, flags: RoleFlags): Problem[] {
  const problems: Problem[] = missingKey(value, locate);
  const owners = new Map<string, string>();
  value.services.forEach((service, i) => {
    if (value.services.findIndex((s) => s.name === service.name) !== i)
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', i, 'name'])}: service ${service.name} is listed twice`,
      });
    if ((service.configuration ?? value.configuration) === undefined)
      problems.push({
        code: 'FSA_CONFIG_MISSING',
        message: `${locate(['services', i])}: service ${service.name} has no configuration (give it one, or --configuration A|B|C)`,
      });
    // A flag that contradicts the file is an error, because neither should silently override the other.
    else if (
      flags.configuration !== undefined &&
      service.configuration !== undefined &&
      service.configuration !== flags.configuration
    )
      problems.push({
        code: 'FSA_CONFIGURATION_MISMATCH',
        message: `${locate(['services', i, 'configuration'])}: service ${service.name} has configuration ${service.configuration}, --configuration says ${flags.configuration}`,
      });
    if (isV6Text(service.address) && (service.configuration ?? value.configuration) === 'B')
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', i, 'address'])}: service ${service.name} has an IPv6 address: those are carried in configurations A and C`,
      });
    if (isV6Text(service.address) && service.servers !== undefined)
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', i, 'servers'])}: connections to an IPv6 service are not spread over servers`,
      });
    if (value.local && service.servers?.some((s) => s.address !== undefined))
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `${locate(['services', i])}: service ${service.name} has adjacent servers, but 'local: true' says that this host is its server`,
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
  return problems;
}

/** Problems of a service's servers beyond the schema. */
function serverProblems({ name, servers = [], health }: OriginService, mask: number): string[] {
  const problems: string[] = [];
  const known = new Set<string>();
  for (const { address, replica } of servers) {
    if ((address === undefined) === (replica === undefined))
      problems.push(`a server of ${name} needs an address (adjacent) or a replica (remote), not both`);
    const server = address ?? replica ?? '';
    if (known.has(server)) problems.push(`server ${server} of ${name} is listed twice`);
    known.add(server);
  }
  if (servers.length > 0 && servers.every((s) => s.weight === 0))
    problems.push(`no server of ${name} has a weight`);
  if (servers.length > mostServers(mask))
    problems.push(`steering.serverMask numbers ${mostServers(mask)} servers, ${name} has ${servers.length}`);
  const wrong = health === undefined ? '' : healthProblem(health);
  if (wrong !== '') problems.push(wrong);
  const isOnly = servers.length === 0;
  if (health !== undefined && !isOnly && !servers.some((s) => s.address !== undefined))
    problems.push(`'health' needs adjacent servers, and ${name} has none`);
  return problems;
}
