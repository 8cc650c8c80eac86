/**
 * Thefts, played in a laboratory: the keys of one replica, of a gateway beside the laboratory's own, and of an origin beside its
 * own. At first the thief's account in Redis may write anything; then it has that machine's own user, and in the last third of
 * the time every role is killed and started again meanwhile.
 */
import type { Scope } from '../../trust/credential.js';
import { issue, readFleetKey, readIdentity, writeIdentity } from '../../trust/identity.js';
import { askJson } from '../admin-client.js';
import { startClients } from '../damage/clients.js';
import { TIMEOUT_MS } from '../damage/tried.js';
import { type Figure, figure } from '../figure.js';
import { Lab } from '../lab.js';
import { wanAddress } from '../network.js';
import { pause } from '../process.js';
import { identityOf, type Loot, makeUser, type OwnRecord, refusedBy, SITE, THEFTS, Thief } from './thief.js';

const REPLICA = { v: 1, state: 'up', reason: '', connections: 0, load: 0, clock: 'free' };
const R2 = wanAddress('r2');
const SERVICE = { v: 1, name: 'api', ports: [80], configuration: 'A', replicable: true, raceWindowMs: 500 };
const ORIGIN = { v: 1, id: 'q', release: 'immediate', distancesMs: {} };

interface Stolen {
  /** A host whose role runs, or what the fleet's key has issued to a machine beside the laboratory's. */
  whose: { host: string } | { sub: string; may: Scope };
  own: readonly OwnRecord[];
  /** What it may write by right, and is wrong. */
  lies?: Readonly<Record<string, object>>;
  topics: readonly string[];
  sweeps: boolean;
}

export const THIEVES: Readonly<Record<string, Stolen>> = {
  'thief.replica': {
    whose: { host: 'r1' },
    own: [
      {
        name: 'replica:r1',
        honest: { ...REPLICA, id: 'r1', address: wanAddress('r1'), services: [{ name: 'web', port: 80 }] },
        forged: [
          { ...REPLICA, id: 'r1', address: R2, services: [{ name: 'web', port: 80 }] },
          { ...REPLICA, id: 'r1', address: wanAddress('r1'), services: [{ name: 'api', port: 80 }] },
          { ...REPLICA, id: 'r2', address: wanAddress('r1'), services: [{ name: 'web', port: 80 }] },
        ],
      },
    ],
    topics: ['replica'],
    sweeps: false,
  },
  'thief.gateway': {
    whose: { sub: 'gateway:2', may: { prefixes: ['198.51.100.0/24'], sites: [SITE] } },
    own: [
      {
        name: 'gateway:2',
        honest: { v: 1, id: 2, prefixes: ['198.51.100.0/24'] },
        forged: [
          { v: 1, id: 2, prefixes: ['192.0.2.0/24'] },
          { v: 1, id: 2, prefixes: ['0.0.0.0/0'] },
          { v: 1, id: 1, prefixes: ['198.51.100.0/24'] },
        ],
      },
    ],
    // Its own site's times: the farther replica is next door, the nearest one is a second away.
    lies: {
      'proximity:2': {
        ...{ v: 1, id: 2, site: SITE },
        entries: [
          { service: 'web', candidate: 'r1', rttUs: 100, variationUs: 1 },
          { service: 'web', candidate: 'r2', rttUs: 1_000_000, variationUs: 1 },
        ],
      },
    },
    topics: ['gateway', 'acting', `proximity:${SITE}`],
    sweeps: true,
  },
  'thief.origin': {
    whose: {
      sub: 'origin:q',
      may: {
        ...{ services: ['api'], servicePrefixes: ['203.0.113.99/32'] },
        addresses: [`${wanAddress('r3')}/32`],
      },
    },
    own: [
      {
        name: 'origin:q',
        honest: { ...ORIGIN, address: wanAddress('r3'), services: ['api'] },
        forged: [
          { ...ORIGIN, address: wanAddress('r3'), services: ['web'] },
          { ...ORIGIN, address: R2, services: ['api'] },
        ],
      },
      {
        name: 'service:api',
        honest: { ...SERVICE, address: '203.0.113.99' },
        forged: ['203.0.113.10', '192.0.2.2', '127.0.0.1', '224.0.0.1', R2].map((address) => ({
          ...SERVICE,
          address,
        })),
      },
    ],
    topics: ['origin', 'acting', 'service'],
    sweeps: true,
  },
};

