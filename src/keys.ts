/**
 * Key files: the fleet's master keys (origins and replicas), and a gateway's own keys, derived from them.
 * YAML, mode 0600: `{kind: master|gateway, gatewayId?, keys: [{id, secret}]}`, two keys at most.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { stringify } from 'yaml';
import { readYaml, type Schema } from './config.js';
import { FirstackError } from './errors.js';
import { checkPrivate, writeSecret } from './secret-files.js';
import { keyFromBytes, type SipKey } from './wire/siphash.js';

export interface KeyFile {
  kind: 'master' | 'gateway';
  gatewayId?: number;
  /** The first one signs; all of them verify. */
  keys: { id: number; secret: string }[];
}

const schema: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['kind', 'keys'],
  properties: {
    kind: { enum: ['master', 'gateway'] },
    gatewayId: { type: 'integer', minimum: 0, maximum: 65535 },
    keys: {
      type: 'array',
      minItems: 1,
      maxItems: 2,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['id', 'secret'],
        properties: {
          id: { type: 'integer', minimum: 0, maximum: 15 },
          secret: { type: 'string', pattern: '^[0-9a-f]{32}$' },
        },
      },
    },
  },
};

/** @throws FirstackError FSA_CONFIG_*, FSA_KEY_INVALID when other users may read the file or it is of the other kind */
export function readKeyFile(path: string, kind: KeyFile['kind']): KeyFile {
  const { value } = readYaml<KeyFile>(path, schema);
  const invalid = (why: string): never => {
    throw new FirstackError('FSA_KEY_INVALID', `${path}: ${why}`);
  };
  checkPrivate(path);
  if (value.kind !== kind) invalid(`a ${kind} key file is needed, this is one of kind ${value.kind}`);
  if (new Set(value.keys.map((k) => k.id)).size !== value.keys.length) invalid('two keys have the same id');
  return value;
}

function derive(secret: string, label: string): Buffer {
  return createHmac('sha256', Buffer.from(secret, 'hex')).update(label).digest().subarray(0, 16);
}

/** A gateway's key: it discloses neither the master key nor another gateway's key. */
export function gatewaySecret(masterSecret: string, gatewayId: number): Buffer {
  return derive(masterSecret, `firstack gateway ${gatewayId}`);
}

/** The key with which origin and replicas authenticate their probes. */
export function probeKey(master: KeyFile): SipKey {
  return keyFromBytes(derive(master.keys[0].secret, 'firstack probe'));
}

/** Every live key of a gateway by key id, for the receivers of tags. */
export function gatewayKeys(master: KeyFile, gatewayId: number): { id: number; words: number[] }[] {
  return master.keys.map(({ id, secret }) => ({
    id,
    words: [...keyFromBytes(gatewaySecret(secret, gatewayId))],
  }));
}

/**
 * Writes a new key file, mode 0600.
 * @throws FirstackError FSA_KEY_INVALID when the file exists: a key is never overwritten
 */
export function writeKeyFile(path: string, file: KeyFile): void {
  writeSecret(path, stringify(file));
}

export function newMaster(): KeyFile {
  return { kind: 'master', keys: [{ id: 0, secret: randomBytes(16).toString('hex') }] };
}

export function deriveGateway(master: KeyFile, gatewayId: number): KeyFile {
  return {
    kind: 'gateway',
    gatewayId,
    keys: master.keys.map(({ id, secret }) => ({
      id,
      secret: gatewaySecret(secret, gatewayId).toString('hex'),
    })),
  };
}
