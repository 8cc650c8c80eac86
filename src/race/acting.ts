/**
 * What gateways and origins act on: each publishes which draining replicas its data plane no longer gives new
 * connections to. A drain is complete only when every living gateway has said so; a registry that the gateways
 * cannot read would otherwise look like their agreement.
 */
import { nameSchema, type RecordKind, recordSchema, type View } from '../registry/kinds.js';
import { coversHolder } from '../trust/scope.js';
import { gatewayKind, replicaKind } from './records.js';

export interface ActingRecord {
  v: 1;
  /** `gateway-ID` or `origin-INSTANCE`. */
  id: string;
  /** Ids of the replicas in state draining that get no new connections from here. */
  draining: string[];
  /** The role is being stopped, and sends nothing any more. */
  leaving?: boolean;
}

const idSchema = { type: 'string', minLength: 1, maxLength: 80 } as const;
const schema = recordSchema(
  1,
  { id: idSchema, draining: { type: 'array', items: nameSchema }, leaving: { type: 'boolean' } },
  ['id', 'draining'],
);

export const actingKind: RecordKind<ActingRecord> = {
  name: 'acting',
  isOptional: true,
  isUnswept: true,
  isLeftToExpire: true,
  schemaOf: () => schema,
  idOf: (r) => r.id,
  authority: ({ id }, by) =>
    isGateway(id)
      ? coversHolder(by, 'gateway', id.slice(gatewayActs(0).length - 1))
      : coversHolder(by, 'origin', id.slice(originActs('').length)),
};

export const gatewayActs = (gatewayId: number): string => `gateway-${gatewayId}`;
export const isGateway = (id: string): boolean => id.startsWith('gateway-');
export const originActs = (instance: string): string => `origin-${instance}`;

/** The record of a role that acts on this view. */
export const actingOn = (view: View, id: string): ActingRecord => ({
  v: 1,
  id,
  draining: view
    .of(replicaKind)
    .filter((r) => r.state === 'draining')
    .map((r) => r.id)
    .sort(),
});

/** The last record of a role that is being stopped. It is left to expire, so that every replica can read it. */
export const farewell = (id: string): ActingRecord => ({ v: 1, id, draining: [], leaving: true });

/**
 * The roles that may still give new connections to a draining replica, each with the reason; none where the registry
 * has no such records (a file).
 */
export function unacknowledged(view: View, replica: string): string[] {
  if (!view.tells(actingKind as RecordKind)) return [];
  const acting = new Map(view.of(actingKind).map((r) => [r.id, r]));
  const gateways = view.of(gatewayKind).map((g) => gatewayActs(g.id));
  const origins = [...acting.keys()].filter((id) => id.startsWith('origin-'));
  return [...gateways, ...origins].flatMap((id) => {
    const record = acting.get(id);
    if (record === undefined)
      return [
        `${id} does not say what it acts on (an older version, or Redis's access rules without acting:*)`,
      ];
    return record.leaving === true || record.draining.includes(replica)
      ? []
      : [`${id} has not taken over the drain`];
  });
}
