// A farm of forty machines on one host: connections through a gateway reach some of them, and each machine's delays
// are its own.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from '../../src/lab/bench/connect.js';
import { machineAddress } from '../../src/lab/farm.js';
import { Lab } from '../../src/lab/lab.js';
import { type DrawnDelays, farmTopology } from '../../src/lab/matrix.js';
import { waitUntil } from '../../src/lab/process.js';
import { DIRECT_PORT } from '../../src/lab/web-server.js';
import { freshName } from './lab-support.js';

const MACHINES = 40;
const SERVICE = '203.0.113.10';
const OTHER = { name: 'other', address: '203.0.113.11', ports: [80], raceWindowMs: 500 };
/** A shared machine makes packets late, never early. */
const LATE_MS = 8;

/** Machine n is 10 + n ms away from the gateway, and the origin 90 ms. */
function draw(): DrawnDelays {
  const delaysMs: Record<string, number> = { 'gateway>origin': 45, 'origin>gateway': 45 };
  for (let n = 1; n <= MACHINES; n++) {
    Object.assign(delaysMs, { [`gateway>m${n}`]: 4 + n, [`m${n}>gateway`]: 6 });
    Object.assign(delaysMs, { [`origin>m${n}`]: 30, [`m${n}>origin`]: 30 });
  }
  return { rows: Array.from({ length: MACHINES + 2 }, (_, i) => i), delaysMs };
}

