/** The part of service-level routing in the origin's role file: a service-level router of a site, a system or a network. */
import type { Locate, Schema } from '../../src/config.js';
import type { Problem } from '../../src/errors.js';
import { explained } from '../../src/explained.js';
import { ExpressionError } from '../../src/policy/expression.js';
import { ipv6Schema, nameSchema } from '../../src/registry/kinds.js';
import { type ProgramConfig, programProperties } from '../../src/role-config.js';
import { ROUTER_LEVELS, type RouterLevel } from '../../src/routing/levels.js';
import { AGGREGATES, COSTS, parseAggregate, parseCost } from '../../src/routing/policies.js';
import { type TlsFiles, tlsProperties } from '../../src/routing/session.js';
import { addressProblem, type VirtualSubnet, virtualSchema } from '../../src/routing/virtual.js';
import type { Allocation } from '../../src/steer/marks.js';
import type { OriginSite } from '../config.js';
import { type ShareSettings, shareProblems, sharesSchema } from './shares-config.js';

export interface SlrConfig extends ProgramConfig, OriginSite {
  flows: ProgramConfig['flows'] & { datagramTimeoutMs: number };
  level: RouterLevel;
  id: string;
  virtual: VirtualSubnet[];
  hello: TlsFiles & { listen?: string; uppers: string[]; intervalMs: number };
  /** Where tunnels of IPv6 to this router end, and whence its own come. */
  address6?: string;
  /** ADDRESS/BITS, of IPv4; without it the role's own address. */
  sources?: string;
  policy: {
    cost: string;
    aggregate: string;
    selection: 'weights' | 'outliers' | 'least';
    /** Signed modules in their place, and the key that signed them. */
    costFile?: string;
    aggregateFile?: string;
    keyFile?: string;
  };
  /** What members on standby do once others are available again. */
  standbyReturn: 'itself' | 'word';
  /** By member. */
  weights: Record<string, number>;
  /** ms, by member. */
  distances: Record<string, number>;
  /** A kernel table whose routes' metrics are distances to members; undefined: none. */
  distanceTable?: number;
  /** Whether the round trips of sessions are the distances to members of which nothing else tells one. */
  measureDistances: boolean;
  seed: number;
  /** A kernel table for routes to the virtual hosts; undefined: none is advertised. */
  advertiseTable?: number;
  /** Other routers of this level, which may know a flow that came here. */
  neighbours: string[];
  /** The key that they share. */
  levelKeyFile?: string;
  /** Of an access link, by the virtual hosts' answers that leave there. */
  shares?: ShareSettings;
}

export const HELLO_PORT = 7417;
const where: Schema = { type: 'string', pattern: '^[0-9.]+:[0-9]{1,5}$' };
const text: Schema = { type: 'string', minLength: 1, maxLength: 1000 };

