// A spike is a spike (fault L1): one late answer of the nearest machine moves no later connection to another one.
import { expect, it } from 'vitest';
import { request, requestMany } from '../../src/lab/requests.js';
import { TWO_REPLICAS, withLab } from './lab-support.js';

const LATE_MS = 150;
const AFTER = 240;

it.each([
  ['A', 'auto'],
  ['A', 'off'],
  ['C', 'auto'],
] as const)(
  '%s, fast path %s: of 240 connections after a late one, 237 go to the nearest',
  async (configuration, fastpath) => {
    await withLab({ ...TWO_REPLICAS, configuration, fastpath, race: 'learned' }, async (lab) => {
      expect((await requestMany(lab, 40, 4)).filter((r) => r.servedBy !== 'r2').length).toBeLessThan(4);
      const path = lab.wan.plan.paths['r2>gateway'];
      await lab.wan.setPath('r2>gateway', { delayMs: path.delayMs + LATE_MS });
      const late = await request(lab);
      expect(late.error).toBe('');
      await lab.wan.setPath('r2>gateway', { delayMs: path.delayMs });
      const after = await requestMany(lab, AFTER, 4);
      expect(after.filter((r) => !r.ok)).toEqual([]);
      expect(after.filter((r) => r.servedBy !== 'r2').length).toBeLessThanOrEqual(3);
    });
  },
);
