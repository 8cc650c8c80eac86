/** Opens the registry that a URL names. */
import { FirstackError } from '../errors.js';
import type { Logger } from '../log.js';
import type { Trust } from '../trust/trust.js';
import { isRedisUrl, shown, type TlsFiles } from './connect.js';
import { FileRegistry } from './file.js';
import type { RecordKind } from './kinds.js';
import { RedisRegistry } from './redis.js';
import type { Registry } from './registry.js';

/**
 * @param instance the role's, to which identities are bound
 * @param trust without it every record counts; a file's records always do
 * @throws FirstackError FSA_REGISTRY_URL, FSA_REGISTRY_TLS
 */
export function openRegistry(
  url: string,
  log: Logger,
  kinds: readonly RecordKind[],
  tls?: TlsFiles,
  instance = '',
  trust?: Trust,
): Registry {
  if (url.startsWith('file:')) return new FileRegistry(url.replace(/^file:(\/\/)?/, ''), log, kinds);
  if (isRedisUrl(url)) return new RedisRegistry(url, log, kinds, tls, instance, trust);
  throw new FirstackError(
    'FSA_REGISTRY_URL',
    `registry: '${shown(url)}' is neither redis://HOST:PORT, rediss://…, redis+unix:///PATH, redis+sentinel://HOST:PORT,…/MASTER nor file:PATH`,
  );
}
