import { describe, expect, it } from 'vitest';
import { TagPaths } from '../../../../gateway/race/tag-paths.js';
import type { ServiceNumber } from '../../../../src/flow/numbers.js';

const service = 0 as ServiceNumber;
const untagged = (paths: TagPaths, times: number, tick: number): void => {
  for (let n = 0; n < times; n++) paths.judge(service, true, tick);
};

describe('a path to an origin', () => {
  it('is tagged until three connections in a row were opened by untagged SYNs only', () => {
    const paths = new TagPaths();
    untagged(paths, 2, 0);
    paths.judge(service, false, 0);
    untagged(paths, 2, 0);
    expect(paths.dropTags(service, 1)).toBe(false);
    untagged(paths, 1, 0);
    expect(paths.dropTags(service, 1)).toBe(true);
    expect(paths.dropTags(1 as ServiceNumber, 1)).toBe(false);
  });

  it('is raced again five seconds after an outage, by one connection first', () => {
    const paths = new TagPaths();
    untagged(paths, 3, 0);
    expect(paths.dropTags(service, 49)).toBe(true);
    expect(paths.dropTags(service, 50)).toBe(false);
    expect(paths.dropTags(service, 51)).toBe(true);
    paths.judge(service, false, 53);
    expect(paths.dropTags(service, 54)).toBe(false);
  });

  it('rests as long after a burst of connections that began in the same outage', () => {
    const paths = new TagPaths();
    untagged(paths, 30, 0);
    expect(paths.dropTags(service, 49)).toBe(true);
    expect(paths.dropTags(service, 50)).toBe(false);
  });

  it('that goes on dropping tags is tried ever more rarely, and at least every ten minutes', () => {
    const paths = new TagPaths();
    untagged(paths, 3, 0);
    const trials: number[] = [];
    for (let tick = 1; tick < 60_000; tick++)
      if (!paths.dropTags(service, tick)) {
        trials.push(tick);
        untagged(paths, 1, tick);
      }
    const rests = trials.map((tick, n) => tick - (trials[n - 1] ?? 0));
    expect(rests.slice(0, 8)).toEqual([50, 100, 200, 400, 800, 1600, 3200, 6000]);
    expect(Math.max(...rests)).toBe(6000);
  });

  it('whose trial is never decided is tried again', () => {
    const paths = new TagPaths();
    untagged(paths, 3, 0);
    expect(paths.dropTags(service, 60)).toBe(false);
    expect(paths.dropTags(service, 159)).toBe(true);
    expect(paths.dropTags(service, 160)).toBe(false);
  });
});
