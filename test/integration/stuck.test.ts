// A gateway whose process is stuck: as after a kill, new connections reach the origin, and pinned ones go on.
import { describe, expect, it } from 'vitest';
import { ask } from '../../src/lab/admin-client.js';
import { playStuck } from '../../src/lab/damage/stuck.js';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';

describe.each([
  { configuration: 'A', fastpath: 'auto' },
  { configuration: 'C', fastpath: 'auto' },
  { configuration: 'A', fastpath: 'stack' },
] as const)('under $configuration, fast path $fastpath, a gateway that is stuck', (how) => {
  it('leaves new connections to the origin after two seconds, and races again when it runs again', async () => {
    const stuck = await playStuck({ ...how, perSecond: 100, seconds: 6, seed: 1 }, async (lab) => {
      const raced = async (): Promise<boolean> =>
        (await requestMany(lab, 5, 1)).every((r) => r.ok && r.servedBy === 'r2');
      expect(await waitUntil(raced, 10_000)).toBe(true);
      expect((await ask(lab.roles.adminSocket('gateway'), '/livez'))?.status).toBe(200);
      const events = (await ask(lab.roles.adminSocket('gateway'), '/v1/events'))?.body;
      expect(events).toContain('this process did not run for');
    });
    expect(stuck.tried.length).toBeGreaterThan(200);
    expect(stuck.share).toBeGreaterThanOrEqual(0.99);
    const opened = stuck.tried.filter((t) => t.error === '');
    expect(new Set(opened.map((t) => t.servedBy))).toEqual(new Set(['origin']));
  });
});
