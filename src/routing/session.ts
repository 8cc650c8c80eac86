/** A TLS session on which both sides send lines of JSON. */
import { readFileSync } from 'node:fs';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { Schema } from '../config.js';
import { FirstackError } from '../errors.js';
import { explained } from '../explained.js';
import { MOST_BYTES } from './messages.js';

/** Files in PEM: this member's certificate and key, and the authority of all members. */
export interface TlsFiles {
  caFile: string;
  certFile: string;
  keyFile: string;
  crlFile?: string;
}

export const tlsProperties: Record<string, Schema> = {
  caFile: explained(
    { type: 'string' },
    "The authority that signs all members' certificates, in PEM.",
    '/etc/firstack/routing-ca.pem',
  ),
  certFile: explained(
    { type: 'string' },
    "This member's certificate; an alternative name says what it may do: URI:firstack:routing?id=t1&level=site&subnet=203.0.113.80/32&target=198.51.100.0/24",
    '/etc/firstack/routing.pem',
  ),
  keyFile: explained({ type: 'string' }, 'Its key.', '/etc/firstack/routing-key.pem'),
  crlFile: explained(
    { type: 'string' },
    'Certificates that the authority has revoked; read again on SIGHUP.',
    '/etc/firstack/routing-crl.pem',
  ),
};

/** @throws FirstackError FSA_KEY_INVALID for a file that cannot be read */
export function secureOptions(files: TlsFiles): SecureContextOptions & { minVersion: 'TLSv1.3' } {
  const read = (path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw new FirstackError('FSA_KEY_INVALID', `${path}: ${(error as Error).message}`);
    }
  };
  return {
    ca: read(files.caFile),
    cert: read(files.certFile),
    key: read(files.keyFile),
    ...(files.crlFile === undefined ? {} : { crl: read(files.crlFile) }),
    minVersion: 'TLSv1.3',
  };
}

/** The key with which both sides of a session authenticate shortcuts: 16 bytes (RFC 8446, 7.5). */
export const keyOf = (socket: TLSSocket): Buffer =>
  socket.exportKeyingMaterial(16, 'EXPORTER-firstack-shortcut', Buffer.alloc(0));

/** Calls back with each line. A line that is too long ends the session. */
export function onLines(socket: TLSSocket, line: (text: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    rest += text;
    for (let end = rest.indexOf('\n'); end >= 0 && !socket.destroyed; end = rest.indexOf('\n')) {
      const one = rest.slice(0, end);
      rest = rest.slice(end + 1);
      line(one);
    }
    if (rest.length > MOST_BYTES) socket.destroy();
  });
}

export function send(socket: TLSSocket, message: object): void {
  // A reader that does not keep up has lost its session soon: nothing is kept for it.
  if (!socket.destroyed && socket.writableLength < MOST_BYTES) socket.write(`${JSON.stringify(message)}\n`);
}
