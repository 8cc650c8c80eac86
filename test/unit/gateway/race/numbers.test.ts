/** Numbers that must not run out: each is taken beyond a former limit, and connections still work. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Fleet } from '../../../../gateway/race/fleet.js';
import { snapshotOf } from '../../../../gateway/race/fleet-orders.js';
import { RaceFlows } from '../../../../gateway/race/flows.js';
import { Machines } from '../../../../gateway/race/machines.js';
import { MAX_ENDPOINTS } from '../../../../src/fastpath/maps.js';
import { Numbers } from '../../../../src/proximity/candidates.js';
import { readLearned } from '../../../../src/proximity/learned-table.js';
import {
  isUnused,
  MOST_SERVICES,
  UsageWriter,
  usageBytes,
  walksOf,
} from '../../../../src/proximity/usage.js';
import { readRaces } from '../../../../src/race/record-read.js';
import type { RaceService, ReplicaRecord } from '../../../../src/race/records.js';
import type { View } from '../../../../src/registry/kinds.js';
import { asReplica, asService, CLIENT_PORT, NOW_SECONDS, R1, syn } from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame } from '../../../support/naive.js';
import { machineNumber } from '../../../support/numbers.js';
import { raceView } from '../../../support/race-view.js';

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

const service = (n: number, ports = [80]): RaceService => ({
  name: `s${n}`,
  address: `203.0.${113 + (n >> 8)}.${n & 255}`,
  ports,
  configuration: 'A',
  replicable: true,
  raceWindowMs: 500,
});
const replica = (id: string, n: number, services = ['s1']): ReplicaRecord => ({
  v: 1,
  id,
  address: `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`,
  services: services.map((name) => ({ name })),
  state: 'up',
  reason: '',
  connections: 0,
  load: 0,
  clock: 'free',
});
const many = (count: number, prefix: string, from = 0): ReplicaRecord[] =>
  Array.from({ length: count }, (_, n) => replica(`${prefix}${n}`, from + n));

/** A fleet whose data plane has no flows; the test sets the number of finished walks. */
function fleetWith(race: 'origin' | 'gateway' | 'learned' = 'learned') {
  const usage = new Float64Array(usageBytes / 8);
  const flows = new RaceFlows(4, [1, 2]);
  const machines = new Machines();
  const address = new Int32Array(4);
  const writer = new UsageWriter(usage, flows, (e) => {
    const port = flows.serviceOf(e, address);
    return machines.services.ofWords(address, 0, port);
  });
  const fleet = new Fleet(race, usage);
  return {
    fleet,
    flows,
    usage,
    walk: (times: number): void => {
      for (let n = 0; n < times; n++) writer.walk(4);
    },
    update: (view: View): void => {
      fleet.update(view, undefined);
      const { services, endpoints } = snapshotOf(fleet, 1500, 1440);
      machines.load(services, endpoints);
    },
  };
}

