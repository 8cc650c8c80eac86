/** The gateway's role file. */
import { type Parsed, readYaml, type Schema } from '../../src/config.js';
import { FirstackError, type Problem } from '../../src/errors.js';
import { RACES, type Race } from '../../src/race/release.js';
import { type CommonConfig, commonProperties, overrides, type RoleFlags } from '../../src/role-config.js';
import { formatPrefix, overlaps, type Prefix, parsePrefix } from '../../src/wire/address.js';

export interface GatewayConfig extends CommonConfig {
  tag: { gatewayId: number; keyFile: string };
  /** `openings`: under `--race learned` the kernel may open connections with a learned winner by itself. */
  fastpath: CommonConfig['fastpath'] & { openings: boolean };
  /** Clients behind this gateway. */
  prefixes: string[];
  race: Race;
  /** This host's own connections are a client's too: the gateway on the client host itself. */
  local: boolean;
  /** Gateways of one site share what they learn. */
  site?: string;
}

const common = commonProperties({ tun: 'fsgw0', admin: 7411, mark: 0x01000000, table: 7411, priority: 7411 });

export const schema: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['instance', 'wan', 'registry', 'tag', 'prefixes'],
  properties: {
    ...common,
    tag: {
      type: 'object',
      additionalProperties: false,
      required: ['gatewayId', 'keyFile'],
      properties: {
        gatewayId: { type: 'integer', minimum: 0, maximum: 65535 },
        keyFile: { type: 'string' },
      },
    },
    fastpath: {
      ...common.fastpath,
      properties: { ...(common.fastpath.properties as Schema), openings: { type: 'boolean', default: true } },
    },
    prefixes: { type: 'array', minItems: 1, items: { type: 'string', format: 'ipv4-cidr' } },
    race: { enum: [...RACES], default: 'learned' },
    lan: { ...common.lan, minItems: 0, default: [] },
    local: { type: 'boolean', default: false },
    site: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' },
  },
};

/** @throws FirstackError FSA_CONFIG_*, FSA_PREFIX_OVERLAP: all problems of the file at once */
export function readGatewayConfig(flags: RoleFlags): GatewayConfig {
  const race = flags.race ?? process.env.FIRSTACK_RACE;
  const parsed: Parsed<GatewayConfig> = readYaml(flags.configFile, schema, { ...overrides(flags), race });
  const { value, locate } = parsed;
  const problems = overlapping(value.prefixes, (i) => locate(['prefixes', i]));
  if (value.lan.length === 0 && !value.local)
    problems.push({
      code: 'FSA_CONFIG_MISSING',
      message: `${locate([])}: 'lan' is needed, or 'local: true' where this host is the client`,
    });
  if (problems.length > 0) throw FirstackError.ofProblems(problems);
  return parsed.value;
}

function overlapping(texts: readonly string[], where: (i: number) => string): Problem[] {
  const prefixes = texts.map((t) => parsePrefix(t) as Prefix);
  const problems: Problem[] = [];
  for (let i = 0; i < prefixes.length; i++)
    for (let j = 0; j < i; j++)
      if (overlaps(prefixes[i], prefixes[j]))
        problems.push({
          code: 'FSA_PREFIX_OVERLAP',
          message: `${where(i)}: ${formatPrefix(prefixes[i])} overlaps ${formatPrefix(prefixes[j])}`,
        });
  return problems;
}
