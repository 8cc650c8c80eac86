/** The gateway's own part of its role file, whatever programs it runs. */
import type { Locate, Schema } from '../src/config.js';
import type { Problem } from '../src/errors.js';
import { explained } from '../src/explained.js';
import { noInterfaces, type RoleSchema, roleProperties } from '../src/role-config.js';
import { formatPrefix, overlaps, type Prefix, parsePrefix } from '../src/wire/address.js';

/** The gateway's place in the network. */
export interface GatewaySite {
  lan: string[];
  /** The clients' prefixes. */
  prefixes: string[];
  /** Whether this host's own connections are raced too: for a gateway on the client's host itself. */
  local: boolean;
}

const properties: Record<string, Schema> = {
  ...roleProperties('gateway'),
  lan: explained(noInterfaces, 'Interfaces towards the clients.', ['lan0']),
  prefixes: explained(
    { type: 'array', minItems: 1, items: { type: 'string', format: 'cidr' } },
    "The clients' prefixes; no other gateway has them.",
    ['192.0.2.0/24'],
  ),
  local: explained(
    { type: 'boolean', default: false },
    "Whether this host's own connections are raced too: for a gateway on the client's host itself.",
  ),
};

export const schema: RoleSchema = {
  properties,
  required: ['instance', 'wan', 'registry', 'prefixes'],
  problems: siteProblems,
};

function siteProblems({ lan, prefixes, local }: GatewaySite, locate: Locate): Problem[] {
  const problems = overlapping(prefixes, (i) => locate(['prefixes', i]));
  if (lan.length === 0 && !local)
    problems.push({
      code: 'FSA_CONFIG_MISSING',
      message: `${locate([])}: 'lan' is needed, or 'local: true' where this host is the client`,
    });
  return problems;
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
