/**
 * Identity files: the keys of one machine, and its credential. YAML, mode 0600:
 * `{kind: identity, credential, fleet, signKey, exchangeKey, formerKey?}`; keys are 32 bytes in base64url.
 * And the fleet's own key, PKCS #8 in PEM, mode 0600, which no machine of the fleet holds.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { readYaml, type Schema } from '../config.js';
import { FirstackError } from '../errors.js';
import { checkPrivate, writeSecret } from '../secret-files.js';
import {
  type Credential,
  newSerial,
  openCredential,
  publicKey,
  publicText,
  type Scope,
  signCredential,
  whyNotValid,
} from './credential.js';

export interface Identity {
  credential: Credential;
  /** The credential as it stands in seals. */
  text: string;
  /** The fleet's public key. */
  fleet: KeyObject;
  /** Ed25519, private. */
  signKey: KeyObject;
  /** X25519, private: 32 bytes in base64url. */
  exchangeKey: string;
  /** The X25519 key before the last rotation. */
  formerKey?: string;
}

const key: Schema = { type: 'string', pattern: '^[A-Za-z0-9_-]{43}$' };
const schema: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['kind', 'credential', 'fleet', 'signKey', 'exchangeKey'],
  properties: {
    kind: { const: 'identity' },
    credential: { type: 'string', minLength: 1 },
    fleet: key,
    signKey: key,
    exchangeKey: key,
    formerKey: key,
  },
};

interface IdentityFile {
  kind: 'identity';
  credential: string;
  fleet: string;
  signKey: string;
  exchangeKey: string;
  formerKey?: string;
}

/**
 * @param atMs wall clock; undefined to read an identity that has expired too
 * @throws FirstackError FSA_CONFIG_*, FSA_KEY_INVALID, FSA_CREDENTIAL where the credential is not the fleet's, is not
 * valid now, or is not that of the keys beside it
 */
export function readIdentity(path: string, atMs: number | undefined): Identity {
  const { value } = readYaml<IdentityFile>(path, schema);
  checkPrivate(path);
  const fleet = publicKey(value.fleet);
  const refuse = (why: string): never => {
    throw new FirstackError('FSA_CREDENTIAL', `${path}: ${why}`);
  };
  let credential: Credential;
  try {
    credential = openCredential(value.credential, fleet);
  } catch (error) {
    return refuse((error as Error).message);
  }
  const why = atMs === undefined ? '' : whyNotValid(credential, atMs);
  if (why !== '') refuse(`${why}: issue another one (firstack fleet rotate)`);
  // The public half is computed from the private one; the field x is not looked at.
  const jwk = { kty: 'OKP', crv: 'Ed25519', d: value.signKey, x: credential.sign };
  const signKey = createPrivateKey({ key: jwk, format: 'jwk' });
  if (publicText(createPublicKey(signKey)) !== credential.sign)
    refuse('signKey is not the key that the credential names');
  const { exchangeKey, formerKey } = value;
  return { credential, text: value.credential, fleet, signKey, exchangeKey, formerKey };
}

/**
 * Makes a machine's keys, and has the fleet's key sign a credential for them.
 * @param former the machine's present identity, whose X25519 key goes on to count for a while
 */
export function issue(
  fleetKey: KeyObject,
  what: { sub: string; may: Scope; nbf: number; exp: number },
  former?: Identity,
): { file: IdentityFile; credential: Credential } {
  const signing = generateKeyPairSync('ed25519');
  const exchange = generateKeyPairSync('x25519');
  const credential: Credential = {
    jti: newSerial(),
    ...what,
    sign: publicText(signing.publicKey),
    exchange: publicText(exchange.publicKey),
    ...(former === undefined ? {} : { former: former.credential.exchange }),
  };
  const secret = (key: KeyObject): string => key.export({ format: 'jwk' }).d!;
  const file: IdentityFile = {
    kind: 'identity',
    credential: signCredential(fleetKey, credential),
    fleet: publicText(createPublicKey(fleetKey)),
    signKey: secret(signing.privateKey),
    exchangeKey: secret(exchange.privateKey),
    ...(former === undefined ? {} : { formerKey: former.exchangeKey }),
  };
  return { file, credential };
}

/** The identity of the holder of the fleet's key, for the list of revoked credentials. */
export function fleetIdentity(fleetKey: KeyObject, atMs: number): Identity {
  const nbf = Math.floor(atMs / 1000) - 600;
  const fleet = createPublicKey(fleetKey);
  const credential: Credential = {
    ...{ jti: newSerial(), sub: 'fleet:key', nbf, exp: 2 ** 40, may: {} },
    sign: publicText(fleet),
    exchange: publicText(fleet),
  };
  const text = signCredential(fleetKey, credential);
  return { credential, text, fleet, signKey: fleetKey, exchangeKey: '' };
}

export const writeIdentity = (path: string, file: IdentityFile): void => writeSecret(path, stringify(file));

/** Makes a fleet's key. @returns its public half, in base64url */
export function makeFleetKey(path: string): string {
  const { privateKey, publicKey: half } = generateKeyPairSync('ed25519');
  writeSecret(path, privateKey.export({ format: 'pem', type: 'pkcs8' }) as string);
  return publicText(half);
}

/** @throws FirstackError FSA_CONFIG_UNREADABLE, FSA_KEY_INVALID */
export function readFleetKey(path: string): KeyObject {
  let pem: string;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (error) {
    throw new FirstackError('FSA_CONFIG_UNREADABLE', `${path}: ${(error as Error).message}`);
  }
  checkPrivate(path);
  try {
    const fleetKey = createPrivateKey(pem);
    if (fleetKey.asymmetricKeyType === 'ed25519') return fleetKey;
  } catch {
    // Said below: the text of the error may hold a part of the key.
  }
  throw new FirstackError('FSA_KEY_INVALID', `${path}: a fleet's key is needed (firstack fleet init)`);
}
