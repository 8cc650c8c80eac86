/** The records that a role knows, and the view that they make. Pure: no Redis in here. */
import { unpack } from 'msgpackr';
import { validate } from '../config.js';
import type { Logger } from '../log.js';
import { GRACE_MS, keyOf, parseKey } from './keys.js';
import { idOf, type Kind, type Records, schemas, type View } from './records.js';

interface Entry {
  value: Records[Kind];
  raw: Buffer;
  /** When its key was first found missing; 0 while it is there. */
  missingSince: number;
}

const KINDS: Kind[] = ['service', 'replica', 'gateway', 'origin', 'proximity'];

export class Known {
  view: View = { services: [], replicas: [], gateways: [], origins: [], proximities: [] };
  readonly #kinds = new Map<Kind, Map<string, Entry>>(KINDS.map((k) => [k, new Map()]));
  /** Ids in the order of the view; undefined when one came or went. */
  readonly #order = new Map<Kind, string[]>();
  readonly #stale = new Set<Kind>();
  /** Keys that are missing but not forgotten yet. */
  readonly #missing = new Set<string>();

  constructor(readonly log: Pick<Logger, 'warn'>) {}

  get count(): number {
    return KINDS.reduce((n, kind) => n + this.#kinds.get(kind)!.size, 0);
  }
  /** Keys to be looked at again, until they are back or forgotten. */
  get missing(): string[] {
    return [...this.#missing];
  }
  keys(kinds: readonly Kind[]): string[] {
    return kinds.flatMap((kind) => [...this.#kinds.get(kind)!.keys()].map((id) => keyOf(kind, id)));
  }
  has(key: string): boolean {
    const at = parseKey(key);
    return at !== undefined && this.#kinds.get(at.kind as Kind)!.has(at.id);
  }

  /**
   * Takes over what Redis has under a key; null when nothing.
   * @param graceUntil nobody is forgotten before (ms, `performance.now`)
   */
  take(key: string, bytes: Buffer | null, now: number, graceUntil: number): void {
    const at = parseKey(key);
    if (at === undefined) return;
    const kind = at.kind as Kind;
    const entries = this.#kinds.get(kind)!;
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
    if (known === undefined) this.#order.delete(kind);
    entries.set(at.id, { value, raw: bytes, missingSince: 0 });
    this.#stale.add(kind);
  }

  /**
   * A replica that is not there is not raced, at once. Whose absence would end a service's steering is
   * waited for; and nobody is forgotten just because Redis came back empty.
   */
  #miss(key: string, kind: Kind, id: string, known: Entry, now: number, graceUntil: number): void {
    if (known.missingSince === 0) known.missingSince = now;
    const patient = kind !== 'replica' && kind !== 'origin' && now - known.missingSince < GRACE_MS;
    if (now < graceUntil || patient) {
      this.#missing.add(key);
      return;
    }
    this.#missing.delete(key);
    this.#forget(kind, id);
  }

  #forget(kind: Kind, id: string): void {
    this.#kinds.get(kind)!.delete(id);
    this.#order.delete(kind);
    this.#stale.add(kind);
  }

  /** Drops every record of other kinds. */
  keepOnly(kinds: readonly Kind[]): void {
    for (const kind of KINDS)
      if (!kinds.includes(kind)) for (const id of [...this.#kinds.get(kind)!.keys()]) this.#forget(kind, id);
    for (const key of this.#missing) if (!this.has(key)) this.#missing.delete(key);
  }

  /** Makes the view anew where it changed. @returns whether it did */
  rebuild(): boolean {
    if (this.#stale.size === 0) return false;
    this.view = {
      services: this.#list('service', this.view.services),
      replicas: this.#list('replica', this.view.replicas),
      gateways: this.#list('gateway', this.view.gateways),
      origins: this.#list('origin', this.view.origins ?? []),
      proximities: this.#list('proximity', this.view.proximities ?? []),
    };
    this.#stale.clear();
    return true;
  }

  #list<K extends Kind>(kind: K, before: Records[K][]): Records[K][] {
    if (!this.#stale.has(kind)) return before;
    const entries = this.#kinds.get(kind)!;
    let order = this.#order.get(kind);
    if (order === undefined) {
      order = [...entries.keys()].sort((a, b) => (a < b ? -1 : 1));
      this.#order.set(kind, order);
    }
    return order.map((id) => entries.get(id)!.value as Records[K]);
  }

  #decode(key: string, kind: Kind, bytes: Buffer): Records[Kind] | undefined {
    try {
      const value = unpack(bytes) as Records[Kind];
      const problems = validate(value, schemas[kind], () => key);
      if (problems.length === 0 && key === keyOf(kind, idOf(kind, value))) return value;
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
