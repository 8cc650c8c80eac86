/**
 * The laboratory of `firstack bench race --matrix`: a farm whose paths are drawn from the matrix, draw after draw, and
 * a gateway that is restarted for each measurement, so that it knows nothing of the one before.
 */
import { median } from '../../probe/distance.js';
import { machineAddress } from '../farm.js';
import { Lab } from '../lab.js';
import { byRoundTrip, type DrawnDelays, farmTopology } from '../matrix.js';
import { clientPrefixes, namespaceOf } from '../network.js';
import { inNamespace, mustRun, pause } from '../process.js';
import { DIRECT_PORT } from '../web-server.js';
import { Client, type Connection } from './connect.js';

export const SERVICE = '203.0.113.10';
export const SERVICE_PORT = 80;
/** A machine within so much of the nearest machine's round trip counts as near. */
export const NEAR_MS = 3;
export const PROBE_ROUND_MS = 10_000;
const ORACLE_SAMPLES = 40;
const ORACLE_MACHINES = 3;
/** The laboratory's own overhead on a direct connection; beyond this its delays are not as asked. */
const ORACLE_TOLERANCE_MS = 2;
/** Clients of three prefixes take turns. */
const CLIENT_PREFIXES = 3;
const CONCURRENCY = 4;
/** In this table of the web servers' hosts, every SYN of the client that arrives is counted. */
const COUNTING = `table ip lab-syns {
  counter syns { }
  chain arriving {
    type filter hook prerouting priority -300;
    ip saddr { ${clientPrefixes({ clientPrefixes: CLIENT_PREFIXES }).join(', ')} } tcp dport ${SERVICE_PORT} tcp flags & (syn | ack) == syn counter name syns
  }
}
`;
const HOSTS = ['farm', 'server'];

export interface Reference {
  /** Direct connections to the nearest machine: the median. */
  nearestMs: number;
  /** Direct connections to the origin's server. */
  originMs: number;
}

export interface Sample extends Reference {
  connections: Connection[];
  failed: number;
  near: number;
  /** SYNs of the client that reached a web server's host, and for how many connections. */
  syns: number;
  steady: number;
}

/** Changes of paths on top of a draw. */
export type Changes = Record<string, number>;

export class Bed {
  readonly client: Client;
  /** "from>to", as the paths are now. */
  delaysMs: Record<string, number>;
  machines: readonly string[];

  private constructor(
    readonly lab: Lab,
    readonly say: (line: string) => void,
  ) {
    this.client = new Client(lab);
    this.machines = lab.farm.machines;
    this.delaysMs = {};
  }

  static async create(draw: DrawnDelays, say: (line: string) => void): Promise<Bed> {
    const lab = await Lab.create({
      name: `bench-${process.pid}`,
      topology: { ...farmTopology(draw, true), clientPrefixes: CLIENT_PREFIXES },
      configuration: 'A',
      race: 'learned',
      log: 'warn',
    });
    const bed = new Bed(lab, say);
    for (const host of HOSTS)
      await mustRun(inNamespace(namespaceOf(lab.name, host), ['nft', '-f', '-']), COUNTING);
    return bed;
  }

  /** Sets the paths, publishes the first `count` machines, and starts the gateway anew; returns when it is ready. */
  async take(
    draw: DrawnDelays,
    { count, isBare = false, changes = {} }: { count: number; isBare?: boolean; changes?: Changes },
  ): Promise<void> {
    const { lab } = this;
    await lab.stopRole('gateway');
    this.machines = lab.farm.machines.slice(0, count);
    this.delaysMs = { ...draw.delaysMs, ...changes };
    await lab.wan.setPaths(
      Object.fromEntries(Object.entries(this.delaysMs).map(([path, delayMs]) => [path, { delayMs }])),
    );
    await lab.farm.publish(this.machines);
    await lab.farm.answerProbes(!isBare);
    lab.startRole('gateway');
    await lab.roles.waitUntilReady();
  }

  /** Nearest first, with the origin. */
  get nearest(): { name: string; ms: number }[] {
    return byRoundTrip(this.delaysMs, this.machines);
  }

  /**
   * Direct connections, which are never raced, to the nearest machines and to the origin: as many at a time as in a
   * sample, because connections that are made together cost more of this machine's time.
   */
  async reference(): Promise<Reference> {
    const direct = async (name: string): Promise<number> => {
      const address = name === 'origin' ? SERVICE : machineAddress(name);
      const all = await this.client.connect(address, DIRECT_PORT, ORACLE_SAMPLES, CONCURRENCY);
      if (all.some((c) => c.servedBy !== name)) this.say(`${name} did not answer a direct connection`);
      return median(all.map((c) => c.connectMs));
    };
    const times: number[] = [];
    for (const { name, ms } of this.nearest.slice(0, ORACLE_MACHINES)) {
      const measured = await direct(name);
      times.push(measured);
      if (Math.abs(measured - ms) > ORACLE_TOLERANCE_MS)
        this.say(
          `a direct connection to ${name} takes ${measured.toFixed(1)} ms, its round trip is ${ms} ms`,
        );
    }
    return { nearestMs: Math.min(...times), originMs: await direct('origin') };
  }

  /**
   * Counts `count` connections: at once, or after one round of the gateway's probes. Then as many more follow, of which SYNs
   * are counted too: the steady state.
   */
  async sample(count: number, isCold: boolean): Promise<Sample> {
    const begun = performance.now();
    let reference: Reference | undefined;
    if (!isCold) {
      reference = await this.reference();
      await pause(PROBE_ROUND_MS - (performance.now() - begun));
    }
    const first = isCold ? [] : await this.client.connect(SERVICE, SERVICE_PORT, count, CONCURRENCY);
    const before = await this.#syns();
    const last = await this.client.connect(SERVICE, SERVICE_PORT, count, isCold ? 1 : CONCURRENCY);
    const syns = (await this.#syns()) - before;
    const connections = [...first, ...last];
    reference ??= await this.reference();
    return {
      ...reference,
      connections,
      failed: connections.filter((c) => c.servedBy === '').length,
      near: connections.filter((c) => this.isNear(c)).length,
      syns,
      steady: last.length,
    };
  }

  isNear({ servedBy }: Connection): boolean {
    const order = this.nearest;
    const served = order.find((m) => m.name === servedBy);
    return served !== undefined && served.ms - order[0].ms <= NEAR_MS;
  }

  async #syns(): Promise<number> {
    let sum = 0;
    for (const host of HOSTS) {
      const argv = ['nft', 'list', 'counter', 'ip', 'lab-syns', 'syns'];
      const { stdout } = await this.lab.exec(host, argv);
      sum += Number(/packets (\d+)/.exec(stdout)?.[1]);
    }
    return sum;
  }

  async end(): Promise<void> {
    this.client.end();
    await this.lab.down();
  }
}
