// The farm: delays by address in the emulator, one-off events, a host's own line, and the machines' names.
import { describe, expect, it } from 'vitest';
import { VNET_HEADER } from '../../../src/device/device.js';
import type { OneOff, WanPlan } from '../../../src/lab/emulator.js';
import { isMachine, machineAddress, machineNames } from '../../../src/lab/farm.js';
import { Bench, packet } from './emulator-bench.js';

const HOSTS = ['gateway', 'origin', 'farm'];
const MACHINES = 400;
const CLASSES = [{ slotBytes: 2048, slots: 256 }];
const CLIENT = '192.0.2.2';

function farmPlan(paths: Record<string, number>, more: Partial<WanPlan> = {}): WanPlan {
  return {
    generation: 0,
    seed: 7,
    hosts: [
      { name: 'gateway', prefixes: ['198.18.1.0/24', '192.0.2.0/24'] },
      { name: 'origin', prefixes: ['198.18.2.0/24', '203.0.113.0/24'] },
      { name: 'farm', prefixes: ['198.18.3.0/24', '198.19.0.0/16'] },
    ],
    machines: MACHINES,
    paths: Object.fromEntries(Object.entries(paths).map(([path, delayMs]) => [path, { delayMs }])),
    ...more,
  };
}

const bed = (paths: Record<string, number>, more?: Partial<WanPlan>): Bench =>
  new Bench(farmPlan(paths, more), CLASSES, HOSTS);

/** A packet from one address to another; with `flags` it is a TCP segment. */
function between(saddr: string, daddr: string, mark: number, flags?: number): Uint8Array {
  const bytes = packet(daddr, mark);
  bytes.set(saddr.split('.').map(Number), VNET_HEADER + 12);
  bytes[VNET_HEADER + 9] = flags === undefined ? 17 : 6;
  bytes[VNET_HEADER + 20 + 13] = flags ?? 0;
  return bytes;
}

const SYN = 0x02;
const ACK = 0x10;
const times = (b: Bench): [number, number][] => b.got.map((g) => [g.mark, (g.atUs - 1_000_000) / 1000]);

