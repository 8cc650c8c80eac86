/**
 * Keys that two machines share, and no third one can compute: X25519 (RFC 7748) between their identities, then HKDF with
 * SHA-256 (RFC 5869). Nothing is exchanged: each machine has the other's public key from the credential beside its records.
 *
 * Rotation: the credential names the key before it too, and the machine keeps that key. What others send with it is
 * accepted for a week; for the first seconds of its life a machine sends with it, until its peers have read its record.
 */
import { createPrivateKey, createPublicKey, diffieHellman, hkdfSync, type KeyObject } from 'node:crypto';
import { wallMs } from '../device/wall-clock.js';
import type { Credential } from './credential.js';
import type { Identity } from './identity.js';

/** A key of 16 bytes as four words, and its number, by which a receiver finds it. */
export interface PairKey {
  /** 0 … 15 */
  id: number;
  words: number[];
}

/** How long after it was issued a credential's former key counts. */
const FORMER_MS = 7 * 86_400_000;
/** How long a machine that starts sends with its former key. */
const SETTLE_MS = 10_000;
/** The keys that are remembered. */
const MOST_KEPT = 50_000;
const KEY_BYTES = 16;

type Peer = Pick<Credential, 'exchange' | 'former' | 'nbf'>;

interface Own {
  key: KeyObject;
  /** Its public half. */
  text: string;
}

export class PairKeys {
  readonly #present: Own;
  readonly #former: Own | undefined;
  readonly #nbf: number;
  readonly #startedMs: number;
  readonly #kept = new Map<string, PairKey | undefined>();

  constructor(
    { credential, exchangeKey, formerKey }: Pick<Identity, 'credential' | 'exchangeKey' | 'formerKey'>,
    readonly nowMs: () => number = wallMs,
  ) {
    this.#present = ownOf(exchangeKey);
    this.#former = formerKey === undefined ? undefined : ownOf(formerKey);
    this.#nbf = credential.nbf;
    this.#startedMs = nowMs();
  }

  /** Whether this machine sends with its present key. Changes once, {@link SETTLE_MS} after the start. */
  get isSettled(): boolean {
    return !this.#mayUseFormer || this.nowMs() - this.#startedMs >= SETTLE_MS;
  }

  get #mayUseFormer(): boolean {
    return this.#former !== undefined && isRecent(this.#nbf, this.nowMs());
  }

  /** The key for what this machine sends to a peer; undefined where the peer's is no key. */
  toward(peer: Peer): PairKey | undefined {
    return this.#shared(this.isSettled ? this.#present : this.#former!, peer.exchange);
  }

  /** The keys with which a peer may have made what it sends. */
  from(peer: Peer): PairKey[] {
    const own = this.#mayUseFormer ? [this.#present, this.#former!] : [this.#present];
    const former = peer.former !== undefined && isRecent(peer.nbf, this.nowMs()) ? [peer.former] : [];
    return own.flatMap((o) => [peer.exchange, ...former].flatMap((text) => this.#shared(o, text) ?? []));
  }

  #shared(own: Own, peer: string): PairKey | undefined {
    const name = `${own.text}.${peer}`;
    if (!this.#kept.has(name)) {
      if (this.#kept.size >= MOST_KEPT) this.#kept.clear();
      this.#kept.set(name, derive(own, peer));
    }
    return this.#kept.get(name);
  }
}

const isRecent = (nbf: number, nowMs: number): boolean => nowMs < nbf * 1000 + FORMER_MS;

/** The public half is computed from the private one; the field x is not looked at. */
function ownOf(secret: string): Own {
  const key = createPrivateKey({ key: { kty: 'OKP', crv: 'X25519', d: secret, x: secret }, format: 'jwk' });
  return { key, text: createPublicKey(key).export({ format: 'jwk' }).x! };
}

function derive(own: Own, peer: string): PairKey | undefined {
  const info = `firstack pair\0${[own.text, peer].sort().join('\0')}`;
  try {
    const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: peer }, format: 'jwk' });
    const secret = diffieHellman({ privateKey: own.key, publicKey });
    const bytes = new DataView(hkdfSync('sha256', secret, '', info, KEY_BYTES + 1));
    return {
      id: bytes.getUint8(KEY_BYTES) & 15,
      words: [0, 4, 8, 12].map((at) => bytes.getInt32(at, true)),
    };
  } catch {
    // A point of low order: the secret would be the same for everyone.
    return undefined;
  }
}