export function schema(allocation: Allocation): { properties: Record<string, Schema>; required: string[] } {
  const common = programProperties(allocation);
  const flows = common.flows as { properties: Record<string, Schema> };
  return {
    properties: {
      ...common,
      flows: {
        ...flows,
        properties: {
          ...flows.properties,
          datagramTimeoutMs: explained(
            { type: 'integer', minimum: 100, default: 300_000 },
            'A flow of UDP without a datagram is forgotten (RFC 4787 asks for two minutes at least).',
          ),
        },
      },
      level: explained(
        { enum: [...ROUTER_LEVELS] },
        'A site chooses among servers, a system among sites, a network among systems.',
        'site',
      ),
      id: explained(nameSchema, 'Its name, as in its certificate.', 't1'),
      address6: explained(
        ipv6Schema,
        "This host's IPv6 address: tunnels of IPv6 end there, and come from there. Needed for virtual hosts of IPv6.",
        '2001:db8:51::2',
      ),
      virtual: virtualSchema,
      hello: {
        type: 'object',
        description: 'Sessions with the members below and the routers above, by mutual TLS.',
        additionalProperties: false,
        required: ['caFile', 'certFile', 'keyFile'],
        properties: {
          ...tlsProperties,
          listen: explained(
            where,
            `Where members say hello; without this key, port ${HELLO_PORT} of the role's address.`,
            `198.51.100.2:${HELLO_PORT}`,
          ),
          uppers: explained(
            { type: 'array', items: where, uniqueItems: true, maxItems: 16, default: [] },
            'Routers of the next upper level, to which this one says hello.',
            [`198.51.100.1:${HELLO_PORT}`],
          ),
          intervalMs: explained(
            { type: 'integer', minimum: 50, maximum: 60_000, default: 1000 },
            'How often members say their state; silent for three of these, one is out.',
          ),
        },
      },
      sources: explained(
        { type: 'string', format: 'ipv4-cidr' },
        "A prefix whose addresses are the sources of tunnels of IPv4, one per flow, so that routers spread them; without it the role's own address. Those of IPv6 come from 'address6', and are spread by their flow labels.",
        '198.51.100.64/28',
      ),
      policy: {
        type: 'object',
        description: 'How members are chosen.',
        additionalProperties: false,
        default: {},
        properties: {
          cost: explained(
            { ...text, default: 'load' },
            `A member's cost: ${Object.keys(COSTS).join(', ')}, or an expression of load, distance, servers, hour, weekday, metrics.NAME.`,
          ),
          aggregate: explained(
            { ...text, default: 'mean' },
            `The load that is said to the level above: ${Object.keys(AGGREGATES).join(', ')}, or an expression with sum, mean, least, most, count over the members.`,
          ),
          costFile: explained(
            { type: 'string' },
            'A signed module in the place of the expression (firstack policy install); what it gives no cost keeps its last one.',
            '/etc/firstack/policies/near/current',
          ),
          aggregateFile: explained(
            { type: 'string' },
            'The same for the load that is said to the level above.',
            '/etc/firstack/policies/sum/current',
          ),
          keyFile: explained(
            { type: 'string' },
            "With these: the operator's public key, in PEM (openssl pkey -pubout).",
            '/etc/firstack/policy.pub',
          ),
          selection: explained(
            { enum: ['weights', 'outliers', 'least'], default: 'weights' },
            'New connections are spread by weights that fall with the cost; or evenly, except for members whose cost is more than 1.5 times the middle one; or all go to the member of least cost.',
          ),
        },
      },
      standbyReturn: explained(
        { enum: ['itself', 'word'], default: 'itself' },
        "Members on standby that took over give back by themselves once others are available, or by an operator's word (POST /v1/give-back).",
      ),
      weights: explained(
        { type: 'object', additionalProperties: { type: 'number', minimum: 0, maximum: 1000 }, default: {} },
        'A factor of the part of new connections that a member gets, by id; read again on SIGHUP.',
        { t1: 2 },
      ),
      distances: explained(
        {
          type: 'object',
          additionalProperties: { type: 'number', minimum: 0, maximum: 100_000 },
          default: {},
        },
        'The routing distance to members, in ms, by id; read again on SIGHUP.',
        { t1: 5 },
      ),
      distanceTable: explained(
        { type: 'integer', minimum: 1, maximum: 0x7fffffff },
        "A kernel table that a routing daemon fills: the metric of a route to a member is its distance, in ms, where 'distances' names none.",
        7481,
      ),
      measureDistances: explained(
        { type: 'boolean', default: false },
        "The round trip of a member's session, in ms, is its distance, where neither 'distances' nor 'distanceTable' tells one.",
      ),
      advertiseTable: explained(
        { type: 'integer', minimum: 256, maximum: 0x7fffffff },
        'A kernel table in which the virtual hosts stand as routes while members serve them: BIRD or FRR exports it.',
        7480,
      ),
      neighbours: explained(
        {
          type: 'array',
          items: { type: 'string', format: 'ipv4' },
          uniqueItems: true,
          maxItems: 16,
          default: [],
        },
        'The addresses of the other routers of this level: each tells them its flows, and asks for one that it does not know.',
        ['198.51.100.3'],
      ),
      levelKeyFile: explained(
        { type: 'string' },
        'With neighbours: the key that the routers of this level share, 32 hex digits, mode 0600 (openssl rand -hex 16).',
        '/etc/firstack/level.key',
      ),
      shares: sharesSchema,
      seed: explained(
        { type: 'integer', minimum: 0, maximum: 0xffffffff, default: 0 },
        'The same at all routers of a level: then they choose alike, and a lost state is most often no loss.',
      ),
    },
    required: ['level', 'id', 'virtual', 'hello'],
  };
}

export function problems(value: SlrConfig, locate: Locate): Problem[] {
  const wrong = (path: string[], what: string): Problem => ({
    code: 'FSA_CONFIG_VALUE',
    message: `${locate(path)}: ${what}`,
  });
  const parsed = (path: string[], parse: () => unknown): Problem[] => {
    try {
      parse();
      return [];
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      return [wrong(path, error.message)];
    }
  };
  const names = value.virtual.map((v) => v.name);
  const withoutAddress = addressProblem(value.virtual, value.address6);
  const twice = names.filter((n, i) => names.indexOf(n) !== i);
  return [
    ...parsed(['policy', 'cost'], () => parseCost(value.policy.cost)),
    ...parsed(['policy', 'aggregate'], () => parseAggregate(value.policy.aggregate)),
    ...((value.policy.costFile ?? value.policy.aggregateFile) !== undefined &&
    value.policy.keyFile === undefined
      ? [wrong(['policy'], "'keyFile' is needed with a signed module")]
      : []),
    ...(value.neighbours.length > 0 && value.levelKeyFile === undefined
      ? [wrong(['neighbours'], "'levelKeyFile' is needed with them")]
      : []),
    ...(withoutAddress === '' ? [] : [wrong(['virtual'], withoutAddress)]),
    ...twice.map((n) => wrong(['virtual'], `${n} is listed twice`)),
    ...(value.shares === undefined
      ? []
      : shareProblems(value.shares, names).map((what) => wrong(['shares', 'classes'], what))),
  ];
}
