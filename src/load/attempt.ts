/**
 * One arrival: a TCP connection of its own, and a GET on it. The promise never rejects: a failure is a code in the
 * result.
 */
import { createHash } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';

export const MODES = ['http', 'connect'] as const;
export type Mode = (typeof MODES)[number];

export interface Target {
  /** A numeric address: names are resolved once, before the first arrival. */
  address: string;
  port: number;
  /** The client's local port; by default the system chooses. */
  localPort?: number;
  /** The Host header. */
  host: string;
  /** Path and query. */
  path: string;
  /** The response header that names the replica, in lower case. */
  servedByHeader: string;
  /** SHA-256 of the bodies that count as right, in hex; empty: bodies are not checked. */
  sha256: ReadonlySet<string>;
  /** From the opening of the connection to the last byte. */
  timeoutMs: number;
}

/** Times are `performance.now()` in ms; NaN for steps that were not reached. */
export interface Attempt {
  startedAt: number;
  /** NaN where the system assigned none. */
  localPort: number;
  connectedAt: number;
  firstByteAt: number;
  endedAt: number;
  /** '' for a success, else `timeout`, `hash-mismatch`, `status-503`, or the system's code: ECONNREFUSED … */
  error: string;
  /** '' without an answer, UNKNOWN when the answer does not name the replica. */
  servedBy: string;
  bodyBytes: number;
}

export const UNKNOWN = 'unknown';

/** Opens a connection, sends nothing, and closes it. */
export function connectOnce(target: Target): Promise<Attempt> {
  return new Promise((resolve) => {
    const { attempt, socket, end } = open(target, resolve);
    socket.once('connect', () => {
      attempt.servedBy = UNKNOWN;
      end('');
    });
    socket.once('close', () => end('ECONNRESET'));
  });
}

/** Opens a connection, gets the path on it, and closes it. */
export function getOnce(target: Target): Promise<Attempt> {
  return new Promise((resolve) => {
    const { attempt, socket, end } = open(target, resolve);
    socket.once('data', () => {
      attempt.firstByteAt = performance.now();
    });
    const { path, host } = target;
    const get = request({ path, setHost: false, headers: { Host: host }, createConnection: () => socket });
    get.once('response', (response) => receive(target, attempt, response, end));
    get.on('error', (error) => end(codeOf(error)));
    get.end();
  });
}

interface Opening {
  attempt: Attempt;
  socket: Socket;
  /** Ends the attempt; only the first call counts. */
  end: (error: string) => void;
}

function open(target: Target, resolve: (attempt: Attempt) => void): Opening {
  const { address: host, port, localPort, timeoutMs } = target;
  const attempt: Attempt = {
    startedAt: performance.now(),
    localPort: localPort ?? Number.NaN,
    connectedAt: Number.NaN,
    firstByteAt: Number.NaN,
    endedAt: Number.NaN,
    error: '',
    servedBy: '',
    bodyBytes: 0,
  };
  const socket = connect({ host, port, localPort, autoSelectFamily: false, noDelay: true });
  const end = (error: string): void => {
    if (!Number.isNaN(attempt.endedAt)) return;
    attempt.endedAt = performance.now();
    attempt.error = error;
    clearTimeout(timer);
    socket.destroy();
    resolve(attempt);
  };
  const timer = setTimeout(end, timeoutMs, 'timeout');
  socket.once('connect', () => {
    attempt.connectedAt = performance.now();
    attempt.localPort = socket.localPort ?? Number.NaN;
  });
  socket.on('error', (error) => end(codeOf(error)));
  return { attempt, socket, end };
}

function receive(target: Target, attempt: Attempt, response: IncomingMessage, end: Opening['end']): void {
  const { sha256, servedByHeader } = target;
  const named = response.headers[servedByHeader];
  attempt.servedBy = (Array.isArray(named) ? named[0] : named) || UNKNOWN;
  const hash = sha256.size > 0 ? createHash('sha256') : undefined;
  response.on('data', (chunk: Buffer) => {
    attempt.bodyBytes += chunk.length;
    hash?.update(chunk);
  });
  // A truncated body is reported as the error `aborted`, with the code ECONNRESET.
  response.on('error', (error) => end(codeOf(error)));
  response.once('end', () => {
    const status = response.statusCode ?? 0;
    if (status < 200 || status > 299) end(`status-${status}`);
    else if (hash !== undefined && !sha256.has(hash.digest('hex'))) end('hash-mismatch');
    else end('');
  });
}

const codeOf = (error: Error): string => (error as NodeJS.ErrnoException).code ?? error.name;
