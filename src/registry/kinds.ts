/**
 * What the registry can hold, as data: one {@link RecordKind} per kind of record, brought by the program that owns it; and
 * the {@link View} that a role has of all records. The registry itself knows no kind.
 */
import type { Schema } from '../config.js';

/** How soon others must know of a change. */
export type News = 'now' | 'later' | 'none';

export interface RecordKind<T = unknown> {
  /** In keys, `firstack:v1:NAME:ID`, and the topic of its changes where {@link topicOf} is not given. */
  readonly name: string;
  /** The schema of a record in the form that `value` has. */
  schemaOf(value: unknown): Schema;
  /** Brings a valid record of an earlier form up to the present one. */
  upgrade?(value: unknown): T;
  /** The form in which a record is written, for readers of an earlier version. */
  write?(record: T): unknown;
  /** A record's name inside its kind. */
  idOf(record: T): string;
  /** The kind, or `KIND:PART` where a reader wants only a part of the kind's records. */
  topicOf?(record: T): string;
  /** Its key in a registry file; a kind without one stands in no file. */
  readonly inFile?: string;
  /** It outlives the role that wrote it: without a time to live, and not withdrawn on a stop. */
  readonly isLasting?: boolean;
  /** Forgotten at once when its key is missing; else a heartbeat or two later. */
  readonly isForgottenAtOnce?: boolean;
  /** A reader of this kind asks for changes several times a second. */
  readonly isUrgent?: boolean;
  /** Each record stands for a role that reads the registry: often, where it follows an urgent kind. */
  readonly reader?: 'often' | 'seldom';
  /** What a change is worth; by default every change is news now. @param told as it was announced last */
  newsOf?(told: T, now: T): News;
  /** News that can wait is announced at most so often. */
  readonly laterMs?: number;
  /** Expired records are not looked for: hints that die by themselves. */
  readonly isUnswept?: boolean;
}

/** All records that a role knows. Replaced, never changed. */
export class View {
  constructor(readonly lists: ReadonlyMap<string, readonly unknown[]>) {}

  static of(...lists: (readonly [RecordKind, readonly unknown[]])[]): View {
    return new View(new Map(lists.map(([kind, records]) => [kind.name, records])));
  }

  /** The records of a kind, by their ids in order; none where the registry does not tell. */
  of<T>(kind: RecordKind<T>): readonly T[] {
    return (this.lists.get(kind.name) as readonly T[] | undefined) ?? [];
  }

  /** Whether this registry tells of a kind at all: a file holds some kinds only. */
  tells(kind: RecordKind): boolean {
    return this.lists.has(kind.name);
  }
}

/** The pieces of which kinds make their schemas. */
export const nameSchema: Schema = { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' };
export const portSchema: Schema = { type: 'integer', minimum: 1, maximum: 65535 };
export const ipv4Schema: Schema = { type: 'string', format: 'ipv4' };

/** The schema of a record: an object with these properties, and a version that says its form. */
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
