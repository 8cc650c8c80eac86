// Records of a fleet with identities, in a real redis-server: what no credential covers counts for nothing,
// whatever account wrote it; and each machine's own user in Redis lets it write its own records only.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { pack } from 'msgpackr';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '../../src/lab/process.js';
import type { Logger } from '../../src/log.js';
import { proximityKind } from '../../src/proximity/record.js';
import { actingKind } from '../../src/race/acting.js';
import {
  gatewayKind,
  originKind,
  type RaceService,
  type ReplicaRecord,
  replicaKind,
  serviceRecordOf,
} from '../../src/race/records.js';
import { userLine } from '../../src/registry/access.js';
import { sealOf } from '../../src/registry/keys.js';
import type { RecordKind } from '../../src/registry/kinds.js';
import { RedisRegistry } from '../../src/registry/redis.js';
import { revocationKind } from '../../src/registry/revocation.js';
import { serviceKind } from '../../src/registry/service.js';
import { OLDEST_SEAL_MS } from '../../src/registry/verifier.js';
import type { Scope } from '../../src/trust/credential.js';
import {
  type Identity,
  issue,
  makeFleetKey,
  readFleetKey,
  readIdentity,
  writeIdentity,
} from '../../src/trust/identity.js';
import { makeSeal } from '../../src/trust/seal.js';

const directory = mkdtempSync(join(tmpdir(), 'fs-trust-'));
const socket = `${directory}/redis.sock`;
let server: ChildProcess;
/** What the registries of a test have logged, each by itself. */
const logs = new Map<RedisRegistry, string[]>();
const saidBy = (r: RedisRegistry): string[] => logs.get(r)!;
const kinds = [
  ...[replicaKind, gatewayKind, originKind, serviceKind, actingKind, proximityKind, revocationKind],
] as unknown as RecordKind[];

makeFleetKey(`${directory}/fleet.key`);
makeFleetKey(`${directory}/other.key`);
const fleetKey = readFleetKey(`${directory}/fleet.key`);
const HOUR = 3600;
const nowS = (): number => Math.floor(Date.now() / 1000);
let issued = 0;

/** An identity, through its file. @param lasts seconds from now; may be past */
function identity(sub: string, may: Scope, key = fleetKey, lasts = HOUR): Identity {
  const { file } = issue(key, { sub, may, nbf: nowS() - 2 * HOUR, exp: nowS() + lasts });
  const path = `${directory}/${issued++}.identity`;
  writeIdentity(path, file);
  return readIdentity(path, undefined);
}

const web = { services: ['web'], addresses: ['198.18.1.0/24'] };
const r1 = identity('replica:r1', web);
const r2 = identity('replica:r2', { services: ['web'], addresses: ['198.18.1.2/32'] });
const g1 = identity('gateway:1', { prefixes: ['192.0.2.0/24'], sites: ['zurich'] });
const o1 = identity('origin:o1', { ...web, servicePrefixes: ['203.0.113.0/24'] });

const open: RedisRegistry[] = [];
async function registry(
  who: Identity | undefined,
  refuses = true,
  url = `redis+unix://${socket}`,
): Promise<RedisRegistry> {
  const trust = who && { identity: who, refuses };
  const said: string[] = [];
  const say = (...words: unknown[]): void => void said.push(JSON.stringify(words));
  const log = { info: () => {}, warn: say, error: say } as unknown as Logger;
  const r = new RedisRegistry(url, log, kinds, undefined, '', trust);
  logs.set(r, said);
  await r.start();
  open.push(r);
  return r;
}

const record = (id: string, address: string, service = 'web'): ReplicaRecord => ({
  ...{ v: 1, id, address, services: [{ name: service }], state: 'up', reason: '' },
  ...{ connections: 0, load: 0, clock: 'free' },
});
const R2 = record('r2', '198.18.1.2');
const seen = (r: RedisRegistry): string =>
  r.view
    .of(replicaKind)
    .map((x) => `${x.id} ${x.address}`)
    .join();

let redis: Redis;
beforeAll(async () => {
  writeFileSync(`${directory}/users.acl`, 'user default on nopass ~* &* +@all\n');
  server = spawn(
    'redis-server',
    ['--port', '0', '--unixsocket', socket, '--save', '', '--aclfile', `${directory}/users.acl`],
    { stdio: 'ignore' },
  );
  redis = new Redis({ path: socket, retryStrategy: () => 50, lazyConnect: true });
  redis.on('error', () => {});
  expect(await waitUntil(async () => (await redis.ping().catch(() => '')) === 'PONG', 5000)).toBe(true);
});
afterAll(() => {
  redis.disconnect();
  server.kill();
  rmSync(directory, { recursive: true });
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((r) => r.stop()));
  logs.clear();
  await redis.flushall();
});

