// An upgrade from the last release under load: each role is killed and started again at once from the new package
// (src/adr/0008). No new connection fails, no long connection breaks, and the new process adopts the flows that the
// kernel carries.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ask } from '../../src/lab/admin-client.js';
import { playUpgrade } from '../../src/lab/attacks/upgrade.js';
import { blankTopology } from '../../src/lab/bench/random-topology.js';
import type { Unwell } from '../../src/lab/bench/soak-account.js';
import type { BlobFile, ClientEnd, ClientLine, ClientPlan } from '../../src/lab/bench/soak-client.js';
import type { Lab } from '../../src/lab/lab.js';
import { packageRoot } from '../../src/lab/paths.js';
import { pause, waitUntil } from '../../src/lab/process.js';
import type { Service, Topology } from '../../src/lab/topology.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';
import { lastRelease, thisCheckout } from './packages.js';

/** Connections a second, over the three services, and the duration: all four roles are upgraded meanwhile. */
const RATE = 200;
const LOAD_S = 26;
/** The pause between a ready fleet and the next upgrade. */
const REST_MS = 2000;
/** The number of kept connections to one service on one replica. */
const LONG_EACH = 4;
/** The load's own local ports end at 30,000; the system's ephemeral ports begin at 32,768. */
const FIRST_LONG_PORT = 31_000;
const ROUND_MS = 150;
const REPLICAS = ['r1', 'r2'];

/** One service per configuration, in one fleet. */
const SERVICES: Service[] = CONFIGURATIONS.map((configuration, n) => ({
  name: `web-${configuration.toLowerCase()}`,
  address: `203.0.113.${10 + n}`,
  ports: [80 + n],
  raceWindowMs: 500,
  configuration,
}));

/** Two equally near replicas, so that both carry connections all the time; the origin is farther away. */
function topology(): Topology {
  const t = blankTopology(REPLICAS.length);
  t.delaysMs.gateway.origin = t.delaysMs.origin.gateway = 40;
  return { ...t, name: 'upgrade', services: SERVICES };
}

let directory = '';
let before = '';
let after = '';

beforeAll(async () => {
  // A directory on a disk, because two unpacked packages contain a node each.
  directory = mkdtempSync('/var/tmp/firstack-upgrade-');
  before = await lastRelease(directory);
  after = await thisCheckout(directory);
}, 300_000);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A file of random bytes that every web server has. */
function provide(lab: Lab, name: string, bytes: number): BlobFile {
  const content = randomBytes(bytes);
  const blobs = lab.webServer('server').blobDirectory;
  mkdirSync(blobs, { recursive: true });
  writeFileSync(`${blobs}/${name}`, content);
  return { path: `/blob/${name}`, sha256: createHash('sha256').update(content).digest('hex') };
}

/** New connections at a constant rate, to all services; every body is hashed. */
class Load {
  readonly unwell: Unwell[] = [];
  end: ClientEnd | undefined;
  scheduled = 0;
  /** The load process's output on stderr. */
  readonly over: Promise<string>;

  constructor(lab: Lab) {
    const main = `${packageRoot}/dist/src/lab/bench/soak-client-main.js`;
    const child = lab.spawnIn('client', [process.execPath, main], { stdio: ['pipe', 'pipe', 'pipe'] });
    const complaint = text(child.stderr!);
    const lines = createInterface({ input: child.stdout! });
    lines.on('line', (line) => {
      const heard = JSON.parse(line) as ClientLine;
      if ('unwell' in heard) this.unwell.push(heard.unwell);
      else if ('end' in heard) this.end = heard.end;
      else if ('begunAt' in heard) this.scheduled = heard.scheduled;
    });
    this.over = once(lines, 'close').then(() => complaint);
    const plan: ClientPlan = {
      services: SERVICES.map((s) => ({
        ...{ name: s.name, address: s.address, port: s.ports[0], configuration: s.configuration! },
      })),
      ...{ rate: RATE, seconds: LOAD_S, seed: 1, largeShare: 0.05, maxOpen: 4000, timeoutMs: 10_000 },
      small: provide(lab, 'small', 8 * 1024),
      large: provide(lab, 'large', 256 * 1024),
    };
    child.stdin!.on('error', () => {}).end(JSON.stringify(plan));
  }
}

/** Connections to one service that stay open, with requests for a page again and again. */
class LongConnections {
  /** By connection: the machine that answered first, which must stay the same. */
  servedBy: string[] = [];
  /** Other answers, each kind once. */
  readonly broken = new Set<string>();
  rounds = 0;
  #stopped = false;
  readonly #child;
  readonly #lines;
  readonly #going: Promise<void>;

  constructor(
    lab: Lab,
    readonly service: Service,
    firstPort: number,
  ) {
    const script = fileURLToPath(new URL('../support/kept-connections.mjs', import.meta.url));
    const words = [script, service.address, service.ports[0], firstPort, LONG_EACH].map(String);
    this.#child = lab.spawnIn('client', [process.execPath, ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdin!.on('error', () => {});
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    this.#going = this.#goOn(service.name);
  }

  async #goOn(name: string): Promise<void> {
    while (!this.#stopped) {
      this.#child.stdin!.write('\n');
      const { value, done } = await this.#lines.next();
      if (done === true) return void this.broken.add(`${name}: the client ended`);
      const answers = JSON.parse(value) as string[];
      if (this.rounds === 0) this.servedBy = answers;
      answers.forEach((answer, n) => {
        if (answer !== this.servedBy[n] || answer.startsWith('error'))
          this.broken.add(`${name}, connection ${n} to ${this.servedBy[n]}: ${answer}`);
      });
      this.rounds++;
      await pause(ROUND_MS);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#going;
    this.#child.stdin!.end();
  }
}

