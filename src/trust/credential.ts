/**
 * What a machine of a fleet may state in the registry, signed by the fleet's key. In the form of a JSON Web Signature
 * (RFC 7515, compact), with Ed25519 (EdDSA, RFC 8037) and the claims' registered names (RFC 7519).
 *
 *   fleet key, kept offline ── signs ──► credential, in the machine's identity file ── its key signs ──► its records
 */
import { createPublicKey, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { validate } from '../config.js';
import { FirstackError } from '../errors.js';

/** `fleet`: holds the fleet's key itself, for the list of revoked credentials. */
export type Holder = 'fleet' | 'gateway' | 'origin' | 'replica';
export const HOLDERS: readonly Holder[] = ['gateway', 'origin', 'replica'];

/** What its holder's records may name. A list that is absent covers nothing. */
export interface Scope {
  /** Names of services; `*` for all. */
  services?: string[];
  /** Prefixes of the machine's own addresses, as ADDRESS/BITS. */
  addresses?: string[];
  /** Prefixes of the addresses at which an origin may publish services. */
  servicePrefixes?: string[];
  /** Prefixes of a gateway's clients. */
  prefixes?: string[];
  /** The sites to which a gateway may tell what it has measured; `*` for all. */
  sites?: string[];
}

export interface Credential {
  /** The number by which it is revoked: 16 hexadecimal digits. */
  jti: string;
  /** `replica:r2`, the role and its id. */
  sub: string;
  /** Valid from and until, seconds since 1970. */
  nbf: number;
  exp: number;
  may: Scope;
  /** The holder's public keys, base64url: Ed25519 for signatures, X25519 for keys that two machines share. */
  sign: string;
  exchange: string;
  /** The X25519 key before a rotation, which counts for a while beside the present one. */
  former?: string;
}

const names = { type: 'array', items: { type: 'string', minLength: 1, maxLength: 80 } };
const prefixes = { type: 'array', items: { type: 'string', format: 'cidr' } };
const key = { type: 'string', pattern: '^[A-Za-z0-9_-]{43}$' };
const time = { type: 'integer', minimum: 0 };

export const scopeSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    services: names,
    addresses: prefixes,
    servicePrefixes: prefixes,
    prefixes,
    sites: names,
  },
};

// Further claims are for later versions.
const schema = {
  type: 'object',
  properties: {
    jti: { type: 'string', pattern: '^[0-9a-f]{16}$' },
    sub: { type: 'string', pattern: '^(fleet|gateway|origin|replica):[a-z0-9-]{1,80}$' },
    nbf: time,
    exp: time,
    may: { ...scopeSchema, additionalProperties: true },
    sign: key,
    exchange: key,
    former: key,
  },
  required: ['jti', 'sub', 'nbf', 'exp', 'may', 'sign', 'exchange'],
};

const HEADER = base64url(JSON.stringify({ alg: 'EdDSA', typ: 'JWT' }));
/** Longer texts are no credential. */
const LONGEST = 4096;

export const newSerial = (): string => randomBytes(8).toString('hex');
export const subjectOf = (role: Holder, id: string | number): string => `${role}:${id}`;

/** @param key the fleet's private key @returns the credential's text */
export function signCredential(key: KeyObject, credential: Credential): string {
  const signed = `${HEADER}.${base64url(JSON.stringify(credential))}`;
  return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`;
}

/**
 * @param fleet the fleet's public key
 * @throws FirstackError FSA_CREDENTIAL: it is malformed, or the fleet's key has not signed it. Its dates are not looked at.
 */
export function openCredential(text: string, fleet: KeyObject): Credential {
  const refuse = (why: string): never => {
    throw new FirstackError('FSA_CREDENTIAL', `the credential ${why}`);
  };
  const parts = text.length > LONGEST ? [] : text.split('.');
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || header !== HEADER) return refuse('is malformed');
  const bytes = Buffer.from(signature, 'base64url');
  // One signature has one text: the last digit of base64url has bits that say nothing.
  if (bytes.toString('base64url') !== signature) return refuse('is malformed');
  if (!verify(null, Buffer.from(`${header}.${payload}`), fleet, bytes))
    return refuse("is not signed by this fleet's key");
  const value = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Credential;
  const problems = validate(value, schema, () => 'claims');
  return problems.length > 0 ? refuse(`is malformed: ${problems[0].message}`) : value;
}

/** Why a credential is not valid at a time; '' where it is. @param atMs wall clock */
export function whyNotValid({ nbf, exp }: Pick<Credential, 'nbf' | 'exp'>, atMs: number): string {
  const day = (seconds: number): string => new Date(seconds * 1000).toISOString();
  if (atMs < nbf * 1000) return `its credential is valid from ${day(nbf)} on`;
  return atMs >= exp * 1000 ? `its credential has expired (${day(exp)})` : '';
}

/** An Ed25519 public key from its 32 bytes in base64url. */
export function publicKey(x: string): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

/** The 32 bytes of a public key, in base64url. */
export const publicText = (key: KeyObject): string => key.export({ format: 'jwk' }).x!;

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}
