/**
 * What others must know of a record's change, and how soon. Every heartbeat writes the record; only news
 * is announced, since an announcement makes a whole fleet read.
 */
import type { Kind, OriginRecord, ProximityRecord, Records, ReplicaRecord } from './records.js';

export type News = 'now' | 'later' | 'none';

/** A record of a role's own, and what others have heard of it. */
export interface Own {
  kind: Kind;
  value: Records[Kind];
  /** As it was announced last; undefined when it must be. */
  told: Records[Kind] | undefined;
  toldAt: number;
  indexed: boolean;
}

/** Less of a change in load is nobody's news. */
export const LOAD_STEP = 0.1;
/** News that can wait is told at most so often. */
export const LATER_MS: Record<Kind, number> = {
  service: 0,
  replica: 2000,
  gateway: 0,
  origin: 0,
  proximity: 5000,
};

/** @param told the record as it was announced last; undefined when it never was */
export function newsOf<K extends Kind>(kind: K, told: Records[K] | undefined, now: Records[K]): News {
  if (told === undefined || decisive(kind, told) !== decisive(kind, now)) return 'now';
  if (kind === 'replica') {
    const moved = Math.abs((now as ReplicaRecord).load - (told as ReplicaRecord).load);
    // A hair less than the step: 0.4 − 0.3 is 0.1 to a person only.
    return moved > LOAD_STEP - 1e-9 ? 'later' : 'none';
  }
  return kind === 'proximity' && JSON.stringify(told) !== JSON.stringify(now) ? 'later' : 'none';
}

/** The part of a record that others act upon at once, as text. */
function decisive<K extends Kind>(kind: K, record: Records[K]): string {
  if (kind === 'replica') {
    const { v, id, address, services, state, clock } = record as ReplicaRecord;
    return JSON.stringify([v, id, address, services, state, clock]);
  }
  // Distances are the origin's own business; they stand there for a person to read.
  if (kind === 'origin') return JSON.stringify({ ...(record as OriginRecord), distancesMs: undefined });
  // A machine that was not measured before is worth knowing; another microsecond is not.
  if (kind === 'proximity')
    return JSON.stringify(
      (record as ProximityRecord).entries.map((e) => `${e.service}/${e.candidate}`).sort(),
    );
  return JSON.stringify(record);
}
