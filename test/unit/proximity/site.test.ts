import { describe, expect, it } from 'vitest';
import { Fleet } from '../../../gateway/race/fleet.js';
import { validate } from '../../../src/config.js';
import { ManualClock } from '../../../src/device/clock.js';
import { Learned } from '../../../src/proximity/learned.js';
import { learnedBytes } from '../../../src/proximity/learned-table.js';
import { proximityKind } from '../../../src/proximity/record.js';
import { proximityRecord, seedsOf } from '../../../src/proximity/site.js';
import type { RaceService, ReplicaRecord } from '../../../src/race/records.js';
import type { View } from '../../../src/registry/kinds.js';
import { words } from '../../support/learned.js';
import { serviceNumber } from '../../support/numbers.js';
import { type RaceRecords, raceView } from '../../support/race-view.js';

const service = (name: string, n: number, ports = [80]): RaceService => ({
  name,
  address: `203.0.113.${n}`,
  ports,
  configuration: 'A',
  replicable: true,
  raceWindowMs: 500,
});
const replica = (id: string, n: number): ReplicaRecord => ({
  v: 1,
  id,
  address: `198.51.100.${n}`,
  services: [{ name: 'web' }],
  state: 'up',
  reason: '',
  connections: 0,
  load: 0,
  clock: 'free',
});
const view = (more: Partial<RaceRecords> = {}): View =>
  raceView({ services: [service('web', 10)], replicas: [replica('r1', 11), replica('r2', 12)], ...more });
/** Two gateways that saw the replicas in a different order: their numbers differ, the names do not. */
function fleets(): [Fleet, Fleet] {
  const [a, b] = [new Fleet('learned'), new Fleet('learned')];
  a.update(view(), undefined);
  b.update(view({ replicas: [replica('r2', 12), replica('r1', 11)] }), undefined);
  return [a, b];
}
function learnedBy(...notes: [client: number, candidate: number, us: number, times: number][]): Float64Array {
  const learned = new Learned(new Float64Array(learnedBytes(64) / 8), new ManualClock());
  for (const [client, candidate, us, times] of notes)
    for (let n = 0; n < times; n++)
      learned.note(learned.entry(serviceNumber(0), words(client), 0), candidate, us);
  return learned.table;
}

describe('gateways of a site', () => {
  it('publish the measurement with the most samples, by name', () => {
    const [a] = fleets();
    const table = learnedBy(
      [0x0a010000, 1, 30_000, 5],
      [0x0a020000, 1, 90_000, 2],
      [0x0a020000, 0, 70_000, 1],
    );
    const record = proximityRecord(7, 'zurich', table, a);
    expect(record).toMatchObject({ v: 1, id: 7, site: 'zurich' });
    expect(record.entries.map((e) => [e.service, e.candidate, e.rttUs]).sort()).toEqual([
      ['web', 'origin', 70_000],
      ['web', 'r1', 30_000],
    ]);
    expect(validate(structuredClone(record), proximityKind.schemaOf(record), () => '')).toEqual([]);
  });

  it('publish nothing about failed candidates, or unknown services', () => {
    const [a] = fleets();
    const learned = new Learned(new Float64Array(learnedBytes(64) / 8), new ManualClock());
    const entry = learned.entry(serviceNumber(0), words(0x0a010000), 0);
    learned.note(entry, 1, 30_000);
    learned.won(entry, 1);
    learned.forget(entry, 1);
    learned.note(learned.entry(serviceNumber(5), words(0x0a010000), 0), 1, 1);
    expect(proximityRecord(7, 'zurich', learned.table, a).entries).toEqual([]);
  });

  it('believe each other no further than their own probes (FAULTS T5)', () => {
    const [, b] = fleets();
    const told = (candidate: string, rttUs: number, variationUs = 1000) => ({
      ...{ service: 'web', candidate, rttUs, variationUs },
    });
    const seeds = (entries: object[], ownUs?: Map<string, number>): Record<string, [number, number]> =>
      Object.fromEntries(
        seedsOf(
          view({ proximities: [{ v: 1, id: 9, site: 'zurich', entries: entries as never }] }),
          7,
          'zurich',
          b,
          ownUs,
        ).map((s) => [b.candidateId(s.service, s.candidate), [s.rttUs, s.variationUs]]),
      );
    const own = new Map([
      ['r1', 75_000],
      ['r2', 15_000],
    ]);
    // A liar says that the farthest is the nearest, and the nearest far.
    expect(seeds([told('r1', 1), told('r2', 10_000_000, 10_000_000)], own)).toEqual({
      r1: [60_000, 1000],
      r2: [50_000, 50_000],
    });
    expect(seeds([told('r1', 76_000), told('r2', 16_000)], own)).toEqual({
      r1: [76_000, 1000],
      r2: [16_000, 1000],
    });
    // What this gateway has not measured yet it takes over.
    expect(seeds([told('r1', 1)])).toEqual({ r1: [1, 1] });
  });

  it('take records over in their own numbers, for every port of the service', () => {
    const [a, b] = fleets();
    b.update(view({ services: [service('web', 10, [80, 443]), service('api', 11)] }), undefined);
    const record = proximityRecord(7, 'zurich', learnedBy([0x0a010000, 2, 30_000, 3]), a);
    const seeds = seedsOf(view({ proximities: [record] }), 8, 'zurich', b);
    expect(a.candidateId(0, 2)).toBe('r2');
    expect(b.candidateId(0, 1)).toBe('r2');
    expect(seeds.map((s) => [s.service, s.candidate, s.rttUs])).toEqual([
      [0, 1, 30_000],
      // Each service has numbers of its own.
      [1, 2, 30_000],
    ]);
  });

  it('ignore their own record, records of other sites, and all records when they have no site', () => {
    const [a] = fleets();
    const record = proximityRecord(7, 'zurich', learnedBy([0x0a010000, 1, 30_000, 3]), a);
    const told = view({ proximities: [record] });
    expect(seedsOf(told, 7, 'zurich', a)).toEqual([]);
    expect(seedsOf(told, 8, 'basel', a)).toEqual([]);
    expect(seedsOf(told, 8, undefined, a)).toEqual([]);
    expect(seedsOf(view(), 8, 'zurich', a)).toEqual([]);
    expect(seedsOf(told, 8, 'zurich', a)).toHaveLength(1);
  });
});
