/** Virtual hosts and subnets: addresses that no machine owns, and the ports at which they are routed. */
import type { Schema } from '../config.js';
import { explained } from '../explained.js';
import { nameSchema, portSchema } from '../registry/kinds.js';
import { contains, isV6Text, type Prefix, parsePrefix } from '../wire/address.js';

export const PROTOCOLS = ['tcp', 'udp'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export interface VirtualSubnet {
  name: string;
  /** ADDRESS/BITS */
  subnet: string;
  protocols: Protocol[];
  /** None: all ports. */
  ports: number[];
}

export const MOST_SUBNETS = 1024;

export const virtualSchema: Schema = {
  type: 'array',
  description: 'The virtual hosts and subnets.',
  minItems: 1,
  maxItems: MOST_SUBNETS,
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['name', 'subnet'],
    properties: {
      name: explained(nameSchema, 'Its name in status and metrics.', 'web'),
      subnet: explained(
        { type: 'string', format: 'cidr' },
        "The address of a virtual host, or a subnet of them: what is sent there is routed. One of IPv6 needs this host's 'address6'.",
        '203.0.113.80/32',
      ),
      protocols: explained(
        {
          type: 'array',
          items: { enum: [...PROTOCOLS] },
          minItems: 1,
          uniqueItems: true,
          default: [...PROTOCOLS],
        },
        'Its protocols.',
      ),
      ports: explained(
        { type: 'array', items: portSchema, uniqueItems: true, default: [] },
        'Its ports; none: all of them.',
      ),
    },
  },
};

/** Those of IPv6. */
export const ofV6 = (virtual: readonly VirtualSubnet[]): VirtualSubnet[] =>
  virtual.filter((v) => isV6Text(v.subnet));

/** @returns what is wrong with virtual hosts of IPv6 at a host without an address of IPv6; '' for nothing */
export function addressProblem(virtual: readonly VirtualSubnet[], address6: string | undefined): string {
  const names = ofV6(virtual).map((v) => v.name);
  if (address6 !== undefined || names.length === 0) return '';
  return `${names.join(', ')}: 'address6' is needed for virtual hosts of IPv6, whose tunnels are of IPv6`;
}

/** Requires the schema's format. */
export const prefixOf = (text: string): Prefix => parsePrefix(text) as Prefix;

/** Whether every address of the inner prefix is in the outer one. */
export const covers = (outer: Prefix, inner: Prefix): boolean =>
  outer.bits <= inner.bits && contains(outer, inner.address);
