import { describe, expect, it } from 'vitest';
import { type ActingRecord, actingKind, actingOn, unacknowledged } from '../../../src/race/acting.js';
import { gatewayKind, replicaKind } from '../../../src/race/records.js';
import { type RecordKind, View } from '../../../src/registry/kinds.js';

const acts = (id: string, ...draining: string[]): ActingRecord => ({ v: 1, id, draining });
const gateways = (...ids: number[]) => ids.map((id) => ({ v: 1, id, prefixes: ['192.0.2.0/24'] }));
const view = (ids: number[], acting: ActingRecord[]): View =>
  View.of([gatewayKind as RecordKind, gateways(...ids)], [actingKind as RecordKind, acting]);

describe('unacknowledged', () => {
  it('is nobody when every living gateway and origin has taken over the drain', () => {
    expect(
      unacknowledged(
        view([1, 2], [acts('gateway-1', 'r2'), acts('gateway-2', 'r1', 'r2'), acts('origin-o', 'r2')]),
        'r2',
      ),
    ).toEqual([]);
  });

  it('names a gateway or an origin that has not, and a gateway that does not say', () => {
    expect(unacknowledged(view([1, 2], [acts('gateway-1'), acts('origin-o', 'r1')]), 'r2')).toEqual([
      'gateway-1 has not taken over the drain',
      "gateway-2 does not say what it acts on (an older version, or Redis's access rules without acting:*)",
      'origin-o has not taken over the drain',
    ]);
  });

  it('does not wait for a gateway that is gone, and knows nothing of a registry without such records', () => {
    expect(unacknowledged(view([], [acts('gateway-1')]), 'r2')).toEqual([]);
    expect(unacknowledged(View.of([gatewayKind as RecordKind, gateways(1)]), 'r2')).toEqual([]);
  });
});

describe('actingOn', () => {
  it('has the replicas that drain, in order', () => {
    const records = [
      { id: 'r3', state: 'draining' },
      { id: 'r1', state: 'up' },
      { id: 'r2', state: 'draining' },
    ];
    expect(actingOn(View.of([replicaKind as RecordKind, records]), 'gateway-1')).toEqual(
      acts('gateway-1', 'r2', 'r3'),
    );
  });
});
