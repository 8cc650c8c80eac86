/** The replica's own part of its role file, whatever programs it runs. */
import type { Schema } from '../src/config.js';
import { explained } from '../src/explained.js';
import { ipv4Schema, ipv6Schema, nameSchema } from '../src/registry/kinds.js';
import { noInterfaces, type RoleSchema, roleProperties } from '../src/role-config.js';

/** The replica's place in the network. */
export interface ReplicaSite {
  /** Its name in the registry. */
  id: string;
  /** R: this host's own address, at which other roles reach it. */
  address: string;
  /** The same of IPv6. */
  address6?: string;
}

const properties: Record<string, Schema> = {
  ...roleProperties('replica'),
  lan: explained(noInterfaces, 'Not used by the race.'),
  id: explained(nameSchema, 'Its name in the registry; no other replica has it.', 'r1'),
  address6: explained(
    ipv6Schema,
    'Its IPv6 address, for IPv6 services. Set it once every role of the fleet knows this key.',
    '2001:db8:7::2',
  ),
  address: explained(
    ipv4Schema,
    "R: this host's own address, at which other roles reach it.",
    '198.51.100.7',
  ),
};

export const schema: RoleSchema = { properties, required: ['instance', 'id', 'wan', 'registry', 'address'] };
