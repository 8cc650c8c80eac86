/**
 * What members tell each other over the session that a lower one opens (mutual TLS): one JSON object per line.
 *
 *   lower → upper: hello, then state each interval
 *   upper → lower: welcome, an acknowledgement of each state, and the sources of tunnels when they change
 */
import { type Schema, validate } from '../config.js';
import { ipv4Schema, nameSchema } from '../registry/kinds.js';
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
  | { type: 'hello'; v: 1; id: string; level: Level; address: string }
  /** `rttMs`: the round trip of this session, as earlier states and their acknowledgements show it. */
  | { type: 'state'; n: number; rttMs?: number; subnets: SubnetState[] };

export type Downward =
  | {
      type: 'welcome';
      v: 1;
      id: string;
      level: Level;
      address: string;
      intervalMs: number;
      sources: string[];
    }
  | { type: 'ack'; n: number }
  | { type: 'sources'; sources: string[] };

/** The longest line. */
export const MOST_BYTES = 1 << 18;

const cidr: Schema = { type: 'string', format: 'ipv4-cidr' };
const sources: Schema = { type: 'array', maxItems: 1024, items: cidr };
const count: Schema = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const level: Schema = { enum: [...LEVELS] };
const message = (type: string, properties: Record<string, Schema>, optional: string[] = []): Schema => ({
  type: 'object',
  // A later version may say more.
  additionalProperties: true,
  required: ['type', ...Object.keys(properties).filter((k) => !optional.includes(k))],
  properties: { type: { const: type }, ...properties },
});

const subnets: Schema = {
  type: 'array',
  maxItems: 1024,
  items: {
    type: 'object',
    additionalProperties: true,
    required: ['subnet', 'load', 'available', 'servers'],
    properties: {
      subnet: cidr,
      load: { type: 'number', minimum: 0, maximum: 1 },
      available: { type: 'boolean' },
      servers: { type: 'integer', minimum: 0, maximum: 1_000_000 },
      weight: { type: 'number', minimum: 0, maximum: 1_000_000_000 },
      standby: { type: 'boolean' },
      metrics: { type: 'object', maxProperties: 32, additionalProperties: { type: 'number' } },
    },
  },
};

const UPWARD: Record<string, Schema> = {
  hello: message('hello', { v: { const: 1 }, id: nameSchema, level, address: ipv4Schema }),
  state: message('state', { n: count, rttMs: { type: 'number', minimum: 0 }, subnets }, ['rttMs']),
};

const DOWNWARD: Record<string, Schema> = {
  welcome: message('welcome', {
    v: { const: 1 },
    id: nameSchema,
    level,
    address: ipv4Schema,
    intervalMs: { type: 'integer', minimum: 50, maximum: 60_000 },
    sources,
  }),
  ack: message('ack', { n: count }),
  sources: message('sources', { sources }),
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
