/**
 * The lower end of sessions: says hello to each router of the next upper level, and its state each interval. A session
 * whose upper end is silent is opened anew.
 */
import { connect, type TLSSocket } from 'node:tls';
import type { Events } from '../events/events.js';
import { type Authority, authorityOf } from './certificate.js';
import { SILENT_INTERVALS } from './hello-server.js';
import { isAbove, type Level } from './levels.js';
import { byFamily, type Downward, readDownward, type SubnetState } from './messages.js';
import { keyOf, onLines, type secureOptions, send } from './session.js';

/** A router of the next upper level. */
export interface Upper {
  id: string;
  level: Level;
  /** Its own address, to which shortcuts go. */
  address: string;
  /** Its address of IPv6, to which tunnels of IPv6 go back. */
  address6?: string;
  /** Prefixes from which its tunnels come, and those of the routers above it; of both families. */
  sources: readonly string[];
  key: Buffer;
}

export interface HelloClientOptions {
  /** HOST:PORT of each upper router. */
  uppers: readonly string[];
  id: string;
  level: Level;
  address: string;
  /** Where tunnels of IPv6 to this member end; undefined where none may. */
  address6?: string;
  /** Of both families. */
  state(): SubnetState[];
  /** Called when an upper router was found or lost, or said something new. */
  onChange(): void;
  events: Events;
}

const CONNECT_MS = 3000;
const RETRY_MS = 500;
const FIRST_INTERVAL_MS = 1000;
/** Acknowledgements of which the earliest tells the round trip. */
const LAST_ACKS = 8;

export class HelloClient {
  readonly #lines: Line[];

  constructor(readonly options: HelloClientOptions) {
    this.#lines = options.uppers.map((where) => new Line(where, options));
  }

  /** The upper routers that are there now. */
  get uppers(): Upper[] {
    return this.#lines.flatMap((l) => (l.upper === undefined ? [] : [l.upper]));
  }

  /** Each router above by its place in the configuration, as it was last known; undefined before its first session. */
  get known(): readonly (Upper | undefined)[] {
    return this.#lines.map((l) => l.known);
  }