describe('a farm', () => {
  let lab: Lab;
  let client: Client;

  beforeAll(async () => {
    const topology = farmTopology(draw(), true);
    lab = await Lab.create({
      name: freshName(),
      seed: 1,
      topology: { ...topology, services: [...topology.services, OTHER] },
      configuration: 'A',
      race: 'learned',
    });
    client = new Client(lab);
  });
  afterAll(async () => {
    client?.end();
    await lab?.down();
  });

  /** The least of a few, because a stall of this machine makes one late. */
  async function directly(machine: string): Promise<number> {
    const all = await client.connect(machineAddress(machine), DIRECT_PORT, 5);
    expect(all.map((c) => c.servedBy)).toEqual(Array(5).fill(machine));
    return Math.min(...all.map((c) => c.connectMs));
  }

  it('has a delay for each machine', async () => {
    for (const n of [1, 20, 40]) {
      const ms = await directly(`m${n}`);
      expect(ms).toBeGreaterThanOrEqual(10 + n - 0.1);
      expect(ms).toBeLessThan(10 + n + LATE_MS);
    }
  });

  it('is known to the gateway, which carries connections to its machines', async () => {
    const status = await lab.roles.status('gateway');
    expect([...status!.applied.replicasUp].sort()).toEqual([...lab.farm.machines].sort());
    const all = await client.connect(SERVICE, 80, 20, 2);
    for (const c of all) expect(c.servedBy).toMatch(/^(m\d+|origin)$/);
    const served = all.map((c) => c.servedBy).filter((name) => name !== 'origin');
    expect(served.length).toBeGreaterThan(0);
    const logged = lab.webServer('farm').accessLog();
    const raced = logged.filter(
      (line) => line.server.endsWith(':80') && line.client.startsWith('192.0.2.2:'),
    );
    expect(raced.map((line) => line.host).sort()).toEqual(served.sort());
  });

  it('the machine that becomes the nearest is found within a round of probes, though it is the fortieth', async () => {
    await lab.wan.setPaths({ 'gateway>m40': { delayMs: 1 }, 'm40>gateway': { delayMs: 1 } });
    const isFound = async (): Promise<boolean> => {
      const all = await client.connect(SERVICE, 80, 10);
      return all.every((c) => c.servedBy === 'm40');
    };
    expect(await waitUntil(isFound, 20_000)).toBe(true);
    // The control half takes over a change a moment later. On a busy machine an answer to a UDP probe is late now and then,
    // and its machine is asked by a SYN for a while.
    const told = async (): Promise<unknown> => {
      const status = (await lab.roles.status('gateway')) as unknown as {
        replicas: Record<string, unknown>[];
      };
      const { replicas } = status;
      const farther = replicas.filter((r) => r.isFarther === true).length;
      return { farther, mostByUdp: replicas.filter((r) => r.probe === 'udp').length > MACHINES / 2 };
    };
    await expect.poll(told, { timeout: 10_000 }).toEqual({ farther: MACHINES - 31, mostByUdp: true });
  });

  it('answers probes as a replica does, and is silent when told so', async () => {
    const answered = () => lab.roles.counter('gateway', 'drop.probe-answer');
    expect(await waitUntil(async () => (await answered()) > 0, 10_000)).toBe(true);
    const socketsOpen = async () =>
      (await lab.exec('farm', ['ss', '-Hlun', 'sport', '=', ':7417'])).stdout
        .trim()
        .split('\n')
        .filter(Boolean).length;
    expect(await socketsOpen()).toBe(MACHINES);
    await lab.farm.answerProbes(false);
    expect(await socketsOpen()).toBe(0);
  });

  it('changes one path, one packet, and the line of a host while it runs', async () => {
    await lab.wan.setPath('m1>gateway', { delayMs: 36 });
    expect(await directly('m1')).toBeGreaterThanOrEqual(41 - 0.1);
    expect(await directly('m2')).toBeLessThan(12 + LATE_MS);
    await lab.wan.once({ path: 'm2>gateway', next: 'syn', what: { lateMs: 150 } });
    const [late, next] = await client.connect(machineAddress('m2'), DIRECT_PORT, 2);
    expect(late.connectMs).toBeGreaterThanOrEqual(162 - 0.1);
    expect(next.connectMs).toBeLessThan(150);
    expect((await lab.wanStatistics()).struck).toBe(1);
    await lab.wan.setLine('gateway', 100);
    expect(await directly('m3')).toBeGreaterThanOrEqual(113 - 0.1);
    await lab.wan.setLine('gateway', 0);
    expect(await directly('m3')).toBeLessThan(100);
  });

  const known = async (): Promise<string[]> =>
    (await lab.roles.status('gateway'))!.applied.replicasUp.map(String).sort();

  it('has machines of another service, which serve that one', async () => {
    const service = { name: OTHER.name, port: 80 };
    const m3 = { id: 'm3', address: machineAddress('m3'), service };
    await lab.farm.publish([m3, ...lab.farm.machines.filter((m) => m !== 'm3')]);
    const served = async () => (await client.connect(OTHER.address, 80))[0].servedBy;
    expect(await waitUntil(async () => (await served()) === 'm3', 10_000)).toBe(true);
    await lab.farm.publish(lab.farm.machines);
  });

  it('has records that change by themselves, when told so', async () => {
    await lab.farm.vary({ state: 0.5, load: 0.5, steady: ['m1'] });
    expect(await waitUntil(async () => (await known()).length < MACHINES, 10_000)).toBe(true);
    expect(await known()).toContain('m1');
    await lab.farm.vary(undefined);
    expect(await waitUntil(async () => (await known()).length === MACHINES, 10_000)).toBe(true);
  });

  it('lets a connection outlive the record of its machine', async () => {
    const held = await client.hold(SERVICE, 80);
    expect(held.servedBy).not.toBe('');
    const rest = lab.farm.machines.filter((m) => m !== held.servedBy);
    await lab.farm.publish(rest);
    expect(await waitUntil(async () => !(await known()).includes(held.servedBy), 10_000)).toBe(true);
    expect(await held.end()).toBe(held.servedBy);
  });

  it('publishes other machines, or other identities, while it runs', async () => {
    await lab.farm.publish(['m1', { id: 'fresh', address: machineAddress('m2') }]);
    expect(await waitUntil(async () => (await known()).join() === 'fresh,m1', 10_000)).toBe(true);
  });
});
