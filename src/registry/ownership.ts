/**
 * Who holds an identity: a second machine with the same id (a copied file) would take turns with the first one in one
 * record, and the fleet would see now the one and now the other. Beside each record of an identity stands a key with
 * its holder's token. The holder renews it every few seconds; a key that stays as it is belongs to a machine that is gone.
 *
 * The token is the same for every process of an instance on one boot of one machine, so that a role that was killed
 * starts again at once.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Redis } from 'ioredis';
import { HEARTBEAT_MS, PREFIX } from './keys.js';

/** How often the holder renews its key; each time with another number. */
const RENEWED_MS = 5 * HEARTBEAT_MS;
/** The life of the key, ms: three renewals. */
export const OWNER_TTL_MS = 3 * RENEWED_MS + HEARTBEAT_MS;
/** A key that stays the same for longer than this belongs to a machine that is gone. */
const GONE_MS = RENEWED_MS + 2 * HEARTBEAT_MS;

/** `ours`: write the record. `waits`: another token is there, whose holder may be gone. `taken`: its holder is alive. */
export type Claim = 'ours' | 'waits' | 'taken';

const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
};

/** `HOST TOKEN`: the host's name is for the reader of a message. */
export function ownToken(instance: string): string {
  const parts = [
    read('/etc/machine-id'),
    read('/proc/sys/kernel/random/boot_id'),
    String(statSync('/proc/self/ns/net').ino),
    instance,
  ];
  return `${hostname()} ${createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16)}`;
}

export class Ownership {
  #renewals = 0;
  #renewedAt = Number.NEGATIVE_INFINITY;
  /** The other holder's value at the first look, and when that was. */
  #found = '';
  #foundAt = Number.POSITIVE_INFINITY;
  #holds = false;
  /** False where the registry's access rules allow no such key: then nothing is noticed, and nothing is refused. */
  isPossible = true;
  /** The other holder, as `HOST TOKEN`; '' where there is none. */
  other = '';

  /** @param name of the identity: `replica:r2` */
  constructor(
    readonly redis: Redis,
    readonly name: string,
    readonly token: string,
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Whether the identity is this role's. */
  get holds(): boolean {
    return this.#holds || !this.isPossible;
  }

  /** Gives the identity back, so that another machine need not wait. */
  async end(): Promise<void> {
    if (this.isPossible && this.#holds && this.other === '') await this.redis.del(this.#key);
  }

  get #key(): string {
    return `${PREFIX}owner:${this.name}`;
  }

  /** Renews the claim. Call it with each heartbeat, before the record is written. */
  async renew(): Promise<Claim> {
    if (!this.isPossible) return 'ours';
    const now = this.now();
    if (this.#holds && now - this.#renewedAt < RENEWED_MS) return 'ours';
    const isGone = now - this.#foundAt > GONE_MS;
    let before: string | null;
    try {
      before = await this.#set(this.#holds || isGone);
    } catch (error) {
      if (!/NOPERM/.test((error as Error).message)) throw error;
      this.isPossible = false;
      return 'ours';
    }
    // The host's name is for a reader, and may have changed since.
    const isOurs = before === null || before.split(' ')[1] === this.token.split(' ')[1];
    this.other = isOurs ? '' : before!;
    this.#renewedAt = now;
    // Of two holders the one that has renewed for longer stays.
    if (this.#holds && !isOurs && Number(before!.split(' ').at(-1)) > this.#renewals) {
      this.#holds = false;
      return 'taken';
    }
    if (this.#holds) return 'ours';
    if (isOurs || isGone) {
      this.#holds = true;
      this.other = '';
      return 'ours';
    }
    if (this.#found !== '' && before !== this.#found) return 'taken';
    if (this.#found === '') this.#foundAt = now;
    this.#found = before!;
    return 'waits';
  }

  /** @param over whether another holder's key is overwritten @returns the value before */
  async #set(over: boolean): Promise<string | null> {
    const value = `${this.token} ${++this.#renewals}`;
    return over
      ? this.redis.set(this.#key, value, 'PX', OWNER_TTL_MS, 'GET')
      : this.redis.set(this.#key, value, 'PX', OWNER_TTL_MS, 'NX', 'GET');
  }
}