/** What a thief states of others besides {@link THEFTS}. */
const moreThefts = (lab: Lab): Record<string, object> => ({
  'acting:gateway-1': { v: 1, id: 'gateway-1', draining: ['r2'], leaving: true },
  'revocation:list': { v: 1, id: 'list', serials: [identityOf(lab, 'r2').credential.jti] },
});

const HOSTS = ['gateway', 'origin', 'r1', 'r2'];
const PER_SECOND = 25;
const LOOK_MS = 500;
/** Failed connections that a figure tells one by one. */
const TOLD = 8;
const READY_MS = 15_000;
/** Between two roles that are killed, as when machines are upgraded one after another. */
const REST_MS = 2000;
/** The thief's honest records are known by then, and its first lies are refused. */
const KNOWN_MS = 3000;
/**
 * For how long the account may write anything: it could as well delete records. What others wrote stays known for a minute after
 * it was last read.
 */
const ANYTHING_MS = 30_000;
const YEAR_S = 365 * 86_400;

export async function playThief(id: string, seconds: number, seed: number): Promise<Figure[]> {
  const stolen = THIEVES[id];
  const lab = await Lab.create({
    ...{ name: `${id.replace('.', '-')}-${process.pid}`, seed, topology: 'replica-nearest', idle: ['r3'] },
    ...{ configuration: 'A', race: 'learned', identities: 'alone', changes: { gateway: { site: SITE } } },
  });
  try {
    const clients = startClients(lab, PER_SECOND);
    await clients.untilCalm();
    const by = await identityFor(lab, stolen);
    const thefts = { ...THEFTS, ...moreThefts(lab) };
    const { own, lies = {}, topics, sweeps } = stolen;
    const honest = Object.fromEntries(own.map((o) => [o.name, o.honest]));
    await during(new Thief(lab, { by, records: honest }), () => pause(KNOWN_MS));
    const victims = HOSTS.filter((h) => !('host' in stolen.whose) || h !== stolen.whose.host);
    const pids = victims.map((h) => lab.roles.pid(h));

    const loot: Loot = { by, records: { ...thefts, ...lies }, own, topics };
    const from = Date.now();
    const seen: Watched = { refused: new Set(), differed: new Set(), looks: 0, first: new Map() };
    const third = (seconds * 1000) / 3;
    const anythingMs = Math.min(ANYTHING_MS, third);
    const anything = await during(new Thief(lab, loot), () => watch(lab, victims, anythingMs, seen));
    const user = await makeUser(lab, by);
    let to = 0;
    let stopped: string[] = [];
    const asItself = await during(new Thief(lab, { ...loot, sweeps, user }), async () => {
      await watch(lab, victims, 2 * third - anythingMs, seen);
      to = Date.now();
      stopped = victims.filter((h, n) => lab.roles.pid(h) !== pids[n]);
      return startAgain(lab, victims, third);
    });
    const end = Date.now();
    await pause(TIMEOUT_MS);

    const tried = clients.tried.filter((t) => t.at >= from && t.at < end);
    const before = tried.filter((t) => t.at < to);
    const failed = tried.filter((t) => t.error !== '');
    // When each began, less the first kill of a role.
    const first = failed.slice(0, TOLD).map((t) => `${((t.at - to) / 1000).toFixed(1)} s ${t.error}`);
    const errors = [...first, ...(failed.length > TOLD ? ['…'] : [])].join(', ');
    const away = before.filter((t) => t.error === '' && t.servedBy !== 'r2').length;
    const { refused, differed, looks } = seen;
    const accepted = Object.keys(thefts).filter((name) => !refused.has(`firstack:v1:${name}`));
    const rounds = anything.rounds + asItself.rounds;
    const play = { bench: 'attacks', seed, options: `--seconds ${seconds}` } as const;
    const most = (part: string, value: number, limit: number, what: string): Figure =>
      figure(play, `${id}${part}`, value, { most: limit }, what);
    const took = `${rounds} rounds in ${seconds} s, an hour at ${(3600 / rounds).toFixed(1)} s each`;
    return [
      most(
        '',
        accepted.length,
        0,
        `records of others that were not refused, of ${Object.keys(thefts).length}; ${took} ${accepted.join(' ')}`.trim(),
      ),
      most(
        ':views',
        differed.size,
        0,
        `what others saw of the registry changed, in ${looks} looks at ${victims.join(', ')} ${[...differed].join(' ')}`.trim(),
      ),
      most(
        ':failed',
        failed.length,
        0,
        `connections that failed, of ${tried.length}, roles killed meanwhile included ${errors}`.trim(),
      ),
      most(
        ':away',
        away / before.length,
        0.03,
        `share of ${before.length} connections that the nearest machine did not serve, before roles were killed`,
      ),
      most(':stopped', stopped.length, 0, `roles that ended ${stopped.join(' ')}`.trim()),
      most(
        ':not-started',
        asItself.result.length,
        0,
        `roles of others that were killed and not ready again in ${READY_MS / 1000} s ${asItself.result.join(' ').split('\n')[0]}`.trim(),
      ),
      figure(
        play,
        `${id}:denied`,
        asItself.denied / Math.max(1, asItself.rounds),
        { least: 2 * Object.keys(thefts).length },
        `writes that Redis denied the machine's own user, a round: record and seal of each theft at least; ${asItself.written} others it took`,
      ),
    ];
  } finally {
    await lab.down();
  }
}

