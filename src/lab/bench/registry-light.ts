/**
 * Light roles: they send to Redis the same commands as a replica and a gateway (`src/registry/`), but keep no
 * records; of replies they read only what the next command needs. Ten thousand light roles fit into one process, ten
 * thousand whole registries would not.
 */
import { pack } from 'msgpackr';
import type { GatewayRecord, ReplicaRecord } from '../../race/records.js';
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
import type { Line } from './registry-line.js';

const READ_AT_ONCE = 500;
const KEEN = ['service', 'replica', 'gateway', 'origin'];
const CALM = ['service', 'gateway'];

type Word = string | number | Buffer;

function words(...all: Word[]): Buffer {
  const parts: Buffer[] = [];
  for (const word of all) {
    const bytes = typeof word === 'object' ? word : Buffer.from(String(word));
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}
const command = (...all: Word[]): Buffer => Buffer.concat([Buffer.from(`*${all.length}\r\n`), words(...all)]);
const ignore = (): void => {};

const PX_TTL = words('PX', TTL_MS);
const GET_EPOCH = command('GET', EPOCH);
const TIME = command('TIME');

interface Records {
  replica: ReplicaRecord;
  gateway: GatewayRecord;
}

/** One role. It sends heartbeats and polls until {@link end}. */
export class LightRole<K extends 'replica' | 'gateway'> {
  /** Wall clock of the last heartbeat. */
  beatAt = 0;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #last = new Map<string, string>();
  readonly #lease: Buffer;
  /** The command that asks for changes; kept until there are some. */
  #xread: Buffer | undefined;
  #setHead: Buffer | undefined;
  #polling = false;
  #beats = 0;
  #resyncAt = 0;

  constructor(
    readonly line: Line,
    readonly kind: K,
    readonly id: string,
    readonly record: () => Records[K],
    readonly resyncEveryMs: number,
  ) {
    this.#lease = command('SET', SWEEPER, `light-${id}`, 'PX', LEASE_MS, 'NX', 'GET');
  }

  /**
   * Finds the ends of the streams, as `Follower.begin` does, and continues as if it had read all records then,
   * because the bench measures the normal operation of a fleet, not its start. For the same reason it does not
   * announce its record.
   */
  async start(): Promise<void> {
    const topics = this.kind === 'gateway' ? KEEN : CALM;
    const ends = await this.#ask(
      ...topics.map((t) => command('XREVRANGE', changesOf(t), '+', '-', 'COUNT', 1)),
    );
    topics.forEach((t, i) => {
      this.#last.set(t, ends[i][0] ?? '0-0');
    });
    this.#resyncAt = performance.now() + this.resyncEveryMs * Math.random();
    await this.#ask(this.#set(), command('SADD', indexOf(this.kind), this.id));
    const every = (ms: number, what: () => void): void => {
      const first = setTimeout(() => this.#timers.push(setInterval(what, ms)), this.line.phase * ms);
      this.#timers.push(first);
    };
    every(HEARTBEAT_MS, () => this.#beat());
    if (this.kind === 'gateway') every(POLL_MS, () => this.#poll());
  }

  /** Announces the present record, as a change of state would. */
  announce(): void {
    this.line.send(Buffer.concat([this.#set(), this.#xadd(), GET_EPOCH]), ignore, ignore, ignore);
  }

  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #ask(...commands: Buffer[]): Promise<string[][]> {
    return Promise.all(commands.map((c) => new Promise<string[]>((resolve) => this.line.send(c, resolve))));
  }

  #set(): Buffer {
    this.#setHead ??= Buffer.concat([Buffer.from('*5\r\n'), words('SET', keyOf(this.kind, this.id))]);
    return Buffer.concat([this.#setHead, words(pack(this.record())), PX_TTL]);
  }
  #xadd(): Buffer {
    return command('XADD', changesOf(this.kind), 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', this.id);
  }

  /** Sends the heartbeat; a replica also polls. */
  #beat(): void {
    this.beatAt = Date.now();
    const own = [this.#set(), GET_EPOCH];
    if (this.kind === 'gateway') own.push(this.#lease);
    if (this.#beats++ % 10 === 0) own.push(TIME);
    this.line.send(Buffer.concat(own), ...own.map(() => ignore));
    if (this.kind === 'replica') this.#poll();
  }

  #poll(): void {
    if (this.#polling) return;
    this.#polling = true;
    if (this.#xread === undefined) {
      const streams = [...this.#last.keys()].map(changesOf);
      this.#xread = command('XREAD', 'COUNT', 1000, 'STREAMS', ...streams, ...this.#last.values());
    }
    this.line.send(this.#xread, (strings) => {
      if (strings.length === 0 && performance.now() < this.#resyncAt) this.#polling = false;
      else void this.#follow(strings);
    });
  }

  async #follow(strings: string[]): Promise<void> {
    const keys = new Set<string>();
    let topic = '';
    strings.forEach((s, i) => {
      if (s.startsWith('firstack:')) topic = s.slice(changesOf('').length);
      else if (/^\d+-\d+$/.test(s)) {
        this.#last.set(topic, s);
        this.#xread = undefined;
        keys.add(keyOf(topic as string, strings[i + 2]));
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
    await this.#read(topics.flatMap((t, i) => lists[i].map((id) => keyOf(t as string, id))));
    this.#resyncAt = performance.now() + this.resyncEveryMs * (0.5 + Math.random());
  }
}
