import { describe, expect, it } from 'vitest';
import { Events } from '../../../src/events/events.js';
import type { Deviation } from '../../../src/steer/standing.js';
import { Reconciler } from '../../../src/watch/reconciler.js';

const silent = { info() {}, warn() {}, error() {} } as unknown as ConstructorParameters<typeof Events>[1];

function bed() {
  const events = new Events('x', silent, null);
  const reconciler = new Reconciler(events);
  let repaired = 0;
  const rule = (repair = async () => void repaired++): Deviation => ({
    ...{ what: 'table', subject: 'table x', detail: 'was removed', repair },
  });
  const said = (): string[] => events.since(0).map((e) => `${e.level} ${e.kind}: ${e.message}`);
  return { reconciler, rule, said, repaired: () => repaired };
}

describe('the reconciler', () => {
  it('puts back what was removed, and says by whom', async () => {
    const { reconciler, rule, said, repaired } = bed();
    await reconciler.reconcile([rule()], ' by nft (process 7)', 0);
    expect(repaired()).toBe(1);
    expect(said()).toEqual(['warn repaired: table x was removed by nft (process 7): put back']);
    expect(reconciler.counts).toEqual({ table: 1 });
    expect(reconciler.reasons).toEqual([]);
  });

  it('gives way to another program that fights, says so once, and says when it stands again', async () => {
    const { reconciler, rule, said, repaired } = bed();
    for (let n = 0; n < 20; n++) await reconciler.reconcile([rule()], '', n * 1000);
    expect(repaired()).toBe(5);
    expect(said().filter((s) => s.startsWith('error'))).toEqual([
      'error gives-way: table x was removed again and again: no longer put back',
    ]);
    expect(reconciler.reasons).toEqual(['table x was removed again and again: no longer put back']);
    await reconciler.reconcile([], '', 30_000);
    expect(reconciler.reasons).toEqual([]);
    expect(said().at(-1)).toBe('info stands-again: table x stands again');
  });

  it('says once why something cannot be put back', async () => {
    const { reconciler, rule, said } = bed();
    const failing = rule(async () => {
      throw new Error('Operation not permitted\nmore');
    });
    await reconciler.reconcile([failing], '', 0);
    await reconciler.reconcile([failing], '', 5000);
    expect(said()).toEqual([
      'error repair-failed: table x was removed, and could not be put back: Operation not permitted',
    ]);
    expect(reconciler.reasons).toHaveLength(1);
  });
});
