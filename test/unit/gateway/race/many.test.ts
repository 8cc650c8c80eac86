// More machines than the races of one service can name: the nearest are asked.
import { describe, expect, it } from 'vitest';
import { Fleet } from '../../../../gateway/race/fleet.js';
import { snapshotOf } from '../../../../gateway/race/fleet-orders.js';
import { RaceFlows } from '../../../../gateway/race/flows.js';
import { near } from '../../../../gateway/race/near-probes.js';
import { readLearned } from '../../../../src/proximity/learned-table.js';
import { UsageWriter, usageBytes } from '../../../../src/proximity/usage.js';
import type { RaceService, ReplicaRecord } from '../../../../src/race/records.js';
import { asReplica, asService, R1, syn } from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame } from '../../../support/naive.js';
import { serviceNumber } from '../../../support/numbers.js';
import { raceView } from '../../../support/race-view.js';

const service = (name: string, n: number): RaceService => ({
  ...{
    name,
    address: `203.0.113.${n}`,
    ports: [80],
    configuration: 'A',
    replicable: true,
    raceWindowMs: 500,
  },
});
const replica = (n: number, services = ['web']): ReplicaRecord => ({
  ...{
    v: 1,
    id: `m${n}`,
    address: `10.0.${n >> 8}.${n & 255}`,
    state: 'up',
    reason: '',
    connections: 0,
    load: 0,
  },
  services: services.map((name) => ({ name })),
  clock: 'free',
});
const many = (count: number, services?: string[]): ReplicaRecord[] =>
  Array.from({ length: count }, (_, n) => replica(n + 1, services));

class World {
  readonly usage = new Float64Array(usageBytes / 8);
  readonly flows = new RaceFlows(64, [1, 2]);
  readonly #writer = new UsageWriter(this.usage, this.flows, () => serviceNumber(-1));
  readonly fleet = new Fleet('learned', this.usage);
  /** By id, ms; what probes have not measured is not here. */
  rttMs: Record<string, number> = {};

  constructor() {
    this.fleet.rttUsOf = (machine) => {
      const ms = this.rttMs[this.fleet.machines.idOf(machine)];
      return ms === undefined ? undefined : ms * 1000;
    };
  }

  update(services: RaceService[], replicas: ReplicaRecord[]): this {
    this.fleet.update(raceView({ services, replicas }), undefined);
    return this;
  }

  walk(times = 1): void {
    for (let n = 0; n < times; n++) this.#writer.walk(this.flows.capacity);
  }

  /** Ids of the machines that a service's races may ask. */
  asked(n = 0): string[] {
    return snapshotOf(this.fleet, 1500, 1440)
      .endpoints.filter((e) => e.live && e.service === n && e.candidate > 0)
      .map((e) => this.fleet.machines.idOf(e.machine));
  }
}

const WEB = [service('web', 1)];

describe('of four hundred machines', () => {
  it('the 33rd and the 400th are asked where they are near', () => {
    const w = new World().update(WEB, many(400));
    expect(w.asked()).toHaveLength(31);
    for (let n = 1; n <= 400; n++) w.rttMs[`m${n}`] = 100 + n;
    Object.assign(w.rttMs, { m33: 5, m400: 3 });
    expect(w.fleet.isOutdated()).toBe(true);
    w.update(WEB, many(400));
    expect(w.asked()).toEqual(expect.arrayContaining(['m33', 'm400']));
    expect(w.asked()).toHaveLength(31);
    expect(w.fleet.isOutdated()).toBe(false);
    expect(w.fleet.leftOut.replicas.size).toBe(369);
    expect(w.fleet.leftOut.replicas.has('m400')).toBe(false);
  });

  it('each service has its own nearest, and its own numbers', () => {
    const services = [service('web', 1), service('api', 2)];
    const replicas = [...many(200, ['web']), ...many(400, ['api']).slice(200)];
    const w = new World();
    w.update(services, replicas);
    for (let n = 1; n <= 400; n++) w.rttMs[`m${n}`] = n;
    w.fleet.isOutdated();
    w.update(services, replicas);
    const numbers = (from: number): string[] => Array.from({ length: 31 }, (_, k) => `m${from + k}`);
    expect(w.asked(0).sort()).toEqual(numbers(1).sort());
    expect(w.asked(1).sort()).toEqual(numbers(201).sort());
  });

  it('a nearest one that is up no more makes room for the next in the same update', () => {
    const w = new World();
    for (let n = 1; n <= 40; n++) w.rttMs[`m${n}`] = n;
    w.update(WEB, many(40));
    w.fleet.isOutdated();
    w.update(WEB, many(40));
    const [first, ...others] = many(40);
    w.update(WEB, [{ ...first, state: 'busy' }, ...others]);
    expect(w.asked()).toContain('m32');
    expect(w.fleet.isOutdated()).toBe(false);
  });

  it('one that replaces another as a candidate begins with nothing that was learned of the other', () => {
    const w = new World();
    for (let n = 1; n <= 40; n++) w.rttMs[`m${n}`] = 10 + n;
    w.update(WEB, many(40));
    w.fleet.isOutdated();
    w.update(WEB, many(40));
    const holders = (): readonly number[] => snapshotOf(w.fleet, 1500, 1440).services[0].holders!;
    const before = holders();
    w.rttMs.m40 = 1;
    w.fleet.isOutdated();
    w.update(WEB, many(40));
    const changed = holders().flatMap((h, c) => (h === before[c] ? [] : [c]));
    expect(changed).toHaveLength(1);
    expect(w.fleet.candidateId(0, changed[0])).toBe('m40');
  });
});

it('forty identities one after another are all asked, while flows of every one of them go on', () => {
  const w = new World();
  for (let n = 1; n <= 40; n++) {
    w.update(WEB, [replica(n)]);
    expect(w.asked()).toEqual([`m${n}`]);
    w.flows.keyV4(n, 2, 3, 4);
    const e = w.flows.insert();
    w.flows.winner[e] = w.fleet.machines.find(`m${n}`)!;
    w.walk(3);
  }
  // Their flows go on, so all are known still.
  w.update(WEB, [replica(41)]);
  expect(w.fleet.endpointCount).toBe(42);
  expect(w.asked()).toEqual(['m41']);
});

it('a new prefix begins with what probes have measured, and the first connection asks the nearest', () => {
  const h = new Harness('gateway', { configuration: 'A', race: 2 });
  h.memory.near[near.stride + near.rttUs] = 7000;
  h.send([frame(syn({}))]);
  const [entry] = readLearned(h.memory.learned);
  expect(entry.candidates).toMatchObject([{ candidate: 1, rttUs: 7000, samples: 1 }]);
  h.clock.nowUs += 9000;
  h.send([frame(asReplica(R1, asService('SA', {})))]);
  expect(readLearned(h.memory.learned)[0].candidates[0]).toMatchObject({ rttUs: 8000, samples: 2, wins: 1 });
});
