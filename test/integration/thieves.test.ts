// `firstack bench attacks --only thief`, briefly: one machine's keys and its account in Redis, against all others.
import { describe, it } from 'vitest';
import { playThief } from '../../src/lab/attacks/theft.js';
import type { Figure } from '../../src/lab/figure.js';

const SECONDS = 24;
const MOST_AWAY = 0.2;

/** What was beyond its target. The share that a stall of this machine sends elsewhere is the bench's to judge. */
async function beyond(id: string): Promise<Figure[]> {
  const figures = await playThief(id, SECONDS, 1);
  const [away] = figures.filter((f) => f.id.endsWith(':away'));
  return [...figures.filter((f) => f !== away && f.met !== 'yes'), ...(away.value < MOST_AWAY ? [] : [away])];
}

// Each has a laboratory of its own, and mostly waits.
describe.concurrent('the keys and the account', () => {
  it('of a replica change nothing of the others', async ({ expect }) => {
    expect(await beyond('thief.replica')).toEqual([]);
  });
  it('of a gateway change nothing of the others', async ({ expect }) => {
    expect(await beyond('thief.gateway')).toEqual([]);
  });
  it('of an origin change nothing of the others', async ({ expect }) => {
    expect(await beyond('thief.origin')).toEqual([]);
  });
});