  /** Where tunnels of upper routers come from, also of those whose session is lost: their flows go on. */
  get sources(): string[] {
    return [...new Set(this.#lines.flatMap((l) => l.known?.sources ?? []))];
  }

  /** For status: one line per upper router. */
  get states(): { where: string; id?: string; problem: string }[] {
    return this.#lines.map(({ where, upper, problem }) => ({ where, id: upper?.id, problem }));
  }

  start(secure: ReturnType<typeof secureOptions>): void {
    for (const line of this.#lines) line.start(secure);
  }

  /** Opens each session anew, with new certificates, before the former one ends. */
  renew(secure: ReturnType<typeof secureOptions>): void {
    for (const line of this.#lines) line.start(secure);
  }

  /** Says the state now, for example because this member leaves. */
  tell(): void {
    for (const line of this.#lines) line.tell();
  }

  stop(): void {
    for (const line of this.#lines) line.stop();
  }
}

/** The sources of tunnels that a message tells, of both families. */
const sourcesIn = ({ sources, sources6 = [] }: { sources: string[]; sources6?: string[] }): string[] => [
  ...sources,
  ...sources6,
];

/** The session to one upper router. */
class Line {
  upper: Upper | undefined;
  /** The router as it was last known. */
  known: Upper | undefined;
  problem = 'not connected yet';
  #secure: ReturnType<typeof secureOptions> | undefined;
  #socket: TLSSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #said = 0;
  #heardAt = 0;
  #intervalMs = FIRST_INTERVAL_MS;
  #saidAt = 0;
  readonly #roundTrips: number[] = [];

  constructor(
    readonly where: string,
    readonly options: HelloClientOptions,
  ) {}

  start(secure: ReturnType<typeof secureOptions>): void {
    this.#secure = secure;
    this.#open();
  }

  #open(): void {
    clearTimeout(this.#retry);
    const colon = this.where.lastIndexOf(':');
    const socket = connect({
      ...this.#secure,
      host: this.where.slice(0, colon),
      port: Number(this.where.slice(colon + 1)),
      timeout: CONNECT_MS,
      // Its certificate names what it is, not its host: see `certificate.ts`.
      checkServerIdentity: () => undefined,
    });
    const { id, level, address, address6 } = this.options;
    let authority: Authority | undefined;
    socket.setNoDelay(true);
    socket.once('timeout', () => socket.destroy(new Error('no answer')));
    socket.once('secureConnect', () => {
      socket.setTimeout(0);
      const found = authorityOf(socket.getPeerCertificate());
      if (typeof found === 'string') return socket.destroy(new Error(found));
      if (!isAbove(found.level, level))
        return socket.destroy(new Error(`${found.level} ${found.id} stands not above a ${level}`));
      authority = found;
      send(socket, { type: 'hello', v: 1, id, level, address, address6 });
    });
    socket.on('error', (error) => {
      this.problem = error.message;
    });
    socket.once('close', () => this.#lost(socket));
    onLines(socket, (line) => {
      const message = readDownward(line);
      if (message === undefined || authority === undefined) return socket.destroy(new Error('no message'));
      this.#hear(socket, authority, message);
    });
  }

  #hear(socket: TLSSocket, authority: Authority, message: Downward): void {
    this.#heardAt = performance.now();
    if (message.type === 'ack' && message.n === this.#said && socket === this.#socket) this.#measure();
    if (message.type === 'welcome') {
      if (message.id !== authority.id)
        return void socket.destroy(new Error('it is not whom its certificate names'));
      const before = this.#socket;
      this.#socket = socket;
      const { id, level, address, address6 } = message;
      const isNew = this.upper?.id !== id;
      this.upper = { id, level, address, address6, sources: sourcesIn(message), key: keyOf(socket) };
      this.known = this.upper;
      this.problem = '';
      if (before !== socket) before?.destroy();
      this.#every(message.intervalMs);
      this.tell();
      if (isNew)
        this.options.events.say('info', 'upper', id, `${level} ${id} at ${this.where} knows this member`);
      this.options.onChange();
    }
    if (message.type === 'sources' && this.upper !== undefined && socket === this.#socket) {
      this.upper = { ...this.upper, sources: sourcesIn(message) };
      this.known = this.upper;
      this.options.onChange();
    }
  }

  #every(intervalMs: number): void {
    this.#intervalMs = intervalMs;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      if (performance.now() - this.#heardAt > SILENT_INTERVALS * this.#intervalMs)
        this.#socket?.destroy(new Error(`silent for ${SILENT_INTERVALS} intervals`));
      else this.tell();
    }, intervalMs);
  }

  tell(): void {
    if (this.#socket === undefined) return;
    this.#said = (this.#said + 1) % Number.MAX_SAFE_INTEGER;
    const rtt = this.#roundTrips.length === 0 ? {} : { rttMs: Math.min(...this.#roundTrips) };
    const { v4, v6 } = byFamily(this.options.state(), (s) => s.subnet);
    const over6 = v6.length === 0 ? {} : { subnets6: v6 };
    send(this.#socket, { type: 'state', n: this.#said, ...rtt, subnets: v4, ...over6 });
    this.#saidAt = performance.now();
  }

  /** The least of the last few: what was late in a process at either end is no distance. */
  #measure(): void {
    this.#roundTrips.push(Math.round((this.#heardAt - this.#saidAt) * 100) / 100);
    if (this.#roundTrips.length > LAST_ACKS) this.#roundTrips.shift();
  }

  #lost(socket: TLSSocket): void {
    const isCurrent = this.#socket === socket;
    if (isCurrent) {
      clearInterval(this.#timer);
      this.#socket = undefined;
      this.#roundTrips.length = 0;
      const { upper } = this;
      this.upper = undefined;
      if (upper !== undefined)
        this.options.events.say(
          'warn',
          'upper-lost',
          upper.id,
          `the session to ${this.where} ended: ${this.problem}`,
        );
      this.options.onChange();
    }
    if (this.#secure === undefined || this.#socket !== undefined) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), RETRY_MS * (0.75 + Math.random() / 2));
  }

  stop(): void {
    this.#secure = undefined;
    clearTimeout(this.#retry);
    clearInterval(this.#timer);
    this.#socket?.destroy();
  }
}
