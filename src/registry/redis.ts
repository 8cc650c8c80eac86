/**
 * The registry in Redis (7.0 or later); `keys.ts` has the names and the intervals.
 *
 *   each heartbeat:  own records, TTL three heartbeats ─ changes announced on the stream ─ epoch ─ sweeper's lease
 *   each poll:       which keys does the stream name ─ read those records ─ view
 *
 * One connection per role, without blocking commands. When Redis is lost the last view stays in use, and log and
 * `/readyz` report it. When Redis is back, all roles publish their records again, and no record is forgotten before
 * they have had time to do so.
 */
import type { Redis } from 'ioredis';
import { pack } from 'msgpackr';
import { wallMs } from '../device/wall-clock.js';
import type { Logger } from '../log.js';
import type { Trust } from '../trust/trust.js';
import { ClockCheck } from './clock-check.js';
import { redisClient, shown, startError, type TlsFiles } from './connect.js';
import { Follower, results } from './follow.js';
import { tolerant } from './hints.js';
import {
  CHANGES_KEPT,
  CHANGES_TRUSTED_MS,
  changesOf,
  EPOCH,
  HEARTBEAT_MS,
  indexOf,
  keyOfRecord,
  POLL_MS,
  sealOf,
  type Topic,
  TTL_MS,
  topicOf,
} from './keys.js';
import type { RecordKind, View } from './kinds.js';
import { Known } from './known.js';
import { newsOf, type Own } from './news.js';
import { type Claim, Ownership, ownToken } from './ownership.js';
import type { Registry } from './registry.js';
import { Seals } from './seals.js';
import { Sweep } from './sweep.js';
import { Verifier } from './verifier.js';

type Contested = Parameters<Registry['onContested']>[0];

export class RedisRegistry implements Registry {
  readonly kind = 'redis';
  connected = false;
  /** Why the registry is not connected, in a few words. */
  #why = '';
  #refused = false;
  readonly #redis: Redis;
  readonly #known: Known;
  readonly #follower: Follower;
  readonly #sweep: Sweep;
  readonly #clock: ClockCheck;
  readonly #seals: Seals | undefined;
  readonly #own = new Map<string, Own>();
  readonly #callbacks: (() => void)[] = [];
  readonly #contested: Contested[] = [];
  /** The last failure of heartbeats and of polls; undefined when the last one succeeded. */
  readonly #failed: { beat?: string; poll?: string } = {};
  #timers: NodeJS.Timeout[] = [];
  #confirmedAt = 0;
  #started = false;
  #stopped = false;
  #beating = false;
  #beatAgain = false;
  #polling = false;
  #pollAgain = false;
  #readingAll = false;

  /** @throws FirstackError FSA_REGISTRY_URL, FSA_REGISTRY_TLS */
  constructor(
    readonly url: string,
    readonly log: Logger,
    kinds: readonly RecordKind[],
    tls?: TlsFiles,
    readonly instance = '',
    trust?: Trust,
  ) {
    this.#redis = redisClient(url, tls, () => this.#started);
    this.#known = new Known(log, kinds, trust && new Verifier(trust.identity.fleet, trust.refuses));
    this.#seals = trust && new Seals(trust.identity, log);
    this.#follower = new Follower(this.#redis, this.#known, kinds, () => this.#stateAgain());
    this.#sweep = new Sweep(this.#redis, kinds);
    this.#clock = new ClockCheck(log);
    // Without a listener ioredis prints errors itself; this role logs the relevant ones.
    this.#redis.on('error', (error: Error) => this.#onError(error));
    this.#redis.on('close', () => this.#fail('poll', 'the connection closed'));
    this.#redis.on('ready', () => void this.#found());
  }

