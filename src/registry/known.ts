/** The records that a role knows, and the view of them. Pure: no Redis here. */
import { unpack } from 'msgpackr';
import { validate } from '../config.js';
import type { Logger } from '../log.js';
import { GRACE_MS, keyOf, keyOfRecord, parseKey } from './keys.js';
import { once, type RecordKind, View } from './kinds.js';
import { Refusals } from './refusals.js';
import { type RevocationRecord, revocationKind } from './revocation.js';
import { noteCredential, type Sealed, type Verifier } from './verifier.js';

interface Entry extends Sealed {
  value: unknown;
  raw: Buffer;
  seal: Buffer | null;
  /** Why it would be left out, were records without authority refused. */
  why: string;
  /** When it was last found as it is, ms (`performance.now`). */
  foundAt: number;
  /** When the key was first found missing; 0 while it exists. */
  missingSince: number;
}

/**
 * For how long a record is kept under whose key there is one that counts for nothing: its role writes it again within a
 * second.
 */
const OVERWRITTEN_MS = 60_000;

export class Known {
  view: View;
  readonly refusals: Refusals;
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
    readonly verifier?: Verifier,
  ) {
    this.refusals = new Refusals(log);
    this.#kinds = new Map(kinds.map((k) => [k.name, k]));
    this.#entries = new Map(kinds.map((k) => [k.name, new Map()]));
    this.view = new View(new Map(kinds.map((k) => [k.name, once(() => [])])));
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
   * @param seal what Redis has beside it; null for nothing
   */
  take(key: string, bytes: Buffer | null, now: number, graceUntil: number, seal: Buffer | null = null): void {
    const at = parseKey(key);
    const kind = at && this.#kinds.get(at.kind);
    if (at === undefined || kind === undefined) return;
    const entries = this.#entries.get(kind.name)!;
    const known = entries.get(at.id);
    if (bytes === null) {
      this.refusals.forget(key);
      if (known !== undefined) this.#miss(key, kind, at.id, known, now, graceUntil);
      else this.#missing.delete(key);
      return;
    }
    this.#missing.delete(key);
    const isSame = known?.raw.equals(bytes) === true;
    if (isSame && this.#isStillSealed(kind, known, seal)) {
      if (known.why === '') this.refusals.forget(key);
      else this.refusals.say(key, known.why, false, now);
      known.missingSince = 0;
      known.foundAt = now;
      return;
    }
    const value = isSame ? known.value : this.#decode(key, kind, bytes);
    if (value === undefined) return;
    const verdict = this.verifier?.judge(kind, key, value, bytes, seal, known);
    if (verdict === undefined || verdict.why === '') this.refusals.forget(key);
    else if (this.#refuse(key, kind, at.id, known, verdict.why, now)) return;
    const hasNewKeys = verdict !== undefined && noteCredential(value, verdict);
    if (known === undefined) this.#order.delete(kind.name);
    entries.set(at.id, {
      ...{ value, raw: bytes, seal, missingSince: 0, foundAt: now },
      ...{ atMs: verdict?.atMs ?? 0, credential: verdict?.credential, why: verdict?.why ?? '' },
    });
    if (!isSame || hasNewKeys) this.#stale.add(kind.name);
    if (kind.name === revocationKind.name) this.#revoke(value as RevocationRecord);
  }

  /** Whether nothing has changed about a record's seal, and it still counts. */
  #isStillSealed(kind: RecordKind, known: Entry, seal: Buffer | null): boolean {
    if (this.verifier === undefined) return true;
    const isSame = seal === null ? known.seal === null : known.seal?.equals(seal) === true;
    return isSame && this.verifier.whyOld(kind, known) === '';
  }

  /**
   * A record that counts for nothing changes nothing: what was known before stays known for a while.
   * @returns whether it is left out
   */
  #refuse(
    key: string,
    kind: RecordKind,
    id: string,
    known: Entry | undefined,
    why: string,
    now: number,
  ): boolean {
    const { refuses } = this.verifier!;
    const isOpen = this.refusals.say(key, why, refuses, now);
    if (!refuses) return false;
    const isOver =
      known !== undefined &&
      (now - known.foundAt > OVERWRITTEN_MS || this.verifier!.whyOld(kind, known) !== '');
    if (isOver) this.#forget(kind.name, id);
    // A record and its seal are written one after the other, so what does not fit is read once more.
    if (isOpen || (known !== undefined && !isOver)) this.#missing.add(key);
    return true;
  }

  /** Forgets what holders of revoked credentials have stated. */
  #revoke({ serials }: RevocationRecord): void {
    if (this.verifier === undefined) return;
    this.verifier.revoke(serials);
    const revoked = new Set(serials);
    for (const [kind, entries] of this.#entries)
      for (const [id, { credential }] of [...entries])
        if (credential !== undefined && revoked.has(credential.jti)) this.#forget(kind, id);
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
    for (const kind of this.#stale)
      lists.set(
        kind,
        once(() => this.#list(kind)),
      );
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
