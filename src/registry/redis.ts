/**
 * The registry in Redis (7.0 or later): one key per record, `firstack:v1:<kind>:<id>`, a msgpack map.
 *
 * A role's own records have a TTL of three heartbeats. Changes are announced on a capped stream and
 * fetched at once; a full resync every second catches what was missed, and what expired. When Redis is
 * lost the last view stays in use, and this is said; when it comes back, everybody states their records
 * again, and nothing is forgotten before they have had time to.
 */
import { Redis } from 'ioredis';
import { pack, unpack } from 'msgpackr';
import { validate } from '../config.js';
import { FirstackError } from '../errors.js';
import type { Logger } from '../log.js';
import { idOf, type Kind, type Records, schemas, type View } from './records.js';
import type { Registry } from './registry.js';

const PREFIX = 'firstack:v1:';
const CHANGES = `${PREFIX}changes`;
const CHANGES_KEPT = 1000;
const HEARTBEAT_MS = 1000;
const TTL_MS = 3000;
const RESYNC_MS = 1000;
const TIMEOUT_MS = 2000;
/** What every role may need a moment to state again after Redis was lost or wiped. */
const GRACE_MS = TTL_MS;

export class RedisRegistry implements Registry {
  readonly kind = 'redis';
  view: View = { services: [], replicas: [], gateways: [], origins: [], proximities: [] };
  connected = false;

  readonly #commands: Redis;
  readonly #stream: Redis;
  readonly #records = new Map<
    string,
    { kind: Kind; value: Records[Kind]; raw: string; missingSince: number }
  >();
  readonly #own = new Map<string, { kind: Kind; value: Records[Kind]; announced: string }>();
  readonly #callbacks: (() => void)[] = [];
  readonly #timers: NodeJS.Timeout[] = [];
  #confirmedAt = 0;
  #connectedAt = 0;
  #stopped = false;
  #beating = false;
  #syncing = false;

  constructor(
    readonly url: string,
    readonly log: Logger,
  ) {
    const target = url.startsWith('redis+unix://') ? { path: url.slice('redis+unix://'.length) } : {};
    const options = {
      ...target,
      lazyConnect: true,
      connectTimeout: TIMEOUT_MS,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      retryStrategy: (times: number): number => Math.min(100 * times, 1000),
    };
    const open = (more: object): Redis =>
      url.startsWith('redis+unix://')
        ? new Redis({ ...options, ...more })
        : new Redis(url, { ...options, ...more });
    this.#commands = open({ commandTimeout: TIMEOUT_MS });
    this.#stream = open({});
    // Without listeners ioredis prints; what matters is said in #lost and #found.
    this.#commands.on('error', () => {});
    this.#stream.on('error', () => {});
    this.#commands.on('close', () => this.#lost('the connection closed'));
    this.#commands.on('ready', () => void this.#found());
  }

  get viewAgeMs(): number {
    return performance.now() - this.#confirmedAt;
  }

  async start(): Promise<void> {
    try {
      await this.#commands.connect();
      await this.#stream.connect();
      await this.#resync();
    } catch (error) {
      this.#stopped = true;
      this.#commands.disconnect();
      this.#stream.disconnect();
      const why = (error as Error).message;
      if (/NOAUTH|WRONGPASS|NOPERM/.test(why))
        throw new FirstackError('FSA_REGISTRY_REFUSED', `registry: ${this.#shown()} refuses us: ${why}`);
      throw new FirstackError(
        'FSA_REGISTRY_UNAVAILABLE',
        `registry: ${this.#shown()} does not answer: ${why}`,
      );
    }
    this.#timers.push(setInterval(() => void this.#beat(), HEARTBEAT_MS));
    this.#timers.push(setInterval(() => void this.#resync().catch(() => {}), RESYNC_MS));
    void this.#follow();
  }