  get view(): View {
    return this.#known.view;
  }
  get viewAgeMs(): number {
    return performance.now() - this.#confirmedAt;
  }
  get clockOffsetMs(): number | undefined {
    return this.#clock.offsetMs;
  }
  get refused(): Readonly<Record<string, string>> {
    return this.#known.refusals.list;
  }
  get problem(): string | undefined {
    if (this.connected) return undefined;
    if (this.#refused) return `registry refuses us: going on with the last view: ${this.#why}`;
    return `registry lost ${Math.round(this.viewAgeMs)} ms ago: going on with the last view: ${this.#why}`;
  }

  async start(): Promise<void> {
    let last: Error | undefined;
    const onError = (error: Error): void => {
      // "Connection is closed" says less than the error before it, which is kept.
      last ??= error;
    };
    this.#redis.on('error', onError);
    try {
      await this.#redis.connect();
      await this.#follower.begin();
      await this.#clock.measure(this.#redis, wallMs);
    } catch (error) {
      this.#stopped = true;
      this.#redis.disconnect();
      throw startError(this.url, last ?? (error as Error));
    } finally {
      this.#redis.off('error', onError);
    }
    this.#started = true;
    this.#known.rebuild();
    this.connected = true;
    this.#confirmedAt = performance.now();
    this.#arm();
  }

  /** Each role's heartbeat begins at a random moment, so that a fleet's are spread. */
  #arm(): void {
    for (const timer of this.#timers) clearInterval(timer);
    const every = (ms: number, what: () => Promise<void>): void => {
      const first = setTimeout(() => {
        void what();
        this.#timers.push(setInterval(() => void what(), ms));
      }, Math.random() * ms);
      this.#timers.push(first);
    };
    this.#timers = [];
    if (this.#follower.isKeen) {
      every(HEARTBEAT_MS, () => this.#beat());
      every(POLL_MS, () => this.#poll());
    } else every(HEARTBEAT_MS, async () => void (await Promise.all([this.#beat(), this.#poll()])));
  }

  async follow(topics: readonly Topic[]): Promise<void> {
    await this.#follower.follow(topics);
    this.#known.rebuild();
    this.#arm();
  }

  publish<T>(kind: RecordKind<T>, record: T): void {
    const key = keyOfRecord(kind, record);
    const own = this.#own.get(key);
    if (own === undefined)
      this.#own.set(key, {
        kind: kind as RecordKind,
        value: record,
        told: undefined,
        toldAt: 0,
        indexed: false,
        ...(kind.isIdentity === true ? { ownership: this.#ownershipOf(kind, record) } : {}),
      });
    else own.value = record;
    // Other changes are announced with the next heartbeat.
    if (own === undefined || newsOf(kind, own.told as T | undefined, record) === 'now') void this.#beat();
  }

  /** Resolves when everything that was published until now is in Redis. @throws what Redis refused */
  async written(): Promise<void> {
    while (this.#beating) await new Promise((resolve) => setTimeout(resolve, 10));
    await this.#state();
  }

  #ownershipOf<T>(kind: RecordKind<T>, record: T): Ownership {
    return new Ownership(this.#redis, `${kind.name}:${kind.idOf(record)}`, ownToken(this.instance));
  }

  /** Whether an identity is this role's, so that its record may be written. */
  async #holds({ ownership }: Own): Promise<boolean> {
    if (ownership === undefined) return true;
    if (!ownership.holds) return (await this.#renew(ownership)) === 'ours';
    // A record must not wait for a second round trip; a failure is the heartbeat's own too.
    void this.#renew(ownership).catch(() => {});
    return true;
  }

  async #renew(ownership: Ownership): Promise<Claim> {
    const claim = await ownership.renew();
    // A key that waits may be that of a machine that is gone, or of this one before its last boot.
    if (ownership.other !== '' && claim !== 'waits')
      for (const callback of this.#contested)
        callback({ name: ownership.name, other: ownership.other, isRefused: claim === 'taken' });
    return claim;
  }

  /** Writes every record of this role, and announces the changes that are due. */
  async #beat(): Promise<void> {
    if (this.#stopped || this.#redis.status !== 'ready') return;
    this.#beatAgain = this.#beating;
    if (this.#beating) return;
    this.#beating = true;
    try {
      do {
        this.#beatAgain = false;
        await this.#state();
      } while (this.#beatAgain && !this.#stopped);
      await this.#clock.measureSometimes(this.#redis, wallMs);
      this.#succeed('beat');
      if (this.#sweep.holds) {
        const epoch = await this.#sweep.round(() => performance.now() < this.#follower.graceUntil);
        if (epoch !== undefined) this.#follower.sawEpoch(epoch);
      }
    } catch (error) {
      this.#fail('beat', (error as Error).message);
    } finally {
      this.#beating = false;
    }
  }

  async #state(): Promise<void> {
    const now = performance.now();
    const batch = this.#redis.pipeline();
    const optional = this.#redis.pipeline();
    const seals = this.#redis.pipeline();
    const hints = this.#redis.pipeline();
    const done: (() => void)[] = [];
    for (const [key, own] of this.#own) {
      if (!(await this.#holds(own))) continue;
      const { kind, value } = own;
      const to = kind.isOptional === true ? optional : batch;
      const [id, topic] = [kind.idOf(value), topicOf(kind, value)];
      const bytes = pack(kind.write?.(value) ?? value);
      // A service outlives its origin's process, because its flows are still carried.
      const lifeMs = kind.isLasting === true ? [] : (['PX', TTL_MS] as const);
      const seal = this.#seals?.of(key, kind, value, bytes);
      if (seal !== undefined) seals.call('SET', sealOf(key), seal.bytes, ...lifeMs);
      to.call('SET', key, bytes, ...lifeMs);
      const hint = kind.isOptional === true ? optional : hints;
      if (!own.indexed) hint.sadd(indexOf(topic), id);
      const news = newsOf(kind, own.told, value);
      const isLater = news === 'later' && now - own.toldAt >= (kind.laterMs ?? 0);
      const due = news === 'now' || isLater || seal?.isNews === true;
      if (due) hint.xadd(changesOf(topic), 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id);
      done.push(() => {
        own.indexed = true;
        if (due) Object.assign(own, { told: value, toldAt: now });
      });
    }
    batch.get(EPOCH);
    if (this.#follower.isKeen) batch.call('SET', ...this.#sweep.asking);
    // The seals are sent before the records. The hints are sent behind them, and are not looked at: access rules of an
    // earlier version refuse them.
    const sealed = seals.length > 0 ? seals.exec() : undefined;
    const [replies] = await Promise.all([
      results(batch.exec()),
      this.#seals?.written(sealed),
      hints.length > 0 && tolerant(hints.exec()),
      optional.length > 0 && optional.exec(),
    ]);
    for (const each of done) each();
    if (this.#follower.isKeen) this.#sweep.heard(replies.pop() as string | null);
    this.#follower.sawEpoch(replies.pop() as string | null);
  }

  async #poll(): Promise<void> {
    if (this.#stopped || this.#redis.status !== 'ready') return;
    if (this.#follower.isAllDue) void this.#readAll();
    this.#pollAgain = this.#polling;
    if (this.#polling) return;
    this.#polling = true;
    try {
      do {
        this.#pollAgain = false;
        await this.#follower.poll();
        this.#confirmedAt = performance.now();
        this.#succeed('poll');
        if (this.#known.rebuild()) this.#changed();
      } while ((this.#pollAgain || this.#follower.isAhead) && !this.#stopped);
    } catch (error) {
      this.#fail('poll', (error as Error).message);
    } finally {
      this.#polling = false;
    }
  }

  /** Runs beside the polls, because in sequence it would delay them by two round trips. */
  async #readAll(): Promise<void> {
    if (this.#readingAll) return;
    this.#readingAll = true;
    try {
      await this.#follower.readAll();
      if (this.#known.rebuild()) this.#changed();
    } catch (error) {
      this.#fail('poll', (error as Error).message);
    } finally {
      this.#readingAll = false;
    }
  }

  /**
   * Redis may have lost this role's records: all of them are added to the index again, and recent changes announced
   * once more.
   */
  #stateAgain(): void {
    const now = performance.now();
    for (const own of this.#own.values()) {
      own.indexed = false;
      if (now - own.toldAt < CHANGES_TRUSTED_MS) own.told = undefined;
    }
    void this.#beat();
  }

  async #found(): Promise<void> {
    if (!this.#started) return;
    try {
      await this.#follower.resume();
      this.#stateAgain();
      await this.#poll();
    } catch (error) {
      this.#fail('poll', (error as Error).message);
    }
  }

  #onError(error: Error): void {
    if (this.#started && /NOAUTH|WRONGPASS|NOPERM/.test(error.message)) this.#fail('poll', error.message);
  }

  #fail(way: 'beat' | 'poll', why: string): void {
    if (this.#stopped || !this.#started) return;
    this.#failed[way] = why;
    // A peer that does not answer, or is read-only, may have been replaced (Sentinel), or its host may have failed.
    if (/timed out|READONLY/.test(why)) this.#redis.disconnect(true);
    // Where Redis refuses every writer, every record expires although its role lives.
    if (/MISCONF|OOM|NOREPLICAS|READONLY/.test(why)) this.#follower.beginGrace();
    const refused = /NOAUTH|WRONGPASS|NOPERM/.test(why);
    const registry = shown(this.url);
    if (refused && !this.#refused) this.log.error({ registry, why }, 'registry refuses us');
    if (this.connected) this.log.warn({ registry, why }, 'registry lost: going on with the last view');
    // After a refusal the connection also closes; the reason of the refusal is kept, because it says more.
    if (refused || !this.#refused) this.#why = why;
    this.#refused ||= refused;
    if (!this.connected) return;
    this.connected = false;
    this.#changed();
  }

  #succeed(way: 'beat' | 'poll'): void {
    this.#failed[way] = undefined;
    if (this.connected || this.#failed.beat !== undefined || this.#failed.poll !== undefined) return;
    this.connected = true;
    this.#refused = false;
    this.log.info({ registry: shown(this.url) }, 'registry is back');
    this.#changed();
  }

  #changed(): void {
    for (const callback of this.#callbacks) callback();
  }

  onContested(callback: Contested): void {
    this.#contested.push(callback);
  }

  onChange(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    try {
      const batch = this.#redis.pipeline();
      for (const [key, { kind, value, ownership }] of this.#own) {
        // What another machine holds is not this role's to withdraw.
        const isKept = kind.isLasting === true || kind.isLeftToExpire === true;
        if (isKept || ownership?.holds === false) continue;
        const [id, topic] = [kind.idOf(value), topicOf(kind, value)];
        batch.del(key);
        if (this.#seals !== undefined) batch.del(sealOf(key));
        batch.srem(indexOf(topic), id);
        batch.xadd(changesOf(topic), 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id, 'withdrawn', '1');
      }
      await batch.exec();
      for (const { ownership } of this.#own.values()) await ownership?.end();
      await this.#sweep.end();
    } catch {
      // Redis is unavailable: the records expire by their TTL.
    }
    this.#redis.disconnect();
  }
}
