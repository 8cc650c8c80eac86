import { describe, expect, it } from 'vitest';
import { gatewayKind, originKind, replicaKind } from '../../../src/race/records.js';
import { digestOf } from '../../../src/registry/digest.js';
import { type RecordKind, View } from '../../../src/registry/kinds.js';

const replica = (id: string, part: object = {}) => ({
  ...{ v: 1, id, address: '198.18.11.2', services: [{ name: 'web', port: 80 }], state: 'up', reason: '' },
  ...{ connections: 0, load: 0, capacity: 10, clock: 'none', ...part },
});
const of = (...records: unknown[]) => digestOf(View.of([replicaKind as RecordKind, records]), ['replica']);

describe('digestOf', () => {
  it('has a count and eight digits for each kind that is followed', () => {
    const view = View.of(
      [replicaKind as RecordKind, [replica('r1')]],
      [gatewayKind as RecordKind, []],
      [originKind as RecordKind, []],
    );
    const digest = digestOf(view, ['replica', 'gateway', 'proximity:site']);
    expect(Object.keys(digest)).toEqual(['replica', 'gateway']);
    expect(digest.replica).toEqual({ count: 1, hash: expect.stringMatching(/^[0-9a-f]{8}$/) });
    expect(digest.gateway.count).toBe(0);
  });

  it('does not depend on the order of records, nor on loads', () => {
    expect(of(replica('r1'), replica('r2'))).toEqual(of(replica('r2'), replica('r1')));
    expect(of(replica('r1', { connections: 7, load: 0.5 }))).toEqual(of(replica('r1')));
  });

  it.each([{ state: 'draining' }, { address: '198.18.12.2' }, { services: [{ name: 'other', port: 80 }] }])(
    'tells %j',
    (part) => {
      expect(of(replica('r1', part))).not.toEqual(of(replica('r1')));
    },
  );
});
