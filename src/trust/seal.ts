/**
 * The seal of a registry record: who states it, when, and the signature. It stands under a key of its own, beside the
 * record's, so that roles of an earlier version read the record as before.
 *
 *   firstack:v1:seal:KIND:ID    [1, time (ms), signature, credential, able, signature of able], msgpack
 *
 * The signature is over the record's key, the time and the record's bytes. `able` has one bit for each thing that its
 * maker understands and an earlier version does not ({@link PAIR_KEYS}). Seals of the first version end before it, and
 * their readers do not look at it; so it has a signature of its own, over itself and the first signature. Who may write
 * the seal can only take both away, and make the machine's peers treat it as an earlier version.
 */
import { type KeyObject, sign, verify } from 'node:crypto';
import { pack, unpack } from 'msgpackr';

const VERSION = 1;

/** In `able`: tags and probes with the keys of pairs (`pair-keys.ts`). */
export const PAIR_KEYS = 1;
/** Longer values are no seal. */
const LONGEST = 8192;

export interface Seal {
  /** When the record was signed, ms of wall clock. */
  atMs: number;
  signature: Uint8Array;
  /** The credential's text. */
  credential: string;
  /** 0 in a seal of the first version. */
  able: number;
  ableSignature: Uint8Array | undefined;
}

export function makeSeal(
  key: string,
  bytes: Uint8Array,
  atMs: number,
  signing: { key: KeyObject; credential: string },
): Buffer {
  const signature = sign(null, message(key, atMs, bytes), signing.key);
  const ableSignature = sign(null, ableMessage(PAIR_KEYS, signature), signing.key);
  return pack([VERSION, atMs, signature, signing.credential, PAIR_KEYS, ableSignature]);
}

/** @returns undefined for bytes that are no seal */
export function readSeal(bytes: Buffer): Seal | undefined {
  if (bytes.length > LONGEST) return undefined;
  try {
    const value: unknown = unpack(bytes);
    if (!Array.isArray(value)) return undefined;
    const [version, atMs, signature, credential, able, ableSignature] = value;
    const isFirst = value.length === 4;
    const isSeal =
      version === VERSION &&
      Number.isSafeInteger(atMs) &&
      signature instanceof Uint8Array &&
      typeof credential === 'string' &&
      (isFirst || (Number.isInteger(able) && able >>> 0 === able && ableSignature instanceof Uint8Array));
    if (!isSeal) return undefined;
    return { atMs, signature, credential, able: isFirst ? 0 : able, ableSignature };
  } catch {
    return undefined;
  }
}

export const isSigned = (key: string, bytes: Uint8Array, seal: Seal, holder: KeyObject): boolean =>
  verify(null, message(key, seal.atMs, bytes), holder, seal.signature) &&
  (seal.ableSignature === undefined ||
    verify(null, ableMessage(seal.able, seal.signature), holder, seal.ableSignature));

function ableMessage(able: number, signature: Uint8Array): Buffer {
  const bits = Buffer.alloc(4);
  bits.writeUInt32BE(able);
  return Buffer.concat([Buffer.from('firstack able\0'), bits, signature]);
}

function message(key: string, atMs: number, bytes: Uint8Array): Buffer {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(atMs));
  // A key has no zero byte, so two different records never give the same message.
  return Buffer.concat([Buffer.from(`firstack record ${VERSION}\0${key}\0`), time, bytes]);
}