describe('endpoints', () => {
  it('beyond 32,767 are found, each by its own number', () => {
    const { fleet, update } = fleetWith('origin');
    const ports = [80, 81, 82, 83];
    update(raceView({ services: [service(1, ports)], replicas: many(10_000, 'r') }));
    const { services, endpoints } = snapshotOf(fleet, 1500, 1440);
    expect(endpoints).toHaveLength(40_000 + ports.length);
    expect(fleet.leftOut.machines.size).toBe(0);
    const machines = new Machines();
    machines.load(services, endpoints);
    for (const n of [0, 1, 32_766, 32_767, 32_768, 40_000, 40_003]) {
      const { address, port, candidate } = endpoints[n];
      const found = machines.endpoints.ofWords(Int32Array.from(address), 0, port);
      expect(found).toBe(n);
      expect(machines.endpointCandidate[found]).toBe(candidate);
    }
  });

  it('of other machines take no place of known ones, are left out beyond the limit, and are removed again', () => {
    const { fleet, update, walk } = fleetWith();
    const own = { services: [service(1, [80, 81])], replicas: [replica('own', 1)] };
    update(raceView(own));
    update(raceView({ ...own, replicas: [...many(33_000, 'stranger', 1000), ...own.replicas] }));
    expect(fleet.endpointCount).toBe(MAX_ENDPOINTS);
    expect(fleet.leftOut.machines.size).toBeGreaterThan(200);
    expect(fleet.leftOut.replicas.size).toBeGreaterThan(30_000);
    expect(fleet.services.map((s) => s.raced)).toEqual([true, true]);
    const live = snapshotOf(fleet, 1500, 1440).endpoints.filter((e) => e.live && e.candidate === 1);
    expect(live).toHaveLength(2);
    update(raceView(own));
    walk(2);
    update(raceView(own));
    expect(fleet.endpointCount).toBe(4);
    expect(Object.values(fleet.leftOut).map((ids) => ids.size)).toEqual([0, 0, 0, 0]);
    expect(fleet.machines.size).toBe(2);
  });

  it('of a machine that has left stay known while flows have it as their winner', () => {
    const { fleet, flows, update, walk } = fleetWith();
    const services = [service(1)];
    update(raceView({ services, replicas: [replica('a', 1)] }));
    flows.keyV4(1, 2, 3, 4);
    const e = flows.insert();
    flows.winner[e] = machineNumber(1);
    for (let n = 0; n < 5; n++) {
      update(raceView({ services, replicas: [] }));
      walk(1);
    }
    expect(fleet.endpointCount).toBe(2);
    flows.remove(e);
    walk(2);
    update(raceView({ services, replicas: [] }));
    expect(fleet.endpointCount).toBe(1);
  });
});

describe('candidates', () => {
  it('are assigned again: 500 machines one after another are all raced', () => {
    const { fleet, update, walk } = fleetWith();
    const services = [service(1)];
    let asked = 0;
    for (let n = 0; n < 500; n++) {
      update(raceView({ services, replicas: [replica(`pod-${n}`, n)] }));
      const live = snapshotOf(fleet, 1500, 1440).endpoints.filter((e) => e.live && e.candidate !== 0);
      if (live.length === 1 && live[0].candidate > 0) asked++;
      walk(1);
    }
    expect(asked).toBe(500);
    expect(fleet.machines.size).toBeLessThan(6);
    expect(fleet.endpointCount).toBeLessThan(6);
  });

  it('beyond those that a race can name are reported, and asked once a number is free', () => {
    const { fleet, update, walk } = fleetWith();
    const services = [service(1)];
    const all = many(40, 'r');
    update(raceView({ services, replicas: all }));
    expect([...fleet.leftOut.replicas]).toEqual(all.slice(31).map((r) => r.id));
    walk(1);
    update(raceView({ services, replicas: all.slice(5) }));
    walk(2);
    update(raceView({ services, replicas: all.slice(5) }));
    expect([...fleet.leftOut.replicas]).toEqual(['r36', 'r37', 'r38', 'r39']);
    const asked = snapshotOf(fleet, 1500, 1440).endpoints.filter((e) => e.live && e.candidate >= 0);
    expect(asked).toHaveLength(32);
    expect(fleet.candidateId(0, 1)).toBe('r31');
  });

  it('keep their former meaning in old races', () => {
    const c = new Numbers();
    let race = 0;
    c.nextRace = () => race;
    expect([c.numberOf('a'), c.numberOf('b')]).toEqual([1, 2]);
    race = 100;
    c.release('a');
    expect(c.numberOf('c')).toBe(1);
    expect([c.idOf(1, 99), c.idOf(1, 100), c.idOf(1)]).toEqual(['a', 'c', 'c']);
    expect([c.generationOf(1), c.generationOf(2)]).toEqual([1, 0]);
    c.forgetBefore(100);
    expect(c.idOf(1, 99)).toBe('#1');
    expect(c.find('a')).toBeUndefined();
  });

  it('are unused only after two whole walks that did not meet them', () => {
    const { flows, usage, walk } = fleetWith();
    const one = machineNumber(1);
    flows.keyV4(1, 2, 3, 4);
    const e = flows.insert();
    flows.winner[e] = one;
    walk(3);
    expect(walksOf(usage)).toBe(3);
    expect(isUnused(usage, one, 0)).toBe(false);
    flows.remove(e);
    walk(1);
    expect(isUnused(usage, one, 0)).toBe(false);
    walk(1);
    expect(isUnused(usage, one, 0)).toBe(true);
    expect(isUnused(usage, one, 4)).toBe(false);
  });
});

