// Registries with faults, and what their tests have in common: a client that sends requests all the time, and the
// time until every role knows a change.
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Redis, type RedisOptions } from 'ioredis';
import { unpack } from 'msgpackr';
import { expect } from 'vitest';
import { ask, type RoleStatus } from '../../src/lab/admin-client.js';
import type { Lab } from '../../src/lab/lab.js';
import { isAlive, type ProcessId, signal, tail, waitUntil } from '../../src/lab/process.js';
import { type RequestResult, requestMany } from '../../src/lab/requests.js';

export const HEARTBEAT_MS = 1000;
/** What the test's queries, and the 20 ms before a role applies a change, may add to two heartbeats. */
export const TWO_HEARTBEATS_MS = 2 * HEARTBEAT_MS + 150;
/** The WAN's own address on the gateway's link, which every host can reach. */
export const WAN_ADDRESS = '198.18.1.1';

/** Opens connections, several at a time, until `end`. None may have failed. */
export class Client {
  readonly results: RequestResult[] = [];
  #going = true;
  readonly #done: Promise<void>;
  constructor(lab: Lab) {
    this.#done = (async () => {
      while (this.#going) this.results.push(...(await requestMany(lab, 4, 2)));
    })();
  }
  async end(): Promise<void> {
    this.#going = false;
    await this.#done;
    expect(this.results.length).toBeGreaterThan(3);
    expect(this.results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
  }
}

export async function withClient<T>(lab: Lab, body: () => Promise<T>): Promise<T> {
  const client = new Client(lab);
  try {
    return await body();
  } finally {
    await client.end();
  }
}

/** Waits until a condition is true on every host. @returns the milliseconds that it took, at most about `timeoutMs` */
export async function everywhere(
  lab: Lab,
  hosts: readonly string[],
  isSo: (status: RoleStatus) => boolean,
  timeoutMs: number,
): Promise<number> {
  const begun = performance.now();
  const one = async (host: string) => {
    const said = async () => {
      const status = await lab.roles.status(host);
      return status !== undefined && isSo(status);
    };
    expect(
      await waitUntil(said, timeoutMs),
      `${host}: ${JSON.stringify((await lab.roles.status(host))?.applied)}`,
    ).toBe(true);
  };
  await Promise.all(hosts.map(one));
  return performance.now() - begun;
}

export const isConnected = (status: RoleStatus) => status.registry.connected;
/** The roles that follow replicas. */
export const READERS = ['gateway', 'origin'];

/**
 * A replica leaves and comes back; each time, the roles that follow replicas must know it within two heartbeats.
 * @param redis a connection without the fault, to see what the replica has published
 */
export async function expectConvergence(lab: Lab, redis: Redis, replica = 'r3'): Promise<void> {
  await lab.stopRole(replica);
  const gone = await everywhere(
    lab,
    READERS,
    (s) => !s.applied.replicas.includes(replica),
    TWO_HEARTBEATS_MS,
  );
  lab.startRole(replica);
  const stated = async () => {
    const bytes = await redis.getBuffer(`firstack:v1:replica:${replica}`);
    return bytes !== null && unpack(bytes).state === 'up';
  };
  expect(await waitUntil(stated, 20_000), tail(lab.roles.logFile(replica))).toBe(true);
  const back = await everywhere(
    lab,
    READERS,
    (s) => s.applied.replicasUp.includes(replica),
    TWO_HEARTBEATS_MS,
  );
  expect(Math.max(gone, back)).toBeLessThan(TWO_HEARTBEATS_MS + 100);
}

export const readiness = async (lab: Lab, host: string) => {
  const answer = await ask(lab.roles.adminSocket(host), '/readyz');
  return { status: answer?.status, body: answer?.body ?? '' };
};

export const logOf = (lab: Lab, host: string) => readFileSync(lab.roles.logFile(host), 'utf8');

/** A connection that only this test uses. */
export async function client(options: RedisOptions): Promise<Redis> {
  const redis = new Redis({
    ...options,
    lazyConnect: true,
    protocol: 2,
    retryStrategy: () => 100,
  });
  redis.on('error', () => {});
  await redis.connect();
  return redis;
}

/** A proxy between the roles and Redis that delays bytes in both directions. */
export class SlowProxy {
  delayMs = 0;
  readonly path: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(lab: Lab) {
    this.path = `${lab.directory}/slow.sock`;
    this.#server = createServer((near) => {
      const far = connect(lab.redis.socket);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ]) {
        this.#sockets.add(from);
        from.on('data', (bytes) => void setTimeout(() => to.writable && to.write(bytes), this.delayMs));
        from.on('close', () => to.destroy());
        from.on('error', () => to.destroy());
      }
    });
  }
  get url(): string {
    return `redis+unix://${this.path}`;
  }
  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.path, resolve));
  }
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

export interface RemoteRedis {
  id: ProcessId;
  log: string;
  socket: string;
}

/** A Redis with an address on the WAN, because Unix sockets have no TLS, and Sentinels use no Unix sockets. */
export async function startRemoteRedis(lab: Lab, name: string, lines: string[]): Promise<RemoteRedis> {
  const [file, log] = [`${lab.directory}/${name}.conf`, `${lab.directory}/${name}.log`];
  const socket = `${lab.directory}/${name}.sock`;
  const sentinel = lines.some((l) => l.startsWith('sentinel '));
  const common = ['bind 0.0.0.0', 'protected-mode no', `dir ${lab.directory}`, `logfile ${log}`];
  const own = sentinel ? [] : ['save ""', `unixsocket ${socket}`];
  writeFileSync(file, [...common, ...own, ...lines, ''].join('\n'));
  const child = lab.spawnIn('wan', ['redis-server', file, ...(sentinel ? ['--sentinel'] : [])], {
    stdio: 'ignore',
  });
  const id = lab.state.record.processes.find((p) => p.pid === child.pid);
  if (id === undefined) throw new Error(`${name} did not start: ${tail(log)}`);
  expect(
    await waitUntil(() => tail(log, 50).includes(sentinel ? '+monitor' : 'eady to accept'), 5000),
    tail(log),
  ).toBe(true);
  return { id, log, socket };
}

export async function killNow(id: ProcessId): Promise<void> {
  signal(id, 'SIGKILL');
  await waitUntil(() => !isAlive(id), 2000);
}