/** Writes as who can write everything would, and announces it. */
async function plant(
  kind: RecordKind,
  value: unknown,
  seal: Buffer | null,
  id = kind.idOf(value),
): Promise<void> {
  const key = `firstack:v1:${kind.name}:${id}`;
  if (seal === null) await redis.del(sealOf(key));
  else await redis.set(sealOf(key), seal);
  await redis.set(key, pack(kind.write?.(value) ?? value));
  const topic = kind.topicOf?.(value) ?? kind.name;
  await redis.sadd(`firstack:v1:index:${topic}`, id);
  await redis.xadd(`firstack:v1:changes:${topic}`, '*', 'id', id);
}
const sealed = (by: Identity, kind: RecordKind, value: unknown, atMs = Date.now()): Buffer =>
  makeSeal(`firstack:v1:${kind.name}:${kind.idOf(value)}`, pack(kind.write?.(value) ?? value), atMs, {
    key: by.signKey,
    credential: by.text,
  });
const replica = replicaKind as RecordKind;

it('a record that its machine signed counts', async () => {
  const [reader, writer] = [await registry(g1), await registry(r2)];
  writer.publish(replicaKind, R2);
  expect(await waitUntil(() => seen(reader) === 'r2 198.18.1.2', 3000)).toBe(true);
  writer.publish(replicaKind, { ...R2, state: 'draining' });
  expect(await waitUntil(() => reader.view.of(replicaKind)[0].state === 'draining', 3000)).toBe(true);
  expect([...logs.values()].flat()).toEqual([]);
});

const other = record('x', '198.18.1.9');
const service: RaceService = {
  ...{ name: 'web', address: '203.0.113.10', ports: [80], configuration: 'A' },
  ...{ replicable: true, raceWindowMs: 500 },
};
const FORGED: Record<string, () => Promise<void>> = {
  'without a signature': () => plant(replica, other, null),
  'with a seal that is none': () => plant(replica, other, Buffer.from('x')),
  'with a seal of a megabyte': () => plant(replica, other, Buffer.alloc(1 << 20, 1)),
  'by another machine': () => plant(replica, other, sealed(r1, replica, other)),
  'by the key of another fleet': () => {
    const stranger = identity('replica:x', web, readFleetKey(`${directory}/other.key`));
    return plant(replica, other, sealed(stranger, replica, other));
  },
  'with a credential that has expired': () =>
    plant(replica, other, sealed(identity('replica:x', web, fleetKey, -10), replica, other)),
  "with another record's seal": () => plant(replica, other, sealed(r1, replica, record('r1', '198.18.1.9'))),
  'for an address outside its scope': () =>
    plant(replica, record('r2', '198.18.1.9'), sealed(r2, replica, record('r2', '198.18.1.9'))),
  'for a service outside its scope': () =>
    plant(replica, record('r1', '198.18.1.1', 'api'), sealed(r1, replica, record('r1', '198.18.1.1', 'api'))),
  'that was signed too long ago': () =>
    plant(
      replica,
      record('r1', '198.18.1.1'),
      sealed(r1, replica, record('r1', '198.18.1.1'), Date.now() - OLDEST_SEAL_MS - 1000),
    ),
  'that is signed for tomorrow': () =>
    plant(
      replica,
      record('r1', '198.18.1.1'),
      sealed(r1, replica, record('r1', '198.18.1.1'), Date.now() + 86_400_000),
    ),
  'a service by a replica': () => {
    const theft = serviceRecordOf(service);
    return plant(serviceKind as RecordKind, theft, sealed(r1, serviceKind as RecordKind, theft));
  },
  'a service at an address of others': () => {
    const theft = serviceRecordOf({ ...service, address: '192.0.2.7' });
    return plant(serviceKind as RecordKind, theft, sealed(o1, serviceKind as RecordKind, theft));
  },
  "a gateway with another's prefixes": () => {
    const theft = { v: 1, id: 1, prefixes: ['192.0.0.0/16'] };
    return plant(gatewayKind as RecordKind, theft, sealed(g1, gatewayKind as RecordKind, theft));
  },
  'times told to another site': () => {
    const theft = { v: 1, id: 1, site: 'berlin', entries: [] };
    return plant(proximityKind as RecordKind, theft, sealed(g1, proximityKind as RecordKind, theft));
  },
  'the acknowledgement of another gateway': () => {
    const theft = { v: 1, id: 'gateway-2', draining: ['r2'] };
    return plant(actingKind as RecordKind, theft, sealed(g1, actingKind as RecordKind, theft));
  },
  'a list of revoked credentials': () => {
    const theft = { v: 1, id: 'list', serials: [r2.credential.jti] };
    return plant(revocationKind as RecordKind, theft, sealed(o1, revocationKind as RecordKind, theft));
  },
};

