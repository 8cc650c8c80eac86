/**
 * Roles that are all protocol and no memory: what a replica and a gateway send to Redis, command for command as
 * `src/registry/` sends it, each over a connection of its own; replies are skimmed for what the next command
 * needs. Ten thousand of them fit into one process, which as many whole registries would not.
 */
import { connect, type Socket } from 'node:net';
import { pack } from 'msgpackr';
import { resyncEveryMs } from '../../registry/follow.js';
import {
  CHANGES_KEPT,
  changesOf,
  EPOCH,
  HEARTBEAT_MS,
  indexOf,
  keyOf,
  LEASE_MS,
  POLL_MS,
  SWEEPER,
  TTL_MS,
} from '../../registry/keys.js';
import type { Kind, Records } from '../../registry/records.js';

const CR = 13;
const READ_AT_ONCE = 500;
const KEEN = ['service', 'replica', 'gateway', 'origin'];
const CALM = ['service', 'gateway'];

/** Frames RESP replies as they come, in pieces of any size. */
export class Skimmer {
  /** Elements that are missing of the reply at hand. */
  #open = 0;
  #skip = 0;
  #line = '';
  /** The line feed of the last line is still to come. */
  #newline = false;
  #kept: string[] = [];
  #text: string | undefined;

  /** @param onReply gets the strings of a reply, flattened; of strings beyond 64 bytes only '' */
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

function command(...words: (string | number | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = typeof word === 'object' ? word : Buffer.from(String(word));
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

const GET_EPOCH = command('GET', EPOCH);
const TIME = command('TIME');

/** One role. It beats and polls until {@link end}. */
export class LightRole<K extends 'replica' | 'gateway'> {
  /** Wall clock of the last heartbeat. */
  beatAt = 0;
  readonly #socket: Socket;
  readonly #waiting: ((strings: string[]) => void)[] = [];
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #last = new Map<string, string>();
  readonly #known = new Map<string, number>();
  readonly #lease: Buffer;
  #polling = false;
  #beats = 0;
  #resyncAt = 0;

  constructor(
    path: string,
    readonly kind: K,
    readonly id: string,
    readonly record: () => Records[K],
  ) {
    this.#socket = connect(path);
    this.#socket.on('error', () => {});
    const skimmer = new Skimmer((strings) => this.#waiting.shift()?.(strings));
    this.#socket.on('data', (bytes) => skimmer.take(bytes));
    this.#lease = command('SET', SWEEPER, `light-${id}`, 'PX', LEASE_MS, 'NX', 'GET');
  }

  /** As `Follower.begin`: the ends of the streams, then everything. */
  async start(): Promise<void> {
    const topics = this.kind === 'gateway' ? KEEN : CALM;
    const ends = await this.#ask(
      ...topics.map((t) => command('XREVRANGE', changesOf(t), '+', '-', 'COUNT', 1)),
    );
    topics.forEach((t, i) => {
      this.#last.set(t, ends[i][0] ?? '0-0');
    });
    await this.#resync();
    await this.#beat(true);
    const phase = Math.random();
    const every = (ms: number, what: () => void): void => {
      const first = setTimeout(() => this.#timers.push(setInterval(what, ms)), phase * ms);
      this.#timers.push(first);
    };
    const beat = (): void => void this.#beat(false);
    const poll = (): void => void this.#poll();
    every(HEARTBEAT_MS, beat);
    every(this.kind === 'gateway' ? POLL_MS : HEARTBEAT_MS, poll);
  }

  /** Announces the record as it is now, as a change of state would. */
  announce(): void {
    void this.#ask(this.#set(), this.#xadd(), GET_EPOCH);
  }

  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#socket.destroy();
  }

  #ask(...commands: Buffer[]): Promise<string[][]> {
    const replies = commands.map(() => new Promise<string[]>((resolve) => this.#waiting.push(resolve)));
    this.#socket.write(commands.length === 1 ? commands[0] : Buffer.concat(commands));
    return Promise.all(replies);
  }

  #set(): Buffer {
    return command('SET', keyOf(this.kind, this.id), pack(this.record()), 'PX', TTL_MS);
  }
  #xadd(): Buffer {
    return command('XADD', changesOf(this.kind), 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', this.id);
  }

  async #beat(first: boolean): Promise<void> {
    this.beatAt = Date.now();
    const own = [this.#set()];
    if (first) own.push(command('SADD', indexOf(this.kind), this.id), this.#xadd());
    own.push(GET_EPOCH);
    if (this.kind === 'gateway') own.push(this.#lease);
    await this.#ask(...own);
    if (this.#beats++ % 10 === 0) await this.#ask(TIME);
  }

  async #poll(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    const topics = [...this.#last.keys()];
    const ids = [...this.#last.values()];
    const [strings] = await this.#ask(
      command('XREAD', 'COUNT', 1000, 'STREAMS', ...topics.map(changesOf), ...ids),
    );
    const keys = new Set<string>();
    let topic = '';
    strings.forEach((s, i) => {
      if (s.startsWith('firstack:')) topic = s.slice(changesOf('').length);
      else if (/^\d+-\d+$/.test(s)) {
        this.#last.set(topic, s);
        keys.add(keyOf(topic as Kind, strings[i + 2]));
      }
    });
    await this.#read([...keys]);
    if (performance.now() >= this.#resyncAt) await this.#resync();
    this.#polling = false;
  }

  async #read(keys: string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += READ_AT_ONCE)
      await this.#ask(GET_EPOCH, command('MGET', ...keys.slice(at, at + READ_AT_ONCE)));
  }

  async #resync(): Promise<void> {
    const topics = [...this.#last.keys()];
    const lists = await this.#ask(
      ...topics.map((t) => command('SMEMBERS', indexOf(t))),
      command('SCARD', indexOf('replica')),
    );
    topics.forEach((t, i) => {
      this.#known.set(t, lists[i].length);
    });
    await this.#read(topics.flatMap((t, i) => lists[i].map((id) => keyOf(t as Kind, id))));
    const count = [...this.#known.values()].reduce((a, b) => a + b, 0);
    const replicas = Number(lists.at(-1)![0].slice(1));
    const keen = this.#known.get('gateway')! + (this.#known.get('origin') ?? 0);
    const readers = this.kind === 'gateway' ? keen : replicas;
    this.#resyncAt = performance.now() + resyncEveryMs(count, readers) * (0.5 + Math.random());
  }
}
