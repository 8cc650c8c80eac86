/** The origin's own part of its role file, whatever programs it runs. */
import type { Locate, Schema } from '../src/config.js';
import type { Problem } from '../src/errors.js';
import { explained } from '../src/explained.js';
import { ipv4Schema } from '../src/registry/kinds.js';
import { noInterfaces, type RoleSchema, roleProperties } from '../src/role-config.js';

/** The origin's place in the network. */
export interface OriginSite {
  lan: string[];
  /** O: this host's own address, the source of its packets to other roles. */
  address: string;
  /** Whether the server is this host itself. */
  local: boolean;
}

const properties: Record<string, Schema> = {
  ...roleProperties('origin'),
  lan: explained(noInterfaces, 'Interfaces towards the web server.', ['lan0']),
  address: explained(
    ipv4Schema,
    "O: this host's own address, the source of its packets to other roles.",
    '198.51.100.2',
  ),
  local: explained({ type: 'boolean', default: false }, 'Whether the web server is this host itself.'),
};

export const schema: RoleSchema = {
  properties,
  required: ['instance', 'wan', 'registry', 'address'],
  problems: siteProblems,
};

function siteProblems({ lan, local }: OriginSite, locate: Locate): Problem[] {
  if (lan.length > 0 || local) return [];
  return [
    {
      code: 'FSA_CONFIG_MISSING',
      message: `${locate([])}: 'lan' is needed, or 'local: true' where this host is the web server`,
    },
  ];
}