describe('a record that is forged', () => {
  it.each(Object.entries(FORGED))('%s counts for nothing, and is said', async (_, forge) => {
    const [reader, writer] = [await registry(g1), await registry(r2)];
    await reader.follow(['replica', 'gateway', 'service', 'acting', 'proximity:berlin', 'revocation']);
    writer.publish(replicaKind, R2);
    expect(await waitUntil(() => seen(reader) === 'r2 198.18.1.2', 3000)).toBe(true);
    const refusals = (): string[] => saidBy(reader).filter((line) => line.includes('no authority'));
    // Again and again, since the honest machine writes its own record again.
    const isRefused = async (): Promise<boolean> => {
      await forge();
      return refusals().length > 0;
    };
    expect(await waitUntil(isRefused, 4000, 200)).toBe(true);
    // The honest machine's record is what it was, also where its key was written over.
    expect(seen(reader)).toBe('r2 198.18.1.2');
    const counts = [serviceKind, gatewayKind, actingKind, proximityKind].map(
      (k) => reader.view.of(k as RecordKind).length,
    );
    expect(counts).toEqual([0, 0, 0, 0]);
    expect(refusals()).toHaveLength(1);
    // Nor does it count for a reader that comes later.
    const late = await registry(g1);
    expect(seen(late)).not.toContain('198.18.1.9');
    expect(seen(late)).not.toContain('r1');
  });

  it('in the place of a living machine: replayed and older ones change nothing', async () => {
    const [reader, writer] = [await registry(g1), await registry(r2)];
    const old = { ...R2, state: 'inactive' as const };
    const replayed = sealed(r2, replica, old, Date.now() - 5000);
    writer.publish(replicaKind, R2);
    expect(await waitUntil(() => seen(reader) === 'r2 198.18.1.2', 3000)).toBe(true);
    for (let k = 0; k < 20; k++) {
      await plant(replica, old, replayed);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(reader.view.of(replicaKind)).toMatchObject([{ id: 'r2', state: 'up' }]);
    }
  });
});

it('a revoked credential counts no longer, and its rotated successor does', async () => {
  const reader = await registry(g1);
  await reader.follow(['replica', 'revocation']);
  const writer = await registry(r2);
  writer.publish(replicaKind, R2);
  expect(await waitUntil(() => seen(reader) === 'r2 198.18.1.2', 3000)).toBe(true);
  const { fleetIdentity } = await import('../../src/trust/identity.js');
  const offline = await registry(fleetIdentity(fleetKey, Date.now()));
  offline.publish(revocationKind, { v: 1, id: 'list', serials: [r2.credential.jti] });
  await offline.written();
  expect(await waitUntil(() => seen(reader) === '', 3000)).toBe(true);
  expect(await waitUntil(() => /revoked/.test(Object.values(reader.refused).join()), 3000)).toBe(true);
  await writer.stop();
  const again = await registry(identity('replica:r2', r2.credential.may));
  again.publish(replicaKind, R2);
  expect(await waitUntil(() => seen(reader) === 'r2 198.18.1.2', 3000)).toBe(true);
  // A reader that starts now knows of the revocation too.
  const late = await registry(g1);
  await plant(replica, R2, sealed(r2, replica, R2));
  await new Promise((resolve) => setTimeout(resolve, 700));
  expect(late.view.of(revocationKind)).toMatchObject([{ serials: [r2.credential.jti] }]);
});

it('with unsignedRecords: accept, records without authority count, and are said', async () => {
  const [reader, writer] = [await registry(g1, false), await registry(undefined)];
  writer.publish(replicaKind, R2);
  expect(await waitUntil(() => seen(reader) === 'r2 198.18.1.2', 3000)).toBe(true);
  const isSaid = (): boolean => /not signed.*accepted still/.test(saidBy(reader).join());
  await redis.xadd('firstack:v1:changes:replica', '*', 'id', 'r2');
  await new Promise((resolve) => setTimeout(resolve, 600));
  await redis.xadd('firstack:v1:changes:replica', '*', 'id', 'r2');
  expect(await waitUntil(isSaid, 3000)).toBe(true);
  expect(Object.values(reader.refused)).toEqual(['it is not signed']);
});

