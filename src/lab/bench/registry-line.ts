/**
 * A connection of the bench to Redis, for one simulated role or several, and the parser that finds the ends of
 * replies.
 */
import { connect, type Socket } from 'node:net';

const CR = 13;

/** Finds the ends of RESP replies, which come in pieces of any size. */
export class Skimmer {
  /** The number of elements that are missing in the present reply. */
  #open = 0;
  #skip = 0;
  #line = '';
  /** Whether the line feed of the last line is still to come. */
  #newline = false;
  #kept: string[] = [];
  #text: string | undefined;

  /** @param onReply called with the strings of a reply, flattened; a string beyond 64 bytes is passed as '' */
  constructor(readonly onReply: (strings: string[]) => void) {}

  take(bytes: Buffer): void {
    let at = this.#newline ? 1 : 0;
    this.#newline = false;
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const n = Math.min(this.#skip, bytes.length - at);
        if (this.#text !== undefined) this.#text += bytes.toString('latin1', at, at + n);
        this.#skip -= n;
        at += n;
        if (this.#skip === 0) this.#element(this.#text?.slice(0, -2) ?? '');
        continue;
      }
      const end = bytes.indexOf(CR, at);
      if (end < 0) {
        this.#line += bytes.toString('latin1', at);
        return;
      }
      const line = this.#line + bytes.toString('latin1', at, end);
      this.#line = '';
      at = end + 2;
      this.#newline = at > bytes.length;
      this.#onLine(line);
    }
  }

  #onLine(line: string): void {
    if (this.#open === 0) this.#open = 1;
    const kind = line[0];
    const n = Number(line.slice(1));
    if (kind === '*') {
      this.#open += Math.max(0, n);
      this.#element(undefined);
    } else if (kind === '$' && n >= 0) {
      this.#skip = n + 2;
      this.#text = n <= 64 ? '' : undefined;
    } else this.#element(kind === '$' ? undefined : line);
  }

  #element(text: string | undefined): void {
    if (text !== undefined) this.#kept.push(text);
    this.#open--;
    if (this.#open > 0) return;
    const kept = this.#kept;
    this.#kept = [];
    this.onReply(kept);
  }
}

/** A shared connection: the commands that roles write in one turn of the event loop are sent in one write. */
export class Line {
  /** Phase of the heartbeat: roles that share a line send theirs together. */
  readonly phase = Math.random();
  readonly #socket: Socket;
  readonly #waiting: ((strings: string[]) => void)[] = [];
  #queued: Buffer[] = [];

  constructor(path: string) {
    this.#socket = connect(path);
    this.#socket.on('error', () => {});
    const skimmer = new Skimmer((strings) => this.#waiting.shift()?.(strings));
    this.#socket.on('data', (bytes) => skimmer.take(bytes));
  }

  /** @param onReply one callback for each command in `bytes` */
  send(bytes: Buffer, ...onReply: ((strings: string[]) => void)[]): void {
    this.#waiting.push(...onReply);
    if (this.#queued.push(bytes) > 1) return;
    setImmediate(() => {
      const all = this.#queued;
      this.#queued = [];
      this.#socket.write(all.length === 1 ? all[0] : Buffer.concat(all));
    });
  }
}
