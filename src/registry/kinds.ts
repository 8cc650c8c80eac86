/**
 * The kinds of records in the registry, as data: one {@link RecordKind} per kind, declared by the program that owns
 * it. And the {@link View} that a role has of all records. The registry itself knows no kind.
 */
import type { Schema } from '../config.js';
import type { Credential } from '../trust/credential.js';

/** How soon other roles must learn of a change. */
export type News = 'now' | 'later' | 'none';

export interface RecordKind<T = unknown> {
  /** The name in keys, `firstack:v1:NAME:ID`, and the topic of changes where {@link topicOf} is not given. */
  readonly name: string;
  /** The schema of a record in the form that `value` has. */
  schemaOf(value: unknown): Schema;
  /** Converts a valid record of an earlier form to the present form. */
  upgrade?(value: unknown): T;
  /** The form in which a record is written, for readers of an earlier version. */
  write?(record: T): unknown;
  /** A record's name inside its kind. */
  idOf(record: T): string;
  /** The kind, or `KIND:PART` where a reader wants only a part of the kind's records. */
  topicOf?(record: T): string;
  /** Its key in a registry file; a kind without one cannot be in a file. */
  readonly inFile?: string;
  /** The record outlives the role that wrote it: it has no time to live, and is not withdrawn on a stop. */
  readonly isLasting?: boolean;
  /** A stopping role does not withdraw the record: readers may still want to read it. */
  readonly isLeftToExpire?: boolean;
  /** A record is forgotten at once when its key is missing; else a heartbeat or two later. */
  readonly isForgottenAtOnce?: boolean;
  /** Readers of this kind ask for changes several times a second. */
  readonly isUrgent?: boolean;
  /** Each record stands for a role that reads the registry: often, where that role follows an urgent kind. */
  readonly reader?: 'often' | 'seldom';
  /** How soon a change is announced; by default now. @param told the record as it was last announced */
  newsOf?(told: T, now: T): News;
  /** The least interval between two announcements of changes that can wait. */
  readonly laterMs?: number;
  /** Each record belongs to one machine; a second one that publishes it is refused (`ownership.ts`). */
  readonly isIdentity?: boolean;
  /**
   * Why a credential does not cover what a record states; '' where it does. Without it any credential of the fleet
   * covers the kind's records.
   */
  authority?(record: T, by: Credential): string;
  /** Where the registry's access rules do not allow the record, the role does without it. */
  readonly isOptional?: boolean;
  /** The sweeper does not look for expired records of this kind, because they are hints without consequences. */
  readonly isUnswept?: boolean;
}

/**
 * Gives the records of one kind as a list. The list is made at the first call: in a large fleet the registry makes several views a
 * second, and its readers use few of them.
 */
export type Listed = () => readonly unknown[];

/** Puts a list together once. */
export function once(make: Listed): Listed {
  let list: readonly unknown[] | undefined;
  return () => {
    list ??= make();
    return list;
  };
}

/** All records that a role knows. A view is replaced, never changed. */
export class View {
  constructor(readonly lists: ReadonlyMap<string, Listed>) {}

  static of(...lists: (readonly [RecordKind, readonly unknown[]])[]): View {
    return new View(new Map(lists.map(([kind, records]) => [kind.name, () => records])));
  }

  /** The records of a kind, in the order of their ids; none where the registry does not have the kind. */
  of<T>(kind: RecordKind<T>): readonly T[] {
    return (this.lists.get(kind.name)?.() as readonly T[] | undefined) ?? [];
  }

  /** Whether this registry has a kind at all: a file has some kinds only. */
  tells(kind: RecordKind): boolean {
    return this.lists.has(kind.name);
  }
}

/** Parts from which kinds compose their schemas. */
export const nameSchema: Schema = { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' };
export const portSchema: Schema = { type: 'integer', minimum: 1, maximum: 65535 };
export const ipv4Schema: Schema = { type: 'string', format: 'ipv4' };
export const ipv6Schema: Schema = { type: 'string', format: 'ipv6' };
/** At which a service can be. */
export const serviceIpSchema: Schema = { type: 'string', format: 'service-ip' };

/** The schema of a record: an object with these properties, and a version that tells its form. */
export const recordSchema = (
  version: number,
  properties: Record<string, Schema>,
  required: string[],
): Schema => ({
  type: 'object',
  additionalProperties: false,
  properties: { v: { const: version, default: version }, ...properties },
  required,
});