it('a role of an earlier version reads signed records as before', async () => {
  const [reader, writer] = [await registry(undefined), await registry(r2)];
  writer.publish(replicaKind, R2);
  expect(await waitUntil(() => seen(reader) === 'r2 198.18.1.2', 3000)).toBe(true);
});

describe("a machine's own user in Redis", () => {
  const users = { r2, g1, o1 };
  const names = Object.fromEntries(
    Object.entries(users).map(([k, { credential }]) => [k, credential.sub.replace(':', '-')]),
  );
  beforeEach(async () => {
    for (const { credential } of Object.values(users)) {
      const [user, line] = userLine(credential, createHash('sha256').update('secret').digest('hex'));
      await redis.call('ACL', 'SETUSER', user, ...rulesOf(line.replace(`user ${user} `, '')));
    }
  });
  const urlOf = (who: keyof typeof users): string => `redis+unix://${names[who]}:secret@${socket}`;

  it('is enough for its role', async () => {
    const [replicas, gateways, origins] = await Promise.all([
      registry(r2, true, urlOf('r2')),
      registry(g1, true, urlOf('g1')),
      registry(o1, true, urlOf('o1')),
    ]);
    // As a replica does: roles that follow replicas sweep, too.
    await replicas.follow(['service', 'gateway', 'acting', 'revocation']);
    replicas.publish(replicaKind, R2);
    origins.publish(serviceKind, serviceRecordOf(service));
    origins.publish(originKind, {
      ...{ v: 1, id: 'o1', address: '198.18.1.1', services: ['web'], release: 'immediate' },
      distancesMs: {},
    });
    origins.publish(actingKind, { v: 1, id: 'origin-o1', draining: [] });
    gateways.publish(gatewayKind, { v: 1, id: 1, prefixes: ['192.0.2.0/24'] });
    gateways.publish(actingKind, { v: 1, id: 'gateway-1', draining: [] });
    await gateways.follow(['replica', 'gateway', 'origin', 'service', 'acting']);
    const all = [replicaKind, gatewayKind, originKind, serviceKind, actingKind] as RecordKind[];
    const counts = (): string => all.map((k) => gateways.view.of(k).length).join();
    expect(await waitUntil(() => counts() === '1,1,1,1,2', 5000), counts()).toBe(true);
    expect([...logs.values()].flat()).toEqual([]);
    await replicas.stop();
    expect(await waitUntil(() => counts() === '0,1,1,1,2', 5000), counts()).toBe(true);
    expect([gateways.connected, origins.connected]).toEqual([true, true]);
  });

  it("lets a thief write no other machine's records, claims, seals or hints", async () => {
    const thief = new Redis({ path: socket, username: names.r2, password: 'secret', lazyConnect: true });
    await thief.connect();
    const attempts: [string, ...string[]][] = [
      ...[
        'replica:r1',
        'gateway:1',
        'origin:o1',
        'service:web',
        'acting:gateway-1',
        'proximity:1',
        'revocation:list',
      ]
        .flatMap((key) => [key, `seal:${key}`])
        .map((key): [string, ...string[]] => ['SET', `firstack:v1:${key}`, 'x']),
      ['SET', 'firstack:v1:owner:replica:r1', 'x'],
      ['SET', 'firstack:v1:epoch', 'x'],
      ['SET', 'firstack:v1:sweeper', 'x'],
      ['SET', 'firstack:v1:changes:replica', 'x'],
      ['SET', 'firstack:v1:index:replica', 'x'],
      ['DEL', 'firstack:v1:index:replica'],
      ['SREM', 'firstack:v1:index:replica', 'r1'],
      ['XADD', 'firstack:v1:changes:service', '*', 'id', 'web'],
      ['RENAME', 'firstack:v1:replica:r2', 'firstack:v1:replica:r1'],
      ['FLUSHALL'],
      ['ACL', 'LIST'],
      ['KEYS', '*'],
      ['CONFIG', 'GET', '*'],
    ];
    for (const [command, ...argv] of attempts)
      await expect(thief.call(command, ...argv), `${command} ${argv.join(' ')}`).rejects.toThrow(/NOPERM/);
    thief.disconnect();
  });
});

/** The rules of a line, with each selector in one piece. */
function rulesOf(line: string): string[] {
  return line.match(/\([^)]*\)|\S+/g)!;
}
