import { describe, expect, it } from 'vitest';
import { Fleet } from '../../../../gateway/race/fleet.js';
import { snapshotOf, steeredBy } from '../../../../gateway/race/fleet-orders.js';
import type { OriginRecord, RaceService, ReplicaRecord } from '../../../../src/race/records.js';
import type { View } from '../../../../src/registry/kinds.js';
import { fromV4 } from '../../../../src/wire/address.js';
import { type RaceRecords, raceView } from '../../../support/race-view.js';

const service = (more: Partial<RaceService> = {}): RaceService => ({
  name: 'web',
  address: '203.0.113.10',
  ports: [80],
  configuration: 'A',
  replicable: true,
  raceWindowMs: 500,
  ...more,
});
const replica = (id: string, n: number, more: Partial<ReplicaRecord> = {}): ReplicaRecord => ({
  v: 1,
  id,
  address: `198.51.100.${n}`,
  services: [{ name: 'web', port: 8080 }],
  state: 'up',
  reason: '',
  connections: 0,
  load: 0,
  clock: 'free',
  ...more,
});
const origin: OriginRecord = {
  v: 1,
  id: 'o',
  address: '198.51.100.1',
  services: ['web'],
  release: 'immediate',
  distancesMs: {},
};
const view = (more: Partial<RaceRecords> = {}): View =>
  raceView({ services: [service()], replicas: [replica('r1', 11)], origins: [origin], ...more });
const S = fromV4(0xcb00710a);
const R1 = fromV4(0xc633640b);

describe('the fleet', () => {
  it('becomes a snapshot: the origin first, the replica on its own port', () => {
    const fleet = new Fleet();
    fleet.update(view(), undefined);
    expect(snapshotOf(fleet, 1500, 1440)).toMatchObject({
      services: [{ address: S, port: 80, mode: 0, raced: true }],
      endpoints: [
        { service: 0, candidate: 0, address: S, port: 80, live: true },
        { service: 0, candidate: 1, address: R1, port: 8080, live: true },
      ],
      tunnelMss: 1440,
      wanMtu: 1500,
    });
    expect(fleet.services[0]).toMatchObject({ name: 'web', release: 'immediate' });
  });

  it.each<[string, Partial<RaceRecords>, boolean]>([
    ['its replica is up', {}, true],
    ['its replica is busy', { replicas: [replica('r1', 11, { state: 'busy' })] }, false],
    ['its replica is draining', { replicas: [replica('r1', 11, { state: 'draining' })] }, false],
    ['its replica is inactive', { replicas: [replica('r1', 11, { state: 'inactive' })] }, false],
    ['there is no replica', { replicas: [] }, false],
    [
      'the replica carries another service',
      { replicas: [replica('r1', 11, { services: [{ name: 'api' }] })] },
      false,
    ],
    ['it is not replicable', { services: [service({ replicable: false })] }, false],
    ['its origin is not in the registry', { origins: [] }, false],
    ['the registry has no origins (a file)', { origins: undefined }, true],
  ])('races a service when %s', (_, more, raced) => {
    const fleet = new Fleet();
    fleet.update(view(more), undefined);
    expect(snapshotOf(fleet, 1500, 1440).services.map((s) => s.raced)).toEqual([raced]);
  });

  it('keeps machines that have left, and their numbers, so that their flows can finish', () => {
    const fleet = new Fleet();
    fleet.update(view(), undefined);
    fleet.update(
      view({ services: [service({ name: 'api', address: '203.0.113.11' })], replicas: [] }),
      undefined,
    );
    const { services, endpoints } = snapshotOf(fleet, 1500, 1440);
    expect(services.map((s) => [s.address[3], s.raced])).toEqual([
      [S[3], false],
      [S[3] + 1, false],
    ]);
    expect(endpoints.filter((e) => e.service === 0).map((e) => [e.candidate, e.live])).toEqual([
      [0, false],
      [1, false],
    ]);
    fleet.update(view(), undefined);
    expect(
      snapshotOf(fleet, 1500, 1440)
        .endpoints.filter((e) => e.live)
        .map((e) => e.candidate)
        .sort(),
    ).toEqual([0, 1]);
  });

  it('prefers a live endpoint to a remembered one with the same address', () => {
    const fleet = new Fleet();
    fleet.update(view(), undefined);
    fleet.update(view({ replicas: [replica('r9', 11)] }), undefined);
    const claims = snapshotOf(fleet, 1500, 1440).endpoints.filter((e) => e.address[3] === R1[3]);
    expect(claims.map((e) => [e.candidate, e.live])).toEqual([
      [1, false],
      [2, true],
    ]);
  });

  it('leaves out a replica whose address and port belong to another service', () => {
    const fleet = new Fleet();
    const clash = replica('r2', 11, { services: [{ name: 'api', port: 8080 }] });
    fleet.update(
      view({
        services: [service(), service({ name: 'api', address: '203.0.113.11' })],
        replicas: [replica('r1', 11), clash],
      }),
      undefined,
    );
    expect(snapshotOf(fleet, 1500, 1440).services.map((s) => s.raced)).toEqual([false, false]);
  });

  it('leaves out services of another configuration', () => {
    const fleet = new Fleet();
    fleet.update(
      view({ services: [service(), service({ name: 'tun', address: '203.0.113.12', configuration: 'C' })] }),
      'C',
    );
    expect(fleet.services.map((s) => s.name)).toEqual(['tun']);
    expect(fleet.usesTunnel()).toBe(true);
  });

  it('lists the addresses and ports to steer', () => {
    const fleet = new Fleet();
    const of = (c: 'A' | 'B' | 'C', n: number): RaceService =>
      service({ name: c.toLowerCase(), address: `203.0.113.${n}`, configuration: c, ports: [80, 443] });
    const carries = (name: string, n: number): ReplicaRecord => replica(`r${n}`, n, { services: [{ name }] });
    fleet.update(
      view({
        services: [of('A', 1), of('B', 2), of('C', 3)],
        replicas: [carries('a', 21), carries('b', 22), carries('c', 23)],
      }),
      undefined,
    );
    const { services, endpoints, tunnels } = steeredBy(fleet);
    // The set of a service decides the route's MTU; this test checks that each service is in one.
    expect(services).toContain('203.0.113.1 . 80');
    expect(services).toContain('203.0.113.2 . 443');
    expect(endpoints.sort()).toEqual([
      '198.51.100.21 . 443',
      '198.51.100.21 . 80',
      '198.51.100.22 . 443',
      '198.51.100.22 . 80',
    ]);
    expect([...new Set(tunnels)].sort()).toEqual(['198.51.100.23', '203.0.113.2']);
  });
});
