// A machine that acknowledges SYNs fastest and whose data never arrives (fault S1): the WAN drops every packet of r2,
// the nearest replica, that is longer than 100 bytes. It is ejected, and raced again when its trials succeed.
import { expect, it } from 'vitest';
import type { Event } from '../../src/events/events.js';
import type { Fastpath } from '../../src/fastpath/modes.js';
import { askJson } from '../../src/lab/admin-client.js';
import type { Lab } from '../../src/lab/lab.js';
import { cliScript } from '../../src/lab/paths.js';
import { pause, waitUntil } from '../../src/lab/process.js';
import { request, requestMany } from '../../src/lab/requests.js';
import type { Configuration } from '../../src/race/records.js';
import type { Race } from '../../src/race/release.js';
import { withLab } from './lab-support.js';

const BROKEN = `table inet broken {
  chain forward {
    type filter hook forward priority 0;
    iifname "to-r2" meta length > 100 drop
  }
}
`;
/** Rare enough that no trial falls into the hundred requests. */
const TRIAL_MS = 15_000;
const LOAD = ['load', 'http://203.0.113.10/', '--rate', '40', '--duration', '100s', '--timeout', '8s'];

const eventsOf = async (lab: Lab, kind: string): Promise<Event[]> => {
  const answer = await askJson<{ events: Event[] }>(lab.roles.adminSocket('gateway'), '/v1/events');
  return answer?.events.filter((e) => e.kind === kind && e.subject === 'web/r2') ?? [];
};
interface Machine {
  id: string;
  state: string;
  [counter: string]: number | string;
}
const machine = async (lab: Lab, id: string): Promise<Machine> => {
  const status = (await lab.roles.status('gateway')) as unknown as { machines: Machine[] };
  return status.machines.find((m) => m.id === id)!;
};

it.each<[Configuration, Race, Fastpath]>([
  ['A', 'learned', 'auto'],
  ['B', 'learned', 'auto'],
  ['C', 'learned', 'off'],
  ['A', 'gateway', 'off'],
])(
  '%s, race %s, fast path %s: is ejected, and comes back when its trials succeed',
  async (configuration, race, fastpath) => {
    const changes = { gateway: { judge: { trialMs: TRIAL_MS } } };
    await withLab({ topology: 'replica-nearest', configuration, race, fastpath, changes }, async (lab) => {
      lab.spawnIn('client', [process.execPath, cliScript, ...LOAD], { stdio: 'ignore' });
      const wins = async () => Number((await machine(lab, 'r2')).firstBytes) > 50;
      expect(await waitUntil(wins, 20_000)).toBe(true);
      expect((await lab.exec('wan', ['nft', '-f', '-'], { input: BROKEN })).stderr).toBe('');
      const brokenMs = Date.now();
      expect(await waitUntil(async () => (await eventsOf(lab, 'ejected')).length > 0, 15_000, 50)).toBe(true);
      const [event] = await eventsOf(lab, 'ejected');
      process.stderr.write(
        `${configuration} ${race} ${fastpath}: after ${event.at - brokenMs} ms: ${event.message}\n`,
      );
      expect(event.message).toMatch(
        /^r2 is not raced for web: \d+ of \d+ requests had no first byte \(others: 0 of \d+\)$/,
      );
      // SYNs that were on their way at the ejection may still win.
      await pause(500);
      const { won, trials } = await machine(lab, 'r2');

      const after = await requestMany(lab, 100, 10);
      expect(after.filter((r) => !r.ok)).toEqual([]);
      expect(new Set(after.map((r) => r.servedBy))).not.toContain('r2');
      const then = await machine(lab, 'r2');
      expect(then.state).toBe('ejected');
      expect(Number(then.won) - Number(won)).toBeLessThanOrEqual(Number(then.trials) - Number(trials));
      expect(await eventsOf(lab, 'ejected')).toHaveLength(1);

      await lab.exec('wan', ['nft', 'delete', 'table', 'inet', 'broken']);
      expect(await waitUntil(async () => (await eventsOf(lab, 'back')).length > 0, 60_000)).toBe(true);
      expect((await machine(lab, 'r2')).state).toBe('live');
      expect(await waitUntil(async () => (await request(lab)).servedBy === 'r2', 20_000)).toBe(true);
    });
  },
);
