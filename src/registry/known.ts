/** The records that a role knows, and the view of them. Pure: no Redis here. */
import { unpack } from 'msgpackr';
import { validate } from '../config.js';
import type { Logger } from '../log.js';
import { GRACE_MS, keyOf, keyOfRecord, parseKey } from './keys.js';
import { type RecordKind, View } from './kinds.js';

interface Entry {
  value: unknown;
  raw: Buffer;
  /** When the key was first found missing; 0 while it exists. */
  missingSince: number;
}

export class Known {
  view: View;
  readonly #kinds: ReadonlyMap<string, RecordKind>;
  readonly #entries: ReadonlyMap<string, Map<string, Entry>>;
  /** Ids in the order of the view; undefined when a record was added or removed. */
  readonly #order = new Map<string, string[]>();
  readonly #stale = new Set<string>();
  /** Keys that are missing while their records are not forgotten yet. */
  readonly #missing = new Set<string>();

  constructor(
    readonly log: Pick<Logger, 'warn'>,
    kinds: readonly RecordKind[],
  ) {
    this.#kinds = new Map(kinds.map((k) => [k.name, k]));
    this.#entries = new Map(kinds.map((k) => [k.name, new Map()]));
    this.view = new View(new Map(kinds.map((k) => [k.name, []])));
  }

  get count(): number {
    let count = 0;
    for (const entries of this.#entries.values()) count += entries.size;
    return count;
  }
  /** Keys to be read again, until they exist again or are forgotten. */
  get missing(): string[] {
    return [...this.#missing];
  }
  keys(kinds: readonly string[]): string[] {
    return kinds.flatMap((kind) => [...this.#entries.get(kind)!.keys()].map((id) => keyOf(kind, id)));
  }
  has(key: string): boolean {
    const at = parseKey(key);
    return at !== undefined && this.#entries.get(at.kind)?.has(at.id) === true;
  }

  /**
   * Takes over the value that Redis has under a key; null when it has none.
   * @param graceUntil no record is forgotten before this time (ms, `performance.now`)
   */
  take(key: string, bytes: Buffer | null, now: number, graceUntil: number): void {
    const at = parseKey(key);
    const kind = at && this.#kinds.get(at.kind);
    if (at === undefined || kind === undefined) return;
    const entries = this.#entries.get(kind.name)!;
    const known = entries.get(at.id);
    if (bytes === null) {
      if (known !== undefined) this.#miss(key, kind, at.id, known, now, graceUntil);
      else this.#missing.delete(key);
      return;
    }
    this.#missing.delete(key);
    if (known?.raw.equals(bytes)) {
      known.missingSince = 0;
      return;
    }
    const value = this.#decode(key, kind, bytes);
    if (value === undefined) return;
    if (known === undefined) this.#order.delete(kind.name);
    entries.set(at.id, { value, raw: bytes, missingSince: 0 });
    this.#stale.add(kind.name);
  }

  /**
   * Records of some kinds are forgotten at once. A record whose absence would end a service's steering is forgotten
   * only after a while, and no record is forgotten only because Redis came back empty.
   */
  #miss(key: string, kind: RecordKind, id: string, known: Entry, now: number, graceUntil: number): void {
    if (known.missingSince === 0) known.missingSince = now;
    const patient = kind.isForgottenAtOnce !== true && now - known.missingSince < GRACE_MS;
    if (now < graceUntil || patient) {
      this.#missing.add(key);
      return;
    }
    this.#missing.delete(key);
    this.#forget(kind.name, id);
  }

  #forget(kind: string, id: string): void {
    this.#entries.get(kind)!.delete(id);
    this.#order.delete(kind);
    this.#stale.add(kind);
  }

  /** Drops every record of other kinds. */
  keepOnly(kinds: readonly string[]): void {
    for (const [kind, entries] of this.#entries)
      if (!kinds.includes(kind)) for (const id of [...entries.keys()]) this.#forget(kind, id);
    for (const key of this.#missing) if (!this.has(key)) this.#missing.delete(key);
  }

  /** Rebuilds the changed parts of the view. @returns whether there were any */
  rebuild(): boolean {
    if (this.#stale.size === 0) return false;
    const lists = new Map(this.view.lists);
    for (const kind of this.#stale) lists.set(kind, this.#list(kind));
    this.view = new View(lists);
    this.#stale.clear();
    return true;
  }

  #list(kind: string): unknown[] {
    const entries = this.#entries.get(kind)!;
    let order = this.#order.get(kind);
    if (order === undefined) {
      order = [...entries.keys()].sort((a, b) => (a < b ? -1 : 1));
      this.#order.set(kind, order);
    }
    return order.map((id) => entries.get(id)!.value);
  }

  #decode(key: string, kind: RecordKind, bytes: Buffer): unknown {
    try {
      const value: unknown = unpack(bytes);
      const problems = validate(value, kind.schemaOf(value), () => key);
      const record = problems.length > 0 ? undefined : (kind.upgrade?.(value) ?? value);
      if (record !== undefined && key === keyOfRecord(kind, record)) return record;
      this.log.warn(
        { key, problems: problems.map((p) => p.message) },
        'a registry record does not fit: left out',
      );
    } catch (error) {
      this.log.warn({ key, error: (error as Error).message }, 'a registry record cannot be read: left out');
    }
    return undefined;
  }
}
