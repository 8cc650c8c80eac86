/** Signs the records of this role, where it has an identity. */
import { wallMs } from '../device/wall-clock.js';
import type { Logger } from '../log.js';
import type { Identity } from '../trust/identity.js';
import { makeSeal } from '../trust/seal.js';
import type { RecordKind } from './kinds.js';
import { RESEAL_MS } from './verifier.js';

interface Made {
  record: Buffer;
  atMs: number;
  bytes: Buffer;
}

export class Seals {
  readonly #made = new Map<string, Made>();
  /** Readers believe no earlier time than the last. */
  #lastMs = 0;
  readonly #said = new Set<string>();

  constructor(
    readonly identity: Identity,
    readonly log: Pick<Logger, 'error'>,
    readonly nowMs: () => number = wallMs,
  ) {}

  /** The seal of a record: the one before while the record is the same, and the seal is not old. */
  of(key: string, kind: RecordKind, record: unknown, bytes: Buffer): { bytes: Buffer; isNews: boolean } {
    const before = this.#made.get(key);
    const nowMs = Math.max(Math.floor(this.nowMs()), this.#lastMs + 1);
    const isSame = before?.record.equals(bytes) === true;
    if (isSame && nowMs - before.atMs < RESEAL_MS) return { bytes: before.bytes, isNews: false };
    const why = kind.authority?.(record, this.identity.credential) ?? '';
    if (why !== '') this.#say(`${key}: ${why}: other roles leave this record out`);
    this.#lastMs = nowMs;
    const { signKey, text } = this.identity;
    const made = {
      record: bytes,
      atMs: nowMs,
      bytes: makeSeal(key, bytes, nowMs, { key: signKey, credential: text }),
    };
    this.#made.set(key, made);
    return { bytes: made.bytes, isNews: before !== undefined && isSame };
  }

  /** Looks at Redis's replies to the seals. */
  async written(replies: Promise<[Error | null, unknown][] | null> | undefined): Promise<void> {
    for (const [error] of (await replies) ?? []) {
      if (error === null) continue;
      if (!/NOPERM/.test(error.message)) throw error;
      this.#say(`Redis's access rules do not let this role sign its records (seal:*): ${error.message}`);
    }
  }

  #say(message: string): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    this.log.error({ code: 'FSA_SCOPE' }, message);
  }
}
