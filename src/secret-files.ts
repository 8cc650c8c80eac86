/** Files with keys in them: readable to their user alone, and never written over. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { FirstackError } from './errors.js';

/** @throws FirstackError FSA_KEY_INVALID when other users may read the file */
export function checkPrivate(path: string): void {
  if ((statSync(path).mode & 0o077) !== 0)
    throw new FirstackError('FSA_KEY_INVALID', `${path}: other users may read this key file: chmod 600`);
}

/** @throws FirstackError FSA_KEY_INVALID when the file exists */
export function writeSecret(path: string, text: string): void {
  if (existsSync(path))
    throw new FirstackError('FSA_KEY_INVALID', `${path}: exists already; a key is never overwritten`);
  writeFileSync(path, text, { mode: 0o600 });
}

/**
 * Reads a key of 16 bytes from a file of 32 hex digits.
 * @throws FirstackError FSA_KEY_INVALID when it is none, or other users may read the file
 */
export function readHexKey(path: string): number[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new FirstackError('FSA_KEY_INVALID', `${path}: ${(error as Error).message}`);
  }
  checkPrivate(path);
  if (!/^[0-9a-f]{32}$/.test(text))
    throw new FirstackError('FSA_KEY_INVALID', `${path}: 32 hex digits are needed (openssl rand -hex 16)`);
  return [...Buffer.from(text, 'hex')];
}
