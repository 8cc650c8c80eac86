/**
 * Decides which records of the registry count, where roles have identities (`trust/`): those that a machine signed whose
 * credential covers what the record states, and that are not older than what was seen before.
 */
import type { KeyObject } from 'node:crypto';
import { wallMs } from '../device/wall-clock.js';
import { type Credential, openCredential, publicKey, whyNotValid } from '../trust/credential.js';
import { isSigned, PAIR_KEYS, readSeal } from '../trust/seal.js';
import type { RecordKind } from './kinds.js';

/** A living role signs its records again in this interval, changed or not. */
export const RESEAL_MS = 10 * 60_000;
/** Older signatures count for nothing, except of lasting records. Longer than the time in which any reader reads all records again. */
export const OLDEST_SEAL_MS = 60 * 60_000;
/** A time that is further ahead of this host's clock is refused. */
const AHEAD_MS = 5 * 60_000;
const MOST_OPENED = 50_000;

/** What a reader holds about a record that it has accepted. */
export interface Sealed {
  /** When the record was signed; 0 where it is not signed. */
  atMs: number;
  credential: Credential | undefined;
  /** What the record's maker understands (`trust/seal.ts`). */
  able?: number;
}

export interface Verdict extends Sealed {
  /** Why the record counts for nothing; '' where it counts. */
  why: string;
}

interface Opened {
  credential: Credential;
  key: KeyObject;
}

const covering = new WeakMap<object, Sealed>();

/** The credential with which a record of a view was signed; undefined for a record that counts without one. */
export const credentialOf = (record: unknown): Credential | undefined =>
  covering.get(record as object)?.credential;

/** The same, where the record's maker understands the keys of pairs. */
export function pairedCredentialOf(record: unknown): Credential | undefined {
  const sealed = covering.get(record as object);
  return ((sealed?.able ?? 0) & PAIR_KEYS) === 0 ? undefined : sealed!.credential;
}

/**
 * Notes with which credential a record was accepted.
 * @returns whether the keys that its maker shares with others have changed
 */
export function noteCredential(record: unknown, sealed: Sealed): boolean {
  const before = pairedCredentialOf(record)?.exchange;
  if (sealed.credential !== undefined) covering.set(record as object, sealed);
  return pairedCredentialOf(record)?.exchange !== before;
}

export class Verifier {
  /** Credentials that the fleet's key has signed. */
  readonly #opened = new Map<string, Opened>();
  #revoked: ReadonlySet<string> = new Set();

  /** @param refuses false while a fleet is being given identities: then what would be refused is said, and counts */
  constructor(
    readonly fleet: KeyObject,
    readonly refuses: boolean,
    readonly nowMs: () => number = wallMs,
  ) {}

  /** @param last what this reader has under the key */
  judge(
    kind: RecordKind,
    key: string,
    record: unknown,
    bytes: Buffer,
    sealBytes: Buffer | null,
    last: Sealed | undefined,
  ): Verdict {
    const refuse = (why: string): Verdict => ({ why, atMs: 0, credential: undefined });
    if (sealBytes === null) return refuse('it is not signed');
    const seal = readSeal(sealBytes);
    if (seal === undefined) return refuse('its seal is malformed');
    const opened = this.#open(seal.credential);
    if (typeof opened === 'string') return refuse(opened);
    const { credential } = opened;
    // Two origins of one service sign its record in turn.
    const isOlder = last?.credential?.sub === credential.sub && seal.atMs < last.atMs;
    // The signature comes last, because it alone takes a tenth of a millisecond.
    const why =
      (isOlder ? 'it is older than what was read before' : '') ||
      this.whyOld(kind, { atMs: seal.atMs, credential }) ||
      (kind.authority?.(record, credential) ?? '') ||
      (isSigned(key, bytes, seal, opened.key) ? '' : 'its signature is wrong');
    return why === '' ? { why, atMs: seal.atMs, credential, able: seal.able } : refuse(why);
  }

  /** Why a record that was accepted once counts no longer; '' where it does. */
  whyOld(kind: RecordKind, { atMs, credential }: Sealed): string {
    if (credential === undefined) return '';
    const nowMs = this.nowMs();
    if (this.#revoked.has(credential.jti)) return 'its credential is revoked';
    if (atMs > nowMs + AHEAD_MS) return 'it is signed for a time that is to come';
    if (kind.isLasting !== true && nowMs - atMs > OLDEST_SEAL_MS) return 'its signature is too old';
    return whyNotValid(credential, nowMs);
  }

  /** @param serials of all revoked credentials */
  revoke(serials: readonly string[]): void {
    this.#revoked = new Set(serials);
  }

  #open(text: string): Opened | string {
    const known = this.#opened.get(text);
    if (known !== undefined) return known;
    try {
      const credential = openCredential(text, this.fleet);
      const opened = { credential, key: publicKey(credential.sign) };
      if (this.#opened.size >= MOST_OPENED) this.#opened.clear();
      this.#opened.set(text, opened);
      return opened;
    } catch (error) {
      return (error as Error).message;
    }
  }
}
