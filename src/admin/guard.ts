/** Who may ask the admin API over TCP, and what. Over a Unix socket its mode decides. */
import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { FirstackError, type Problem } from '../errors.js';
import { checkPrivate } from '../secret-files.js';
import { format, parse } from '../wire/address.js';

export interface Guard {
  /** What a request must show; undefined for none. */
  token?: string;
  tls?: { cert: Buffer; key: Buffer };
}
export const NO_GUARD: Guard = {};

/** The admin part of a role file; `src/admin/place.ts` says what its addresses mean. */
export interface AdminConfig {
  listen: string;
  metrics: string;
  tokenFile?: string;
  tls?: { certFile: string; keyFile: string };
}

const LEAST_TOKEN = 16;

/** @throws FirstackError FSA_CONFIG_UNREADABLE, FSA_KEY_INVALID */
export function guardOf({ tokenFile, tls }: Pick<AdminConfig, 'tokenFile' | 'tls'>): Guard {
  return {
    ...(tokenFile === undefined ? {} : { token: readToken(tokenFile) }),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            cert: read('admin.tls.certFile', tls.certFile),
            key: read('admin.tls.keyFile', tls.keyFile),
          },
        }),
  };
}

/** @throws FirstackError FSA_CONFIG_UNREADABLE, FSA_KEY_INVALID for a file that others may read, or a short token */
export function readToken(path: string): string {
  const token = read('admin.tokenFile', path).toString('utf8').trim();
  checkPrivate(path);
  if (token.length >= LEAST_TOKEN) return token;
  throw new FirstackError(
    'FSA_KEY_INVALID',
    `${path}: a token has ${LEAST_TOKEN} characters at least (openssl rand -hex 32)`,
  );
}

function read(key: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new FirstackError('FSA_CONFIG_UNREADABLE', `${key}: ${(error as Error).message}`);
  }
}

/** A token must not cross a network in clear. @param at where the role file says so */
export function guardProblems(
  { listen, tokenFile, tls }: Pick<AdminConfig, 'listen' | 'tokenFile' | 'tls'>,
  at: string,
): Problem[] {
  const host = /^\[?(.*?)\]?:\d+$/.exec(listen)?.[1];
  if (tokenFile === undefined || tls !== undefined || host === undefined || isLoopback(host)) return [];
  const message = `${at}: tokenFile without tls, and listen is no loopback address: the token would cross the network in clear`;
  return [{ code: 'FSA_CONFIG_VALUE', message }];
}

export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  const address = parse(host.replace(/^::ffff:(?=\d+\.)/, ''));
  return address !== undefined && /^(127\.|::1$)/.test(format(address));
}

export interface Asked {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  /** Whether it comes from this host. */
  isLocal: boolean;
}

/** What is open to every sender. */
const OPEN = ['/livez', '/readyz', '/metrics'];

/**
 * Why a request is refused; '' when it is not. Health and metrics are open; the rest needs the token where there is one, and
 * without one this host as its sender.
 * @param listens the host of `admin.listen`
 */
export function whyRefused(
  { method, path, headers, isLocal }: Asked,
  listens: string,
  token?: string,
): string {
  const isRead = method === 'GET' || method === 'HEAD';
  const isOpen = isRead && OPEN.includes(path);
  const isShown = token !== undefined && isToken(headers.authorization, token);
  // A browser shows no token: who shows it may read under any name.
  const foreign = whyForeign(isRead, headers, listens, isOpen || (isShown && isRead));
  if (foreign !== '' || isOpen) return foreign;
  if (token !== undefined) return isShown ? '' : 'the token is missing or wrong (FIRSTACK_ADMIN_TOKEN_FILE)';
  return isLocal
    ? ''
    : 'from another host this needs admin.tokenFile and admin.tls: health and metrics alone are open';
}

function isToken(shown: string | undefined, token: string): boolean {
  const [given, wanted] = [shown ?? '', `Bearer ${token}`].map((text) => Buffer.from(text));
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** Names by which a host is asked, besides addresses. */
const LOCAL_NAMES = ['localhost', hostname(), hostname().split('.')[0]];

/**
 * Why a request over TCP is refused; '' when it is not. A page of another site may not ask for an operator: a browser says
 * where a request comes from; a page that had its own name resolved to this host asks for that name; and a form cannot send
 * JSON.
 * @param isAnyName whether the host may be asked by any name
 */
function whyForeign(
  isRead: boolean,
  headers: IncomingHttpHeaders,
  listens: string,
  isAnyName: boolean,
): string {
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    return 'asked by a page of another site';
  const asked = headers.host ?? '';
  if (headers.origin !== undefined && ![`http://${asked}`, `https://${asked}`].includes(headers.origin))
    return 'asked by a page of another site';
  if (!isAnyName && !isOwnName(asked, listens))
    return `this is asked of an address or of ${LOCAL_NAMES[1]}, not of '${asked}'`;
  const type = headers['content-type'] ?? '';
  if (isRead || /^application\/json\s*(;|$)/i.test(type)) return '';
  return `a change has the content type application/json, not '${type}'`;
}

function isOwnName(asked: string, listens: string): boolean {
  const name = asked.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return isIP(name) !== 0 || name === listens || LOCAL_NAMES.includes(name);
}