  /** The URL without its password. */
  #shown(): string {
    return this.url.replace(/:[^:@/]*@/, ':***@');
  }

  publish<K extends Kind>(kind: K, record: Records[K]): void {
    const key = `${PREFIX}${kind}:${idOf(kind, record)}`;
    const own = this.#own.get(key);
    if (own === undefined) this.#own.set(key, { kind, value: record, announced: '' });
    else own.value = record;
    void this.#beat();
  }

  /** States every record of ours; announces those that changed. */
  async #beat(): Promise<void> {
    if (this.#beating || this.#stopped || this.#commands.status !== 'ready') return;
    this.#beating = true;
    try {
      for (const [key, own] of this.#own) {
        const bytes = pack(own.value);
        const text = JSON.stringify(own.value);
        // A service outlives its origin's process: flows are still being carried.
        if (own.kind === 'service') await this.#commands.set(key, bytes);
        else await this.#commands.set(key, bytes, 'PX', TTL_MS);
        if (own.announced !== text) {
          await this.#announce(key);
          own.announced = text;
        }
      }
    } catch (error) {
      this.#lost((error as Error).message);
    } finally {
      this.#beating = false;
    }
  }

  async #announce(key: string): Promise<void> {
    await this.#commands.xadd(CHANGES, 'MAXLEN', '~', CHANGES_KEPT, '*', 'key', key);
  }

  /** Waits for announcements and fetches what they name, for as long as the registry is open. */
  async #follow(): Promise<void> {
    let last = '$';
    while (!this.#stopped) {
      try {
        const reply = await this.#stream.xread('COUNT', 500, 'BLOCK', 5000, 'STREAMS', CHANGES, last);
        if (reply === null) continue;
        const keys = new Set<string>();
        for (const [, entries] of reply as [string, [string, string[]][]][])
          for (const [id, fields] of entries) {
            last = id;
            keys.add(fields[1]);
          }
        await this.#fetch([...keys], false);
      } catch {
        last = '$';
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  async #resync(): Promise<void> {
    if (this.#syncing || this.#stopped || this.#commands.status !== 'ready') return;
    this.#syncing = true;
    try {
      const keys = new Set<string>();
      let cursor = '0';
      do {
        const [next, found] = await this.#commands.scan(cursor, 'MATCH', `${PREFIX}*`, 'COUNT', 1000);
        for (const key of found) if (key !== CHANGES) keys.add(key);
        cursor = next;
      } while (cursor !== '0');
      await this.#fetch([...keys], true);
    } catch (error) {
      this.#lost((error as Error).message);
      throw error;
    } finally {
      this.#syncing = false;
    }
  }

  /** Takes over the given keys; with `whole`, those are all that there are. */
  async #fetch(keys: string[], whole: boolean): Promise<void> {
    const values = keys.length === 0 ? [] : await this.#commands.mgetBuffer(...keys);
    const now = performance.now();
    let changed = false;
    const seen = new Set<string>();
    keys.forEach((key, i) => {
      const bytes = values[i];
      if (bytes === null) return;
      seen.add(key);
      const raw = bytes.toString('latin1');
      const known = this.#records.get(key);
      if (known !== undefined && known.raw === raw) {
        known.missingSince = 0;
        return;
      }
      const record = this.#decode(key, bytes);
      if (record === undefined) return;
      this.#records.set(key, { ...record, raw, missingSince: 0 });
      changed = true;
    });
    for (const key of whole ? [...this.#records.keys()] : keys) {
      const known = this.#records.get(key);
      if (known === undefined || seen.has(key)) continue;
      if (known.missingSince === 0) known.missingSince = now;
      if (this.#mayForget(known.kind, known.missingSince, now)) {
        this.#records.delete(key);
        changed = true;
      }
    }
    this.#confirmedAt = now;
    if (!this.connected) {
      this.connected = true;
      changed = true;
    }
    if (changed) this.#rebuild();
  }

  /**
   * A replica that is not there is not raced, at once. Whose absence would end a service's steering is
   * waited for; and nobody is forgotten just because Redis came back empty.
   */
  #mayForget(kind: Kind, missingSince: number, now: number): boolean {
    if (now - this.#connectedAt < GRACE_MS && this.#connectedAt > 0) return false;
    return kind === 'replica' || kind === 'origin' || now - missingSince >= GRACE_MS;
  }

  #decode(key: string, bytes: Buffer): { kind: Kind; value: Records[Kind] } | undefined {
    const kind = key.slice(PREFIX.length).split(':', 1)[0] as Kind;
    const schema = schemas[kind];
    if (schema === undefined) return undefined;
    try {
      const value = unpack(bytes) as Records[Kind];
      const problems = validate(value, schema, () => key);
      if (problems.length === 0 && key === `${PREFIX}${kind}:${idOf(kind, value)}`) return { kind, value };
      this.log.warn(
        { key, problems: problems.map((p) => p.message) },
        'a registry record does not fit: left out',
      );
    } catch (error) {
      this.log.warn({ key, error: (error as Error).message }, 'a registry record cannot be read: left out');
    }
    return undefined;
  }

  #rebuild(): void {
    const of = <K extends Kind>(kind: K): Records[K][] =>
      [...this.#records.values()].filter((r) => r.kind === kind).map((r) => r.value as Records[K]);
    const byId = <T extends { id: unknown }>(list: T[]): T[] =>
      list.sort((a, b) => (String(a.id) < String(b.id) ? -1 : 1));
    this.view = {
      services: of('service').sort((a, b) => (a.name < b.name ? -1 : 1)),
      replicas: byId(of('replica')),
      gateways: byId(of('gateway')),
      origins: byId(of('origin')),
      proximities: byId(of('proximity')),
    };
    this.#changed();
  }

  #changed(): void {
    for (const callback of this.#callbacks) callback();
  }

  #lost(why: string): void {
    if (!this.connected || this.#stopped) return;
    this.connected = false;
    this.log.warn({ registry: this.#shown(), why }, 'registry lost: going on with the last view');
    this.#changed();
  }

  async #found(): Promise<void> {
    if (this.#confirmedAt === 0) return;
    this.#connectedAt = performance.now();
    this.log.info({ registry: this.#shown() }, 'registry is back');
    for (const own of this.#own.values()) own.announced = '';
    await this.#beat();
    await this.#resync().catch(() => {});
  }

  onChange(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    try {
      for (const [key, own] of this.#own) {
        if (own.kind === 'service') continue;
        await this.#commands.del(key);
        await this.#announce(key);
      }
    } catch {
      // Redis is away: the TTL withdraws what we could not.
    }
    this.#commands.disconnect();
    this.#stream.disconnect();
  }
}
