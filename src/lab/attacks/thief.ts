/**
 * A thief: one machine's identity, and a Redis account that may write anything. It states everything that is another's, for as
 * long as it is told to.
 */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { pack } from 'msgpackr';
import { type Identity, readIdentity } from '../../trust/identity.js';
import { makeSeal } from '../../trust/seal.js';
import { askJson } from '../admin-client.js';
import { startClients } from '../damage/clients.js';
import { TIMEOUT_MS } from '../damage/tried.js';
import { Lab } from '../lab.js';
import { pause } from '../process.js';
import { type AttackFigure, figure } from './figure.js';

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

/** Writes records with a thief's identity. */
export class Thief {
  readonly #redis: Redis;
  readonly #timer: NodeJS.Timeout;

  /** @param by undefined: it signs nothing */
  constructor(
    lab: Lab,
    readonly by: Identity | undefined,
    readonly records: Readonly<Record<string, object>>,
  ) {
    this.#redis = new Redis({ path: lab.redis.socket });
    this.#redis.on('error', () => {});
    this.#timer = setInterval(() => void this.#write().catch(() => {}), 50);
  }

  async #write(): Promise<void> {
    const batch = this.#redis.pipeline();
    for (const [name, record] of Object.entries(this.records)) {
      const [kind, id] = name.split(':');
      const key = `firstack:v1:${name}`;
      const bytes = pack(record);
      if (this.by !== undefined) {
        const signing = { key: this.by.signKey, credential: this.by.text };
        batch.set(`firstack:v1:seal:${name}`, makeSeal(key, bytes, Date.now(), signing));
      }
      batch.set(key, bytes);
      batch.sadd(`firstack:v1:index:${kind}`, id);
      batch.xadd(`firstack:v1:changes:${kind}`, 'MAXLEN', '~', 1000, '*', 'id', id);
    }
    await batch.exec();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#redis.quit();
  }
}

export const identityOf = (lab: Lab, host: string): Identity =>
  readIdentity(`${lab.directory}/${host}.identity`, undefined);

/** Records that a role refuses, by key, with the reason. */
export async function refusedBy(lab: Lab, host: string): Promise<Record<string, string>> {
  const status = await askJson<{ registry: { refused: Record<string, string> } }>(
    lab.roles.adminSocket(host),
    '/v1/status',
  );
  return status!.registry.refused;
}

/** Whose keys are stolen, and what of the thefts would be its own right. */
export const THIEVES: Readonly<Record<string, { host: string; own: readonly string[] }>> = {
  'thief.replica': { host: 'r1', own: [] },
  'thief.gateway': { host: 'gateway', own: ['gateway:1'] },
  'thief.origin': { host: 'origin', own: [] },
};

const PER_SECOND = 25;
/** The reader looks at a record that is written over and over once in a while. */
const SEEN_MS = 5000;

export async function playThief(id: string, seconds: number, seed: number): Promise<AttackFigure[]> {
  const { host, own } = THIEVES[id];
  const lab = await Lab.create({
    ...{ name: `thief-${process.pid}`, seed, topology: 'replica-nearest', idle: ['r3'] },
    ...{ configuration: 'A', race: 'learned', identities: 'alone' },
  });
  try {
    const clients = startClients(lab, PER_SECOND);
    await clients.untilCalm();
    const pids = ['gateway', 'origin', 'r1', 'r2'].map((h) => lab.roles.pid(h));
    const thefts = Object.entries(THEFTS).filter(([name]) => !own.includes(name));
    const from = Date.now();
    const thief = new Thief(lab, identityOf(lab, host), Object.fromEntries(thefts));
    await pause(SEEN_MS);
    const refused = Object.keys(await refusedBy(lab, 'gateway'));
    await pause(Math.max(0, seconds * 1000 - SEEN_MS));
    const to = Date.now();
    await thief.stop();
    await pause(TIMEOUT_MS);
    const tried = clients.tried.filter((t) => t.at >= from && t.at < to);
    const failed = tried.filter((t) => t.error !== '').length;
    const away = tried.filter((t) => t.error === '' && t.servedBy !== 'r2').length;
    const accepted = thefts.filter(([name]) => !refused.some((key) => key.endsWith(`:${name}`)));
    const stopped = ['gateway', 'origin', 'r1', 'r2'].filter((h, n) => lab.roles.pid(h) !== pids[n]).length;
    const of = (part: string, value: number, most: number, what: string): AttackFigure =>
      figure(`${id}${part}`, seed, value, { most }, what);
    return [
      of(
        '',
        accepted.length,
        0,
        `records of others accepted, of ${thefts.length}, each written 20 times a second for ${seconds} s ${accepted.map(([n]) => n).join(' ')}`,
      ),
      of(':failed', failed, 0, `connections that failed, of ${tried.length}`),
      of(':away', away / tried.length, 0.03, `share of connections that the nearest machine did not serve`),
      of(':stopped', stopped, 0, 'roles that ended'),
    ];
  } finally {
    await lab.down();
  }
}

/** Whether a file of a laboratory's role names no key that others have too. */
export const holdsOwnKeysOnly = (lab: Lab, host: string): boolean =>
  !readFileSync(lab.roles.configFile(host), 'utf8').includes('keyFile');
