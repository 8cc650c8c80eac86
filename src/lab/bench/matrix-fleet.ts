/**
 * `ten-thousand`: one gateway process and a fleet of 10,000 machines of 100 services. The machines are a farm with real
 * web servers, records and answered probes; the processor time is that of the gateway's process alone.
 */
import { FirstackError } from '../../errors.js';
import { median } from '../../probe/distance.js';
import { machineAddress, type Published } from '../farm.js';
import { Lab } from '../lab.js';
import { byRoundTrip, type DrawnFleet, drawFleet, farmTopology, type Matrix } from '../matrix.js';
import { pause, waitUntil } from '../process.js';
import { Client, type Connection } from './connect.js';
import { processCpuSeconds } from './cpu.js';
import { NEAR_MS, SERVICE_PORT } from './matrix-bed.js';
import type { Add } from './matrix-changes.js';
import { LOAD_CHANGES, STATE_CHANGES } from './registry-fleet.js';
import { memoryOf } from './soak-samples.js';

export interface FleetShape {
  services: number;
  /** Machines of each service. */
  each: number;
}
export const TEN_THOUSAND: FleetShape = { services: 100, each: 100 };
/** New machines that become the nearest of a service, one after another. */
const ARRIVALS = 3;
/** New machines are probed at once, a thousand in a second. */
const FIRST_ROUND_MS = 30_000;
const CPU_MS = 40_000;
const CONNECTIONS = 4;
const ARRIVAL_PER_SECOND = 5;
const ARRIVAL_TIMEOUT_MS = 60_000;
const ARRIVAL_TARGET_S = 15;
/** A service whose nearest machine is at least so far has room for one that is clearly nearer. */
const ROOM_MS = 8;
/** These machines of each service do not become busy, so that it is known which is the nearest that is up. */
const STEADY = 4;
const READY_MS = 60_000;
const LOAD_PER_SECOND = 50;
const MISSES_SAID = 20;

const yes = (met: boolean): 'yes' | 'no' => (met ? 'yes' : 'no');
const serviceName = (n: number): string => `s${n + 1}`;
const serviceAddress = (n: number): string => `203.0.113.${10 + n}`;

interface Made {
  service: number;
  connection: Connection;
}

class Fleet {
  readonly client: Client;

  constructor(
    readonly lab: Lab,
    readonly drawn: DrawnFleet,
    readonly say: (line: string) => void,
  ) {
    this.client = new Client(lab);
  }

  get published(): Published[] {
    return this.drawn.services.flatMap((machines, n) => machines.map((m) => publishedFor(m, n)));
  }

  /** Nearest first, with the origin. */
  nearest(service: number): { name: string; ms: number }[] {
    return byRoundTrip(this.drawn.delaysMs, this.drawn.services[service]);
  }

  isNear(service: number, { servedBy }: Connection): boolean {
    const order = this.nearest(service);
    const served = order.find((m) => m.name === servedBy);
    return served !== undefined && served.ms - order[0].ms <= NEAR_MS;
  }

  /** The share of a core that the gateway's process used meanwhile. */
  async processor(what: Promise<unknown>): Promise<number> {
    const pids = [this.lab.roles.pid('gateway')!];
    const [begun, before] = [performance.now(), processCpuSeconds(pids)];
    await what;
    return ((processCpuSeconds(pids) - before) * 1000) / (performance.now() - begun);
  }

  /** Returns when the gateway's data plane works with all machines. */
  async untilKnown(): Promise<void> {
    const { roles } = this.lab;
    const count = this.published.length;
    const begun = performance.now();
    const known = async (): Promise<boolean> =>
      ((await roles.status('gateway'))?.applied.replicasUp.length ?? 0) >= count;
    if (!(await waitUntil(known, READY_MS, 250)))
      throw new FirstackError('FSA_LAB_FAILED', `the gateway does not know ${count} replicas`);
    const seconds = (performance.now() - begun) / 1000;
    this.say(`ten-thousand: the gateway knows ${count} replicas after ${seconds.toFixed(1)} s`);
  }

  /** Which machine served instead of the nearest, and what the gateway knows of both. */
  async explain({ service, connection }: Made): Promise<string> {
    const order = this.nearest(service);
    const status = (await this.lab.roles.status('gateway')) as
      | { replicas?: Record<string, unknown>[] }
      | undefined;
    const of = (name: string): string => {
      const { state, rttMs, probe } = status?.replicas?.find((r) => r.id === name) ?? {};
      return `${name}, ${order.find((m) => m.name === name)?.ms} ms (gateway: ${state}, ${rttMs} ms, ${probe})`;
    };
    return `${serviceName(service)} was served by ${of(connection.servedBy)}, nearest ${of(order[0].name)}`;
  }

  get rssMb(): number {
    return (memoryOf(this.lab.roles.pid('gateway'))?.rss ?? 0) / 1024;
  }
}

const publishedFor = (machine: string, service: number): Published => ({
  id: machine,
  address: machineAddress(machine),
  service: { name: serviceName(service), port: SERVICE_PORT },
});

