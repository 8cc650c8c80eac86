import { describe, expect, it } from 'vitest';
import { type ActingRecord, actingKind } from '../../../src/race/acting.js';
import { Senders } from '../../../src/race/senders.js';
import { type RecordKind, View } from '../../../src/registry/kinds.js';

const view = (...records: Partial<ActingRecord>[]): View =>
  View.of([actingKind as RecordKind, records.map((r) => ({ v: 1, draining: ['r2'], ...r }) as ActingRecord)]);

describe('who may still send to a draining replica', () => {
  it('is nobody once all have taken the drain over', () => {
    const senders = new Senders(() => 0);
    senders.look(view({ id: 'gateway-1' }));
    expect(senders.unacknowledged(view({ id: 'gateway-1' }), 'r2')).toEqual([]);
  });

  it('is a gateway that has vanished, for ten minutes', () => {
    let now = 0;
    const senders = new Senders(() => now);
    senders.look(view({ id: 'gateway-1' }));
    now = 4000;
    senders.look(view());
    expect(senders.unacknowledged(view(), 'r2')).toEqual([
      'gateway-1 has left the registry 4 s ago without a farewell: it may still send',
    ]);
    now = 601_000;
    senders.look(view());
    expect(senders.unacknowledged(view(), 'r2')).toEqual([]);
  });

  it('is a gateway whose own record is gone before the one of what it acts on', () => {
    const senders = new Senders(() => 0);
    const acts = view({ id: 'gateway-1', draining: [] });
    senders.look(acts);
    expect(senders.unacknowledged(acts, 'r2')).toEqual([
      'gateway-1 has left the registry 0 s ago without a farewell: it may still send',
    ]);
  });

  it('is not a gateway that was stopped', () => {
    const senders = new Senders(() => 0);
    senders.look(view({ id: 'gateway-1' }));
    senders.look(view({ id: 'gateway-1', leaving: true }));
    expect(senders.unacknowledged(view(), 'r2')).toEqual([]);
  });
});