/** The stolen identity; a machine beside the laboratory's has one that the fleet's key issued. */
async function identityFor(lab: Lab, { whose }: Stolen): Promise<NonNullable<Loot['by']>> {
  if ('host' in whose) return identityOf(lab, whose.host);
  const path = `${lab.directory}/stolen.identity`;
  const nbf = Math.floor(Date.now() / 1000) - 60;
  writeIdentity(
    path,
    issue(readFleetKey(`${lab.directory}/fleet.key`), { ...whose, nbf, exp: nbf + YEAR_S }).file,
  );
  return readIdentity(path, undefined);
}

async function during<T>(
  thief: Thief,
  what: () => Promise<T>,
): Promise<{ result: T; rounds: number; written: number; denied: number }> {
  try {
    const result = await what();
    const { rounds, written, denied } = thief;
    return { result, rounds, written, denied };
  } finally {
    await thief.stop();
  }
}

interface Seen {
  registry: { views: Record<string, unknown> };
  applied: { services: string[]; replicas: string[]; gateways: number[] };
}

/** What a role sees of the registry by kind of records, and what it acts on; undefined where it does not answer. */
async function seenBy(lab: Lab, host: string): Promise<Map<string, string> | undefined> {
  const seen = await askJson<Seen>(lab.roles.adminSocket(host), '/v1/status');
  if (seen === undefined) return undefined;
  const { services, replicas, gateways } = seen.applied;
  const parts = { ...seen.registry.views, services, replicas: [...replicas].sort(), gateways };
  return new Map(Object.entries(parts).map(([part, what]) => [part, JSON.stringify(what)]));
}

interface Watched {
  /** Records that one of them refuses. */
  refused: Set<string>;
  /** What was seen otherwise than at first. */
  differed: Set<string>;
  looks: number;
  /** By host and part. */
  first: Map<string, string>;
}

/** Looks at the others again and again: which records they refuse, and whether they ever see anything else than at first. */
async function watch(lab: Lab, hosts: readonly string[], forMs: number, seen: Watched): Promise<void> {
  const { refused, differed, first } = seen;
  for (const until = Date.now() + forMs; Date.now() < until; await pause(LOOK_MS)) {
    for (const host of hosts) {
      const now = await seenBy(lab, host);
      seen.looks++;
      if (now === undefined) differed.add(`${host}: no answer`);
      for (const [part, what] of now ?? []) {
        const name = `${host}: ${part}`;
        if (!first.has(name)) first.set(name, what);
        if (first.get(name) !== what) differed.add(`${name} ${first.get(name)} → ${what}`);
      }
      for (const key of Object.keys(await refusedBy(lab, host))) refused.add(key);
    }
  }
}

/** Kills each role and starts it again, over and over. @returns those that were not ready in time */
async function startAgain(lab: Lab, hosts: readonly string[], forMs: number): Promise<string[]> {
  const late: string[] = [];
  const until = Date.now() + forMs;
  do {
    for (const host of hosts) {
      await lab.killRole(host);
      lab.startRole(host);
      // Until it sees the others again, and they see it.
      await lab.roles
        .waitUntilReady(READY_MS)
        .catch((error: Error) => late.push(`${host}: ${error.message}`));
      await pause(REST_MS);
    }
  } while (Date.now() < until);
  return late;
}
