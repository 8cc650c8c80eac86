/**
 * A thief: one machine's identity, and an account in Redis, either one that may write anything or the machine's own user. It
 * writes, again and again, everything that is another's, and what its own records may not state.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { pack } from 'msgpackr';
import { userLine } from '../../registry/access.js';
import { type Identity, readIdentity } from '../../trust/identity.js';
import { makeSeal } from '../../trust/seal.js';
import { askJson } from '../admin-client.js';
import type { Lab } from '../lab.js';

const REPLICA = { v: 1, state: 'up', reason: '', connections: 0, load: 0, clock: 'free' };
const web = [{ name: 'web', port: 80 }];

/** Everything that a thief would state of others. */
export const THEFTS: Readonly<Record<string, object>> = {
  // T1: one more machine of the service, nearer than all.
  'replica:x': { ...REPLICA, id: 'x', address: '198.18.1.2', services: web },
  // T4: the address of the nearest, and its record.
  'replica:y': { ...REPLICA, id: 'y', address: '198.18.12.2', services: web },
  'replica:r2': { ...REPLICA, id: 'r2', address: '198.18.11.2', services: web },
  // T2: the service at an address of the thief, and a second origin for it.
  'service:web': {
    ...{ v: 1, name: 'web', address: '198.18.11.2', ports: [80], configuration: 'A', replicable: true },
    raceWindowMs: 500,
  },
  'origin:z': {
    ...{ v: 1, id: 'z', address: '198.18.11.2', services: ['web'], release: 'immediate', distancesMs: {} },
  },
  // T5: the gateway's prefixes.
  'gateway:1': { v: 1, id: 1, prefixes: ['10.0.0.0/8'] },
};

/** The gateways that share what they measure. */
export const SITE = 'zurich';

/** A record that is the thief's own to write: as it may be, and what it must not state. */
export interface OwnRecord {
  name: string;
  honest: object;
  forged: readonly object[];
}

export interface Loot {
  /** Undefined: it signs nothing. */
  by: Identity | undefined;
  /** Written as they are, in each round. */
  records: Readonly<Record<string, object>>;
  /** In turn, so that the honest one stays known. */
  own?: readonly OwnRecord[];
  /** Its user in Redis; undefined: one that may write anything. */
  user?: string;
  /** Lists of the registry that it fills with names of nothing. */
  topics?: readonly string[];
  /** Whether its user may sweep what has expired: then it takes others out of the lists too. */
  sweeps?: boolean;
}

const PREFIX = 'firstack:v1:';
const EVERY_MS = 50;
const PASSWORD = 'stolen';
/** Names of nothing in one list: more would only make Redis larger. */
const JUNK = 2000;
const OTHERS = ['r2', 'web', '1'];

/** Writes records with a thief's identity, 20 rounds a second. */
export class Thief {
  rounds = 0;
  /** Single writes that Redis took, and that its access rules refused. */
  written = 0;
  denied = 0;
  readonly #redis: Redis;
  readonly #timer: NodeJS.Timeout;
  #isWriting = false;

  constructor(
    lab: Lab,
    readonly loot: Loot,
  ) {
    const { user } = loot;
    const login = user === undefined ? {} : { username: user, password: PASSWORD };
    this.#redis = new Redis({ path: lab.redis.socket, ...login });
    this.#redis.on('error', () => {});
    this.#timer = setInterval(() => void this.#round(), EVERY_MS);
  }

  async #round(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    try {
      const batch = this.#redis.pipeline();
      for (const [name, record] of Object.entries(this.loot.records)) this.#put(batch, name, record);
      for (const { name, honest, forged } of this.loot.own ?? []) {
        const lie = forged[(this.rounds >> 1) % forged.length];
        this.#put(batch, name, this.rounds % 2 === 0 ? honest : lie);
      }
      for (const topic of this.loot.topics ?? []) this.#spoil(batch, topic);
      const replies = (await batch.exec()) ?? [];
      this.rounds++;
      for (const [error] of replies) {
        if (error === null) this.written++;
        else if (/NOPERM/.test(error.message)) this.denied++;
      }
    } catch {
      // Redis is gone for a moment: the next round tries again.
    } finally {
      this.#isWriting = false;
    }
  }

  #put(batch: ReturnType<Redis['pipeline']>, name: string, record: object): void {
    const [kind, id] = [name.slice(0, name.indexOf(':')), name.slice(name.indexOf(':') + 1)];
    const topic = 'site' in record ? `${kind}:${String(record.site)}` : kind;
    const { by } = this.loot;
    const key = `${PREFIX}${name}`;
    const bytes = pack(record);
    if (by !== undefined) {
      const signing = { key: by.signKey, credential: by.text };
      batch.set(`${PREFIX}seal:${name}`, makeSeal(key, bytes, Date.now(), signing));
    }
    batch.set(key, bytes);
    batch.sadd(`${PREFIX}index:${topic}`, id);
    batch.xadd(`${PREFIX}changes:${topic}`, 'MAXLEN', '~', 1000, '*', 'id', id);
  }

  /** A list's hints: names of nothing, and, as who may sweep, none of the others'. */
  #spoil(batch: ReturnType<Redis['pipeline']>, topic: string): void {
    const junk = `junk-${this.rounds % JUNK}`;
    batch.sadd(`${PREFIX}index:${topic}`, junk);
    batch.xadd(`${PREFIX}changes:${topic}`, '*', 'id', junk);
    if (this.loot.sweeps !== true) return;
    batch.srem(`${PREFIX}index:${topic}`, ...OTHERS);
    batch.set(`${PREFIX}epoch`, junk);
    batch.set(`${PREFIX}sweeper`, junk, 'PX', 5000);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#redis.quit();
  }
}

/** Makes the user in Redis that `firstack fleet issue` prints for an identity. @returns its name */
export async function makeUser(lab: Lab, { credential }: Identity): Promise<string> {
  const [user, line] = userLine(credential, createHash('sha256').update(PASSWORD).digest('hex'));
  const rules = line.replace(`user ${user} `, '').match(/\([^)]*\)|\S+/g)!;
  const redis = new Redis({ path: lab.redis.socket });
  await redis.call('ACL', 'SETUSER', user, ...rules);
  await redis.quit();
  return user;
}

export const identityOf = (lab: Lab, host: string): Identity =>
  readIdentity(`${lab.directory}/${host}.identity`, undefined);

/** Records that a role refuses, by key, with the reason. */
export async function refusedBy(lab: Lab, host: string): Promise<Record<string, string>> {
  const status = await askJson<{ registry: { refused: Record<string, string> } }>(
    lab.roles.adminSocket(host),
    '/v1/status',
  );
  return status?.registry.refused ?? {};
}

/** Whether a file of a laboratory's role names no key that others have too. */
export const holdsOwnKeysOnly = (lab: Lab, host: string): boolean =>
  !readFileSync(lab.roles.configFile(host), 'utf8').includes('keyFile');
