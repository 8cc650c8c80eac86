/** What the race's parts of an origin's and of a replica's role file have in common. */
import type { Locate, Schema } from '../config.js';
import type { Problem } from '../errors.js';
import { explained, usual } from '../explained.js';
import { type KeyFile, readKeyFile } from '../keys.js';
import { CONFIGURATIONS, type Configuration } from './records.js';

export interface CommonConfig {
  configuration?: Configuration;
  /** Undefined where the role has an identity, and reads only tags with the keys of pairs. */
  tag: { keyFile?: string };
  /** Whether this host's clock is known to be synchronized (PTP, NTP with a bound). */
  clock: 'free' | 'synchronized';
}

export const commonProperties: Record<keyof CommonConfig, Schema> = {
  configuration: explained(
    { enum: [...CONFIGURATIONS] },
    'How packets reach a replica: A translates addresses, B spoofs the origin, C tunnels.',
    'A',
  ),
  tag: usual({
    type: 'object',
    description:
      'The key with which tags of gateways are checked that share none with this machine. A role with an identityFile needs none once the whole fleet has identities.',
    additionalProperties: false,
    default: {},
    properties: {
      keyFile: usual(
        explained({ type: 'string' }, 'From `firstack keygen`; mode 0600.', '/etc/firstack/master.key'),
      ),
    },
  }),
  clock: explained(
    { enum: ['free', 'synchronized'], default: 'free' },
    'synchronized (PTP, NTP with a bound): probes measure one way instead of half a round trip.',
  ),
};

/** The fleet's master keys; undefined where the role file names none. @throws FirstackError FSA_CONFIG_*, FSA_KEY_INVALID */
export const readMaster = ({ keyFile }: CommonConfig['tag']): KeyFile | undefined =>
  keyFile === undefined ? undefined : readKeyFile(keyFile, 'master');

/** A role needs a key for tags, or an identity, with which it shares keys with others. */
export function missingKey(
  { tag, identityFile }: { tag: { keyFile?: string }; identityFile?: string },
  locate: Locate,
): Problem[] {
  if (tag.keyFile !== undefined || identityFile !== undefined) return [];
  const message = `${locate(['tag'])}: 'tag.keyFile' is needed, or 'identityFile' where the whole fleet has identities`;
  return [{ code: 'FSA_CONFIG_MISSING', message }];
}
