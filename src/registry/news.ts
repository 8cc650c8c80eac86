/**
 * Decides whether a change of a record is announced, and how soon. Every heartbeat writes the record, but only some
 * changes are announced, because each announcement makes a whole fleet read.
 */
import type { News, RecordKind } from './kinds.js';
import type { Ownership } from './ownership.js';

/** A record of this role, and the version of it that other roles know. */
export interface Own {
  kind: RecordKind;
  value: unknown;
  /** The record as it was last announced; undefined when it must be announced. */
  told: unknown;
  toldAt: number;
  indexed: boolean;
  /** Set for a record of an identity. */
  ownership?: Ownership;
}

/** @param told the record as it was announced last; undefined when it never was */
export function newsOf<T>(kind: RecordKind<T>, told: T | undefined, now: T): News {
  if (told === undefined) return 'now';
  if (kind.newsOf !== undefined) return kind.newsOf(told, now);
  return JSON.stringify(told) === JSON.stringify(now) ? 'none' : 'now';
}
