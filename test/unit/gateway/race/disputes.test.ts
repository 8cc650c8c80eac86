import { describe, expect, it } from 'vitest';
import { Disputes } from '../../../../gateway/race/disputes.js';
import {
  gatewayKind,
  type ReplicaRecord,
  replicaKind,
  serviceRecordOf,
} from '../../../../src/race/records.js';
import { View } from '../../../../src/registry/kinds.js';
import { serviceKind } from '../../../../src/registry/service.js';
import { type Prefix, parsePrefix } from '../../../../src/wire/address.js';

const clients = [parsePrefix('192.0.2.0/24') as Prefix];
const service = (name: string, address: string) =>
  serviceRecordOf({ name, address, ports: [80], configuration: 'A', replicable: true, raceWindowMs: 500 });
const replica = (id: string, address: string): ReplicaRecord => ({
  ...{ v: 1, id, address, services: [{ name: 'web' }], state: 'up', reason: '' },
  ...{ connections: 0, load: 0, clock: 'free' },
});
const viewOf = (...replicas: ReplicaRecord[]): View =>
  View.of([serviceKind as never, [service('web', '203.0.113.10')]], [replicaKind as never, replicas]);

describe('what records claim that is not theirs', () => {
  it("a service at an address of this host, or in its clients' prefixes", () => {
    const disputes = new Disputes(clients, ['198.18.1.2']);
    expect(disputes.ofService(service('web', '203.0.113.10'))).toBe('');
    expect(disputes.ofService(service('web', '198.18.1.2'))).toMatch(/an address of this host/);
    expect(disputes.ofService(service('web', '192.0.2.7'))).toMatch(/clients' prefixes/);
  });

  it('an endpoint: the machine that had it first keeps it, the second one changes nothing', () => {
    const disputes = new Disputes(clients, []);
    const [r1, x] = [replica('r1', '198.18.11.2'), replica('a', '198.18.11.2')];
    expect(disputes.ofReplica(viewOf(r1), r1)).toBeUndefined();
    const both = viewOf(x, r1);
    expect(disputes.ofReplica(both, r1)).toBeUndefined();
    expect(disputes.ofReplica(both, x)).toMatch(
      /198\.18\.11\.2:80 for service web is already taken by web \(replica r1\)/,
    );
    expect(disputes.problems(both, 1, [])).toMatchObject([{ code: 'FSA_ENDPOINT_TAKEN' }]);
    // Once the first has left, the second holds it, and keeps it when the first comes back.
    expect(disputes.ofReplica(viewOf(x), x)).toBeUndefined();
    expect(disputes.ofReplica(viewOf(r1, x), r1)).toMatch(/replica a/);
    expect(disputes.ofReplica(viewOf(r1, x), x)).toBeUndefined();
  });

  it('an endpoint that a reader finds claimed twice: it is asked of no machine', () => {
    const disputes = new Disputes(clients, []);
    const [r1, x] = [replica('r1', '198.18.11.2'), replica('a', '198.18.11.2')];
    const both = viewOf(r1, x);
    expect([r1, x].map((r) => disputes.ofReplica(both, r) === undefined)).toEqual([false, false]);
  });

  it("another gateway's prefixes", () => {
    const view = View.of([
      gatewayKind as never,
      [
        { v: 1, id: 1, prefixes: ['192.0.2.0/24'] },
        { v: 1, id: 7, prefixes: ['192.0.2.128/25'] },
      ],
    ]);
    expect(new Disputes(clients, []).problems(view, 1, ['192.0.2.0/24'])).toEqual([
      {
        code: 'FSA_PREFIX_OVERLAP',
        message: 'prefixes: 192.0.2.0/24 overlaps 192.0.2.128/25 of gateway 7',
      },
    ]);
  });
});