describe('services', () => {
  const named = (from: number, count: number): RaceService[] =>
    Array.from({ length: count }, (_, n) => service(from + n));

  it('that have left give their numbers to others, except where a flow goes on', () => {
    const { fleet, flows, update, walk } = fleetWith();
    let race = 0;
    fleet.machines.nextRace = () => race;
    const replicas = [replica('a', 1, ['s1', 's5000'])];
    update(raceView({ services: named(0, MOST_SERVICES), replicas }));
    expect([fleet.leftOut.services.size, fleet.isForgetting]).toEqual([0, false]);
    flows.keyV4(1, 2, (203 << 24) | (113 << 8) | 2, 80);
    const flow = flows.insert();
    // Services 0 to 9 leave, and ten others come.
    const now = { services: [...named(10, MOST_SERVICES - 10), ...named(5000, 10)], replicas };
    race = 100;
    update(raceView(now));
    expect([fleet.leftOut.services.size, fleet.isForgetting]).toEqual([10, true]);
    walk(2);
    update(raceView(now));
    expect(fleet.leftOut.services.size).toBe(10);
    walk(1);
    update(raceView(now));
    expect([...fleet.leftOut.services]).toEqual(['s5009']);
    expect([fleet.service(2)?.name, fleet.service(1)?.address]).toEqual(['s2', named(5007, 1)[0].address]);
    expect([fleet.service(1, 99), fleet.service(1, 100)?.name]).toEqual([undefined, 's5007']);
    flows.remove(flow);
    walk(2);
    update(raceView(now));
    expect([fleet.leftOut.services.size, fleet.isForgetting]).toEqual([0, false]);
    expect(fleet.service(2)?.name).toBe('s5009');
    expect(fleet.endpointCount).toBe(MOST_SERVICES + 1);
    expect(fleet.services.find((s) => s.name === 's5000')?.raced).toBe(true);
  });

  it('whose number means another service now have left no learned times', () => {
    const h = new Harness('gateway', { configuration: 'A', race: 2 });
    h.send([frame(syn({}))]);
    h.clock.nowUs += 20_000;
    h.send([frame(asReplica(R1, asService('SA', {})))]);
    expect(readLearned(h.memory.learned)).toHaveLength(1);
    h.change({ replicable: true });
    expect(readLearned(h.memory.learned)).toHaveLength(1);
    h.change({ servicePort: 8080 });
    expect(readLearned(h.memory.learned)).toEqual([]);
  });
});

describe('races', () => {
  it.each([0, 1, 2] as const)('beyond 2^31 are recorded, won and learned from, in race %i', (race) => {
    const h = new Harness('gateway', { configuration: 'A', race });
    const { races, learned } = h.memory;
    races[0] = 2 ** 31 - 3;
    for (let sport = CLIENT_PORT; sport < CLIENT_PORT + 6; sport++) {
      h.send([frame(syn({ sport }))]);
      h.clock.nowUs += 20_000;
      expect(h.send([frame(asReplica(R1, asService('SA', { dport: sport })))])).toHaveLength(1);
    }
    expect(races[0]).toBe(2 ** 31 + 3);
    const told = readRaces(races, 10, {
      candidate: (_service, slot) => `c${slot}`,
      machine: (number) => `c${number}`,
      service: () => ({ name: 'web', configuration: 'A', release: null }),
      race: 'learned',
      viewAgeMs: 0,
    }).filter((r) => r.conn >= 2 ** 31 - 3);
    const numbers = [-3, -2, -1, 0, 1, 2];
    expect(told.map((r) => [r.conn - 2 ** 31, r.winner])).toEqual(numbers.map((n) => [n, 'c1']));
    expect(told.every((r) => r.candidates.find((c) => c.id === 'c1')?.replyUs === 20_000)).toBe(true);
    if (race !== 0) expect(learned.some((x) => x === 20_000)).toBe(true);
  });
});
