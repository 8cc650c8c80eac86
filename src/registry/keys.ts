/**
 * Names and intervals of the registry in Redis.
 *
 *   firstack:v1:<kind>:<id>        a record, msgpack; TTL of three heartbeats, except for services
 *   firstack:v1:seal:<kind>:<id>   the record's signature, where its role has an identity (`trust/seal.ts`); TTL as the record's
 *   firstack:v1:changes:<topic>    stream, capped: ids of records that have changed
 *   firstack:v1:index:<topic>      set: ids that may exist
 *   firstack:v1:epoch              a changed value means that Redis was emptied
 *   firstack:v1:sweeper            lease of the role that looks for records that expired without an announcement
 *
 * A topic is a kind's name, or `KIND:PART` where a reader wants only a part of a kind's records.
 */
import type { RecordKind } from './kinds.js';

export const PREFIX = 'firstack:v1:';
export const EPOCH = `${PREFIX}epoch`;
export const SWEEPER = `${PREFIX}sweeper`;

export const HEARTBEAT_MS = 1000;
export const TTL_MS = 3 * HEARTBEAT_MS;
/** How often roles that follow replicas ask for changes; the other roles ask with each heartbeat. */
export const POLL_MS = 250;
/** The time that roles have to publish their records again after Redis was lost or emptied. */
export const GRACE_MS = TTL_MS;
export const LEASE_MS = 2500;
/** Some minutes of a large fleet's changes; a role that was away for longer reads all records again. */
export const CHANGES_KEPT = 20_000;
export const CHANGES_TRUSTED_MS = 10_000;

export type Topic = string;

export const keyOf = (kind: string, id: string): string => `${PREFIX}${kind}:${id}`;
/** The key of the seal of the record under `key`. */
export const sealOf = (key: string): string => `${PREFIX}seal:${key.slice(PREFIX.length)}`;
export const changesOf = (topic: Topic): string => `${PREFIX}changes:${topic}`;
export const indexOf = (topic: Topic): string => `${PREFIX}index:${topic}`;
/** The topic `proximity:zurich` is of kind `proximity`. */
export const kindOf = (topic: Topic): string => topic.split(':', 1)[0];

export function topicOf<T>(kind: RecordKind<T>, record: T): Topic {
  return kind.topicOf?.(record) ?? kind.name;
}

/** Kind and id of a record's key, or `index` and topic of an index; undefined for any other key. */
export function parseKey(key: string): { kind: string; id: string } | undefined {
  const match = /^firstack:v1:([a-z][a-z0-9-]*):(.+)$/.exec(key);
  return match === null || match[1] === 'changes' ? undefined : { kind: match[1], id: match[2] };
}

export const keyOfRecord = <T>(kind: RecordKind<T>, record: T): string => keyOf(kind.name, kind.idOf(record));