describe('the emulator with a farm', () => {
  it('delays a packet by the address of the machine, in each direction', () => {
    const delays: Record<string, number> = { 'gateway>farm': 99, 'farm>gateway': 99 };
    for (const m of machineNames(MACHINES)) {
      const n = Number(m.slice(1));
      Object.assign(delays, { [`gateway>${m}`]: n, [`${m}>gateway`]: n + 0.5, [`origin>${m}`]: n + 0.25 });
    }
    const b = bed(delays);
    for (const n of [1, 2, 255, 256, 400]) {
      b.send('gateway', between(CLIENT, machineAddress(`m${n}`), n));
      b.send('farm', between(machineAddress(`m${n}`), CLIENT, 1000 + n));
      b.send('origin', between('203.0.113.10', machineAddress(`m${n}`), 2000 + n));
    }
    b.drain();
    const expected = [1, 2, 255, 256, 400].flatMap((n) => [
      [n, n],
      [2000 + n, n + 0.25],
      [1000 + n, n + 0.5],
    ]);
    expect(times(b)).toEqual(expected);
  });

  it('uses the path of the host for its own address, and for an address beyond the last machine', () => {
    const b = bed({ 'gateway>farm': 3, 'farm>gateway': 4, 'gateway>m400': 50 });
    b.send('gateway', between(CLIENT, '198.18.3.2', 1));
    b.send('gateway', between(CLIENT, machineAddress('m401'), 2));
    b.send('gateway', between(CLIENT, '198.19.0.0', 3));
    b.send('farm', between('198.18.3.2', CLIENT, 4));
    b.drain();
    expect(times(b)).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
      [4, 4],
    ]);
  });

  it('keeps the order of packets on one machine path, and lets no machine wait for another', () => {
    const b = bed({ 'm1>gateway': 30, 'm2>gateway': 5 });
    b.send('farm', between(machineAddress('m1'), CLIENT, 1));
    b.send('farm', between(machineAddress('m2'), CLIENT, 2));
    b.drain();
    expect(times(b)).toEqual([
      [2, 5],
      [1, 30],
    ]);
  });

  it('has jitter and loss for each machine', () => {
    const plan = farmPlan({});
    plan.paths = {
      'm1>gateway': { delayMs: 10, jitterMs: 2 },
      'm2>gateway': { delayMs: 10, lossPct: 100 },
    };
    const b = new Bench(plan, CLASSES, HOSTS);
    for (let n = 0; n < 20; n++) b.send('farm', between(machineAddress('m1'), CLIENT, n));
    b.send('farm', between(machineAddress('m2'), CLIENT, 99));
    b.drain();
    const late = times(b).map(([, ms]) => ms);
    expect(late).toHaveLength(20);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(10);
    expect(Math.max(...late)).toBeLessThanOrEqual(12);
    expect(new Set(late).size).toBeGreaterThan(1);
  });

  it('makes one packet late, and no packet behind it', () => {
    const once: OneOff[] = [{ path: 'm1>gateway', next: 'packet', what: { lateMs: 150 } }];
    const b = bed({ 'm1>gateway': 10 }, { once });
    for (const n of [1, 2]) b.send('farm', between(machineAddress('m1'), CLIENT, n));
    b.drain();
    expect(times(b)).toEqual([
      [2, 10],
      [1, 160],
    ]);
    expect(b.emulator.statistics().struck).toBe(1);
  });

  it('drops the next SYN of one machine only, once', () => {
    const once: OneOff[] = [{ path: 'gateway>m2', next: 'syn', what: 'dropped' }];
    const b = bed({}, { once });
    const send = (machine: string, mark: number, flags?: number): void =>
      b.send('gateway', between(CLIENT, machineAddress(machine), mark, flags));
    send('m1', 1, SYN);
    send('m2', 2, ACK);
    send('m2', 3);
    send('m2', 4, SYN);
    send('m2', 5, SYN);
    b.drain();
    expect(b.got.map((g) => g.mark)).toEqual([1, 2, 3, 5]);
    expect(b.emulator.statistics()).toMatchObject({ lost: 1, struck: 1 });
    // A later plan does not bring it back, and one that names none ends what has not happened.
    b.emulator.apply(farmPlan({}));
    send('m2', 6, SYN);
    b.drain();
    expect(b.got.map((g) => g.mark)).toEqual([1, 2, 3, 5, 6]);
    b.emulator.apply(farmPlan({}, { once }));
    b.emulator.apply(farmPlan({}, { once: [] }));
    send('m2', 7, SYN);
    b.drain();
    expect(b.got.map((g) => g.mark)).toEqual([1, 2, 3, 5, 6, 7]);
  });

  it('lets the SYNs by which a gateway probes pass, and their acknowledgements', () => {
    const once: OneOff[] = [
      { path: 'gateway>m1', next: 'syn', what: 'dropped' },
      { path: 'm1>gateway', next: 'syn', what: 'dropped' },
    ];
    const b = bed({}, { once });
    const m1 = machineAddress('m1');
    b.send('gateway', between('192.0.2.0', m1, 1, SYN));
    b.send('farm', between(m1, '192.0.2.0', 2, SYN | ACK));
    b.send('gateway', between(CLIENT, m1, 3, SYN));
    b.send('farm', between(m1, CLIENT, 4, SYN | ACK));
    b.drain();
    expect(b.got.map((g) => g.mark)).toEqual([1, 2]);
    expect(b.emulator.statistics()).toMatchObject({ lost: 2, struck: 2 });
  });

  it("delays every packet to a host by that host's line, and only those", () => {
    const b = bed(
      { 'm1>gateway': 10, 'origin>gateway': 20, 'gateway>m1': 10 },
      { linesMs: { gateway: 200 } },
    );
    b.send('farm', between(machineAddress('m1'), CLIENT, 1));
    b.send('origin', between('203.0.113.10', CLIENT, 2));
    b.send('gateway', between(CLIENT, machineAddress('m1'), 3));
    b.drain();
    expect(times(b)).toEqual([
      [3, 10],
      [1, 210],
      [2, 220],
    ]);
  });
});

describe('the machines of a farm', () => {
  it('have names and addresses by number', () => {
    expect(machineNames(3)).toEqual(['m1', 'm2', 'm3']);
    expect(['m1', 'm255', 'm256', 'm40000'].map(machineAddress)).toEqual([
      '198.19.0.1',
      '198.19.0.255',
      '198.19.1.0',
      '198.19.156.64',
    ]);
    expect(['m1', 'm40000', 'm0', 'm01', 'r1', 'farm'].map(isMachine)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
  });
});