/** Starts its own laboratory. No other one of this bench may run at the same time: two cores carry one. */
export async function tenThousand(
  matrix: Matrix,
  { seed, asymmetric }: { seed: number; asymmetric: boolean },
  add: Add,
  say: (line: string) => void,
  shape = TEN_THOUSAND,
): Promise<void> {
  const drawn = drawFleet(matrix, { ...shape, spare: ARRIVALS }, seed, asymmetric);
  const services = drawn.services.map((_, n) => ({
    ...{ name: serviceName(n), address: serviceAddress(n), ports: [SERVICE_PORT], raceWindowMs: 500 },
  }));
  const lab = await Lab.create({
    name: `bench-${process.pid}`,
    topology: { ...farmTopology(drawn, true), services },
    roles: false,
    progress: say,
  });
  const fleet = new Fleet(lab, drawn, say);
  try {
    await lab.farm.publish([]);
    await lab.startRoles({ configuration: 'A', race: 'learned', log: 'warn' });
    // It has published the services. The machine is too small for its measurements of 10,000 replicas beside the rest.
    await lab.stopRole('origin');
    await lab.farm.publish(fleet.published);
    await fleet.untilKnown();
    await measure(fleet, add);
  } finally {
    fleet.client.end();
    await lab.down();
  }
}

async function measure(fleet: Fleet, add: Add): Promise<void> {
  const { lab, drawn, say } = fleet;
  const steady = drawn.services.flatMap((_, n) =>
    fleet.nearest(n).flatMap(({ name }, k) => (k < STEADY ? [name] : [])),
  );
  await lab.farm.vary({ state: STATE_CHANGES, load: LOAD_CHANGES, steady });
  const first = await fleet.processor(pause(FIRST_ROUND_MS));
  say(`ten-thousand: ${(100 * first).toFixed(1)} % of a core while all are probed for the first time`);

  const connections: Made[] = [];
  for (let n = 0; n < drawn.services.length; n++)
    for (const connection of await fleet.client.connect(serviceAddress(n), SERVICE_PORT, CONNECTIONS))
      connections.push({ service: n, connection });
  const misses = connections.filter((c) => !fleet.isNear(c.service, c.connection));
  for (const miss of misses.slice(0, MISSES_SAID)) say(`ten-thousand: ${await fleet.explain(miss)}`);
  const near = 1 - misses.length / connections.length;
  add('ten-thousand', 'near', near, '>= 0.99', yes(near >= 0.99));
  const failed = connections.filter((c) => c.connection.servedBy === '').length;
  add('ten-thousand', 'failed connections', failed, '0', yes(failed === 0));

  const idle = await fleet.processor(pause(CPU_MS));
  add('ten-thousand', 'processor, cores', idle, '<= 0.05', yes(idle <= 0.05));
  const loaded = await fleet.processor(busy(fleet));
  const mode = `processor, cores, with ${LOAD_PER_SECOND} connections a second`;
  add('ten-thousand', mode, loaded, 'reported', 'reported');

  const times: number[] = [];
  for (let k = 0; k < ARRIVALS; k++) times.push(await arrive(fleet, k));
  const worst = Math.max(...times);
  add(
    'ten-thousand',
    'new replica used, seconds',
    worst,
    `<= ${ARRIVAL_TARGET_S}`,
    yes(worst <= ARRIVAL_TARGET_S),
  );
  add('ten-thousand', 'the same, median', median(times), 'reported', 'reported');
  const rss = fleet.rssMb;
  add('ten-thousand', 'memory of the gateway, MB', rss, '<= 300', yes(rss <= 300));
}

/** Ten services have connections at a time. */
async function busy(fleet: Fleet): Promise<void> {
  const count = (LOAD_PER_SECOND / 10) * (CPU_MS / 2000);
  await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      fleet.client.connectSteadily(serviceAddress(n), SERVICE_PORT, count, LOAD_PER_SECOND / 10),
    ),
  );
}

/** Publishes a machine that is the nearest of its service. @returns seconds until it served a connection */
async function arrive(fleet: Fleet, k: number): Promise<number> {
  const { lab, drawn, say } = fleet;
  const machine = lab.farm.machines[lab.farm.machines.length - 1 - k];
  const withRoom = drawn.services.flatMap((_, n) => (fleet.nearest(n)[0].ms >= ROOM_MS ? [n] : []));
  const service = withRoom[k] ?? k;
  const ms = fleet.nearest(service)[0].ms / 2;
  for (const path of [`gateway>${machine}`, `${machine}>gateway`]) drawn.delaysMs[path] = ms / 2;
  await lab.wan.setPaths({
    [`gateway>${machine}`]: { delayMs: ms / 2 },
    [`${machine}>gateway`]: { delayMs: ms / 2 },
  });
  drawn.services[service].push(machine);
  const begun = performance.now();
  await lab.farm.publish(fleet.published);
  while (performance.now() - begun < ARRIVAL_TIMEOUT_MS) {
    const [{ servedBy }] = await fleet.client.connect(serviceAddress(service), SERVICE_PORT);
    if (servedBy === machine) {
      const seconds = (performance.now() - begun) / 1000;
      say(`ten-thousand: ${machine}, ${ms.toFixed(1)} ms away, served after ${seconds.toFixed(1)} s`);
      return seconds;
    }
    await pause(1000 / ARRIVAL_PER_SECOND);
  }
  say(`ten-thousand: ${machine}, ${ms.toFixed(1)} ms away, has not served`);
  return ARRIVAL_TIMEOUT_MS / 1000;
}
