/** Connections to Redis (by host, by Unix socket, through Sentinels, in TLS), and the texts for their errors. */
import { readFileSync } from 'node:fs';
import { Redis, type RedisOptions } from 'ioredis';
import { FirstackError } from '../errors.js';

/**
 * Files of a `rediss://` registry: the CA of Redis's certificate, and the role's own certificate where Redis requires
 * one.
 */
export interface TlsFiles {
  caFile?: string;
  certFile?: string;
  keyFile?: string;
}

export const TIMEOUT_MS = 2000;
const URLS = /^(rediss?|redis\+unix|rediss?\+sentinel):\/\/./;
export const isRedisUrl = (url: string): boolean => URLS.test(url);

/** The URL without its password, whatever characters that has. */
export const shown = (url: string): string => url.replace(/^([a-z+]+:\/\/[^:@/]*):.*@/, '$1:***@');

/** A client that is not connected yet. @throws FirstackError FSA_REGISTRY_URL, FSA_REGISTRY_TLS */
export function redisClient(url: string, files: TlsFiles | undefined, hasStarted: () => boolean): Redis {
  const tls = tlsOptions(url, files);
  const options: RedisOptions = {
    lazyConnect: true,
    connectTimeout: TIMEOUT_MS,
    commandTimeout: TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    disableClientInfo: true,
    // RESP3 replies have other shapes (those of streams too), and nothing that is needed here.
    protocol: 2,
    ...(tls === undefined ? {} : { tls }),
    // Before the first connection a failure is an error. Later the client reconnects by itself, at a random moment so
    // that a fleet does not reconnect at once.
    retryStrategy: (times) =>
      hasStarted() ? Math.min(100 * times, 1000) * (0.75 + Math.random() / 2) : null,
  };
  if (url.startsWith('redis+unix://')) return new Redis({ ...options, ...unixOptions(url) });
  if (!url.includes('+sentinel://')) return new Redis(url, options);
  return new Redis({
    ...options,
    ...sentinelOptions(url),
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
    sentinelCommandTimeout: TIMEOUT_MS,
    sentinelRetryStrategy: (times) => (hasStarted() ? Math.min(100 * times, 1000) : null),
  });
}

/** `redis+unix://[user:password@]/path` */
export function unixOptions(url: string): RedisOptions {
  const match = /^redis\+unix:\/\/(?:([^:@/]*):(.*)@)?(\/.*)$/.exec(url);
  if (match === null)
    throw new FirstackError('FSA_REGISTRY_URL', `registry: '${shown(url)}' is not redis+unix:///PATH`);
  const [, username, password, path] = match;
  return { path, ...credentials(username, password) };
}

const credentials = (username?: string, password?: string): RedisOptions => ({
  ...(username ? { username: decodeURIComponent(username) } : {}),
  ...(password ? { password: decodeURIComponent(password) } : {}),
});

/** `redis+sentinel://[user:password@]host:port,host:port/master`. The password is Redis's. */
export function sentinelOptions(url: string): RedisOptions {
  const match = /^rediss?\+sentinel:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/@]+)\/([\w.-]+)$/.exec(url);
  const sentinels = match?.[3].split(',').map((text) => /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(text)) ?? [
    null,
  ];
  if (match === null || sentinels.includes(null))
    throw new FirstackError(
      'FSA_REGISTRY_URL',
      `registry: '${shown(url)}' is not redis+sentinel://HOST:PORT,HOST:PORT/MASTER`,
    );
  const [, username, password, , name] = match;
  return {
    name,
    sentinels: sentinels.map((s) => ({
      host: s![1].replace(/^\[(.*)\]$/, '$1'),
      port: Number(s![2] ?? 26379),
    })),
    ...credentials(username, password),
  };
}

function tlsOptions(url: string, files: TlsFiles | undefined): RedisOptions['tls'] {
  if (!/^rediss/.test(url)) {
    if (files === undefined) return undefined;
    throw new FirstackError(
      'FSA_REGISTRY_TLS',
      `registryTls is for rediss://, the registry is ${shown(url)}`,
    );
  }
  const read = (key: keyof TlsFiles): Buffer | undefined => {
    const file = files?.[key];
    try {
      return file === undefined ? undefined : readFileSync(file);
    } catch (error) {
      throw new FirstackError('FSA_REGISTRY_TLS', `registryTls.${key}: ${(error as Error).message}`);
    }
  };
  const [ca, cert, key] = [read('caFile'), read('certFile'), read('keyFile')];
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

/** The error of a first start without Redis, in one line. */
export function startError(url: string, why: Error): FirstackError {
  if (why instanceof FirstackError) return why;
  const { message } = why;
  const code = (why as NodeJS.ErrnoException).code ?? '';
  if (/NOAUTH|WRONGPASS|NOPERM/.test(message))
    return new FirstackError('FSA_REGISTRY_REFUSED', `registry: ${shown(url)} refuses us: ${message}`);
  if (/CERT|TLS|SSL|ALTNAME/.test(code) || /certificate|SSL|TLS|altname/i.test(message))
    return new FirstackError('FSA_REGISTRY_TLS', `registry: ${shown(url)}: TLS failed: ${message}`);
  return new FirstackError('FSA_REGISTRY_UNAVAILABLE', `registry: ${shown(url)} does not answer: ${message}`);
}
