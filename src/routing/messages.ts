/**
 * What members tell each other over the session that a lower one opens (mutual TLS): one JSON object per line.
 *
 *   lower → upper: hello, then state each interval
 *   upper → lower: welcome, an acknowledgement of each state, and the sources of tunnels when they change
 *
 * What is of IPv6 stands in fields of its own (`address6`, `subnets6`, `sources6`), which a member of an earlier version
 * does not read.
 */
import { type Schema, validate } from '../config.js';
import { ipv4Schema, ipv6Schema, nameSchema } from '../registry/kinds.js';
import { isV6Text } from '../wire/address.js';
import { LEVELS, type Level } from './levels.js';

/** The state of one virtual subnet at a member. */
export interface SubnetState {
  /** ADDRESS/BITS */
  subnet: string;
  /** 0 … 1 */
  load: number;
  available: boolean;
  /** The servers that it stands for. */
  servers: number;
  /** Its part of new connections, relative to other members of equal cost; where it says none, one per server. */
  weight?: number;
  /** Only used where no other member is available. */
  standby?: boolean;
  /** Further figures of the operator's own, by name. */
  metrics?: Record<string, number>;
}

export type Upward =
  | { type: 'hello'; v: 1; id: string; level: Level; address: string; address6?: string }
  /** `rttMs`: the round trip of this session, as earlier states and their acknowledgements show it. */
  | { type: 'state'; n: number; rttMs?: number; subnets: SubnetState[]; subnets6?: SubnetState[] };

export type Downward =
  | {
      type: 'welcome';
      v: 1;
      id: string;
      level: Level;
      address: string;
      address6?: string;
      intervalMs: number;
      sources: string[];
      sources6?: string[];
    }
  | { type: 'ack'; n: number }
  | { type: 'sources'; sources: string[]; sources6?: string[] };

/** The part of a list that is of IPv4, and the part of IPv6. */
export function byFamily<T>(list: readonly T[], textOf: (one: T) => string): { v4: T[]; v6: T[] } {
  const isV6 = (one: T): boolean => isV6Text(textOf(one));
  return { v4: list.filter((one) => !isV6(one)), v6: list.filter(isV6) };
}

/** The fields of a list of tunnels' sources in a message. */
export function sourceFields(sources: readonly string[]): { sources: string[]; sources6?: string[] } {
  const { v4, v6 } = byFamily(sources, (text) => text);
  return v6.length === 0 ? { sources: v4 } : { sources: v4, sources6: v6 };
}

/** The longest line. */
export const MOST_BYTES = 1 << 18;

const cidr: Schema = { type: 'string', format: 'ipv4-cidr' };
const cidr6: Schema = { type: 'string', format: 'ipv6-cidr' };
const sources: Schema = { type: 'array', maxItems: 1024, items: cidr };
const sources6: Schema = { type: 'array', maxItems: 1024, items: cidr6 };
const count: Schema = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const level: Schema = { enum: [...LEVELS] };
const message = (type: string, properties: Record<string, Schema>, optional: string[] = []): Schema => ({
  type: 'object',
  // A later version may say more.
  additionalProperties: true,
  required: ['type', ...Object.keys(properties).filter((k) => !optional.includes(k))],
  properties: { type: { const: type }, ...properties },
});

const subnetsOf = (prefix: Schema): Schema => ({
  type: 'array',
  maxItems: 1024,
  items: {
    type: 'object',
    additionalProperties: true,
    required: ['subnet', 'load', 'available', 'servers'],
    properties: {
      subnet: prefix,
      load: { type: 'number', minimum: 0, maximum: 1 },
      available: { type: 'boolean' },
      servers: { type: 'integer', minimum: 0, maximum: 1_000_000 },
      weight: { type: 'number', minimum: 0, maximum: 1_000_000_000 },
      standby: { type: 'boolean' },
      metrics: { type: 'object', maxProperties: 32, additionalProperties: { type: 'number' } },
    },
  },
});

const UPWARD: Record<string, Schema> = {
  hello: message(
    'hello',
    { v: { const: 1 }, id: nameSchema, level, address: ipv4Schema, address6: ipv6Schema },
    ['address6'],
  ),
  state: message(
    'state',
    {
      ...{ n: count, rttMs: { type: 'number', minimum: 0 } },
      ...{ subnets: subnetsOf(cidr), subnets6: subnetsOf(cidr6) },
    },
    ['rttMs', 'subnets6'],
  ),
};

const DOWNWARD: Record<string, Schema> = {
  welcome: message(
    'welcome',
    {
      ...{ v: { const: 1 }, id: nameSchema, level, address: ipv4Schema, address6: ipv6Schema },
      ...{ intervalMs: { type: 'integer', minimum: 50, maximum: 60_000 }, sources, sources6 },
    },
    ['address6', 'sources6'],
  ),
  ack: message('ack', { n: count }),
  sources: message('sources', { sources, sources6 }, ['sources6']),
};

function read<T>(line: string, schemas: Record<string, Schema>): T | undefined {
  let value: { type?: unknown };
  try {
    value = JSON.parse(line) as typeof value;
  } catch {
    return undefined;
  }
  const type = typeof value === 'object' && value !== null ? String(value.type) : '';
  const schema = Object.hasOwn(schemas, type) ? schemas[type] : undefined;
  if (schema === undefined || validate(value, schema, () => '').length > 0) return undefined;
  return value as T;
}

/** @returns undefined for a line that is no message */
export const readUpward = (line: string): Upward | undefined => read<Upward>(line, UPWARD);
export const readDownward = (line: string): Downward | undefined => read<Downward>(line, DOWNWARD);