/** Opens connections to each service on each replica; while they are opened the other replica is drained. */
async function openLong(lab: Lab): Promise<LongConnections[]> {
  const all: LongConnections[] = [];
  const isRaced = async (replica: string) =>
    (await lab.roles.status('gateway'))?.applied.replicasUp.includes(replica) === true;
  // A learned race asks a new machine only now and then, so the gateway measures all of them first.
  for (const { address, ports } of SERVICES)
    for (let n = 0; n < 5; n++) await lab.exec('client', ['curl', '-s', `http://${address}:${ports[0]}/`]);
  for (const replica of REPLICAS) {
    const other = REPLICAS.find((r) => r !== replica)!;
    await ask(lab.roles.adminSocket(other), '/v1/drain', 'POST');
    expect(await waitUntil(async () => !(await isRaced(other)), 10_000), `${other} is drained`).toBe(true);
    const opened = SERVICES.map(
      (service, n) => new LongConnections(lab, service, FIRST_LONG_PORT + (all.length + n) * LONG_EACH),
    );
    expect(await waitUntil(() => opened.every((l) => l.rounds > 0), 10_000)).toBe(true);
    await ask(lab.roles.adminSocket(other), '/v1/resume', 'POST');
    expect(await waitUntil(() => isRaced(other), 10_000), `${other} is back`).toBe(true);
    all.push(...opened);
  }
  return all;
}

interface Carrying {
  fastpath?: { how: string; flows: number };
}
const flowsOf = async (lab: Lab, host: string): Promise<number | undefined> =>
  ((await lab.roles.status(host)) as Carrying | undefined)?.fastpath?.flows;

/**
 * Kills a role and starts that of the new package.
 * @returns how many flows the kernel carries, from the new process's first answer
 */
async function upgrade(lab: Lab, host: string): Promise<number | undefined> {
  const log = lab.roles.logFile(host);
  const logged = readFileSync(log, 'utf8').length;
  lab.roles.options.trees![host] = after;
  await lab.killRole(host);
  lab.startRole(host);
  const answers = async () => (await lab.roles.status(host)) !== undefined;
  expect(await waitUntil(answers, 10_000), `${host} answers`).toBe(true);
  const flows = await flowsOf(lab, host);
  expect(readlinkSync(`/proc/${lab.roles.pid(host)}/exe`)).toBe(`${after}/bin/node`);
  await lab.roles.waitUntilReady();
  const lines = readFileSync(log, 'utf8')
    .slice(logged)
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { adopting?: boolean });
  if (host !== 'origin') expect([host, lines.some((l) => l.adopting === true)]).toEqual([host, true]);
  return flows;
}

it.each([
  [['gateway', 'origin', 'r1', 'r2']],
  [['origin', 'r2', 'r1', 'gateway']],
  [['r1', 'gateway', 'r2', 'origin']],
])('%j, one after another, makes no connection fail in configurations A, B and C', async (order) => {
  const trees = Object.fromEntries(order.map((host) => [host, before]));
  await withLab({ topology: topology(), race: 'learned', trees }, async (lab) => {
    for (const host of order)
      expect(readlinkSync(`/proc/${lab.roles.pid(host)}/exe`)).toBe(`${before}/bin/node`);
    const long = await openLong(lab);
    const load = new Load(lab);
    // In configuration A a replica's role does nothing after the race. Flows that the origin serves are not pinned.
    const carries = (host: string): number =>
      long
        .filter((l) => host === 'gateway' || l.service.configuration !== 'A')
        .flatMap((l) => l.servedBy)
        .filter((by) => (host === 'gateway' ? REPLICAS.includes(by) : by === host)).length;
    for (const host of order) {
      await pause(REST_MS);
      if (host === 'origin') {
        await upgrade(lab, host);
        continue;
      }
      expect(carries(host), `carried by ${host}`).toBeGreaterThan(0);
      expect(await flowsOf(lab, host), `pinned on ${host} before`).toBeGreaterThanOrEqual(carries(host));
      const flows = await upgrade(lab, host);
      expect(flows, `adopted by ${host}`).toBeGreaterThanOrEqual(carries(host));
    }
    expect(load.end, 'the load outlasts the last upgrade').toBeUndefined();
    const complaint = await load.over;
    expect(load.end, complaint).toBeDefined();
    await Promise.all(long.map((l) => l.stop()));

    expect(load.unwell).toEqual([]);
    const { started, ok, failed, missed } = load.end!.counts;
    expect({ started, ok, failed, missed }).toEqual({
      ...{ started: load.scheduled, ok: load.scheduled, failed: 0, missed: 0 },
    });
    expect(load.scheduled).toBeGreaterThan(RATE * LOAD_S * 0.9);
    expect(long.flatMap((l) => [...l.broken])).toEqual([]);
    expect(Math.min(...long.map((l) => l.rounds))).toBeGreaterThan(50);
  });
});

it('and is given identities on the way, and at last no key in common: no connection fails', async () => {
  const figures = await playUpgrade(RATE, 1, before);
  expect(figures.filter((f) => f.met !== 'yes')).toEqual([]);
});
