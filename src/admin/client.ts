/** Asks a role's admin API: `HOST:PORT` or `unix:PATH`. */
import { request } from 'node:http';
import { FirstackError } from '../errors.js';
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
  const at = parseListen(address);
  const target = 'path' in at ? { socketPath: at.path } : at;
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(new FirstackError('FSA_ADMIN_UNAVAILABLE', `${address}${path}: ${why}`));
    const outgoing = request({ ...target, path, method, timeout: TIMEOUT_MS }, (response) => {
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
    outgoing.end();
  });
}
