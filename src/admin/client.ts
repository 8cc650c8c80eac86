/**
 * Asks a role's admin API: `HOST:PORT`, `unix:PATH` or `https://HOST:PORT`. FIRSTACK_ADMIN_TOKEN_FILE names the file with the
 * token, FIRSTACK_ADMIN_CA that with the certificate of who signed the role's.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as requestTls } from 'node:https';
import { FirstackError } from '../errors.js';
import { readToken } from './guard.js';
import { parseListen } from './server.js';

const TIMEOUT_MS = 3000;

/** What a refusal says of the query. */
function reasonIn(body: string): string {
  try {
    const { message } = JSON.parse(body) as { message?: string };
    return message === undefined ? '' : `: ${message}`;
  } catch {
    return '';
  }
}

/** @throws FirstackError FSA_ADMIN_UNAVAILABLE when there is no answer, or its status is not 200 */
export function askAdmin<T>(address: string, path: string, method: 'GET' | 'POST' = 'GET'): Promise<T> {
  const isTls = address.startsWith('https://');
  const at = parseListen(address.replace('https://', ''));
  const target = 'path' in at ? { socketPath: at.path } : at;
  const { FIRSTACK_ADMIN_TOKEN_FILE: tokenFile, FIRSTACK_ADMIN_CA: caFile } = process.env;
  const headers = {
    ...(tokenFile === undefined ? {} : { authorization: `Bearer ${readToken(tokenFile)}` }),
    ...(method === 'GET' ? {} : { 'content-type': 'application/json' }),
  };
  const ca = caFile === undefined ? undefined : readFileSync(caFile);
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(new FirstackError('FSA_ADMIN_UNAVAILABLE', `${address}${path}: ${why}`));
    const options = {
      ...target,
      path,
      method,
      headers,
      timeout: TIMEOUT_MS,
      ...(ca === undefined ? {} : { ca }),
    };
    const outgoing = (isTls ? requestTls : request)(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => {
        if (response.statusCode !== 200) fail(`HTTP ${response.statusCode}${reasonIn(text)}`);
        else resolve(JSON.parse(text) as T);
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)));
    outgoing.on('error', (error) => fail(error.message));
    outgoing.end(method === 'GET' ? undefined : '{}');
  });
}
