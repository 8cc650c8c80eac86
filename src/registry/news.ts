/**
 * What others must know of a record's change, and how soon. Every heartbeat writes the record; only news
 * is announced, since an announcement makes a whole fleet read.
 */
import type { News, RecordKind } from './kinds.js';

/** A record of a role's own, and what others have heard of it. */
export interface Own {
  kind: RecordKind;
  value: unknown;
  /** As it was announced last; undefined when it must be. */
  told: unknown;
  toldAt: number;
  indexed: boolean;
}

/** @param told the record as it was announced last; undefined when it never was */
export function newsOf<T>(kind: RecordKind<T>, told: T | undefined, now: T): News {
  if (told === undefined) return 'now';
  if (kind.newsOf !== undefined) return kind.newsOf(told, now);
  return JSON.stringify(told) === JSON.stringify(now) ? 'none' : 'now';
}
