/** The registry that a URL names. */
import { FirstackError } from '../errors.js';
import type { Logger } from '../log.js';
import { FileRegistry } from './file.js';
import { RedisRegistry } from './redis.js';
import type { Registry } from './registry.js';

/** @throws FirstackError FSA_REGISTRY_URL */
export function openRegistry(url: string, log: Logger): Registry {
  if (url.startsWith('file:')) return new FileRegistry(url.replace(/^file:(\/\/)?/, ''), log);
  if (/^(rediss?|redis\+unix):\/\/./.test(url)) return new RedisRegistry(url, log);
  throw new FirstackError(
    'FSA_REGISTRY_URL',
    `registry: '${url}' is neither redis://HOST:PORT, rediss://…, redis+unix:///PATH nor file:PATH`,
  );
}
