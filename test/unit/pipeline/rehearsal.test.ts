// Each role's rehearsal runs the code that its first connections need, in every configuration.
import { describe, expect, it } from 'vitest';
import * as gateway from '../../../gateway/race/pipeline.js';
import * as origin from '../../../origin/race/pipeline.js';
import * as replica from '../../../replica/race/pipeline.js';
import type { CreatePipeline, Pipeline, PipelineContext } from '../../../src/pipeline/pipeline.js';
import { gatewayOptions, originOptions, replicaOptions, WORLD } from '../../support/world.js';

interface Module<O, S> {
  createPipeline: CreatePipeline<O, S>;
  rehearse(create: CreatePipeline<O, S>, options: O): void;
}

/** Counters that are not zero after a rehearsal. */
function counts<O, S>(module: Module<O, S>, options: O): Record<string, number> {
  let names: readonly string[] = [];
  let counters = new Float64Array();
  const create = (context: PipelineContext<O>): Pipeline<S> => {
    const pipeline = module.createPipeline(context);
    names = pipeline.reasons;
    counters = context.batch.counters as Float64Array<ArrayBuffer>;
    return pipeline;
  };
  module.rehearse(create, options);
  return Object.fromEntries(names.map((name, i) => [name, counters[i]] as const).filter(([, n]) => n > 0));
}

describe('a rehearsal', () => {
  it('of a gateway begins, decides, carries and resets flows', () => {
    const c = counts(gateway, gatewayOptions(WORLD));
    for (const name of ['pass.syn-tagged', 'pass.syn-raced', 'pass.won-by-replica', 'drop.loser'])
      expect(c[name], name).toBeGreaterThanOrEqual(1200);
    expect(c['pass.to-replica']).toBe(2 * c['pass.won-by-replica']);
    expect(c['pass.from-replica']).toBe(c['pass.won-by-replica']);
    expect(Object.keys(c).filter((k) => k.startsWith('drop.'))).toEqual(['drop.loser']);
  });

  it('of an origin copies SYNs, at once and held', () => {
    const c = counts(origin, originOptions(WORLD));
    expect(c).toMatchObject({ 'tag.genuine': 800, 'pass.syn-to-server': 400, 'hold.syn-for-server': 400 });
    expect(c['emit.copy'] + c['queued.copy']).toBe(2400);
  });

  it('of a replica decapsulates, delivers and answers', () => {
    const c = counts(replica, replicaOptions(WORLD));
    expect(c).toEqual({
      'pass.syn-cracked': 1200,
      'pass.opened': 400,
      'pass.delivered': 400,
      'pass.answer-tunnelled': 1200,
      'pass.answer-bare': 400,
    });
  });
});
