/**
 * A router of two is lost: its role is killed, or its link is cut without a word. BIRD with BFD and multipath routes spreads
 * flows over both, and the routers tell each other theirs.
 */
import { pause, waitUntil } from '../process.js';
import { cutLink, mendLink, routesOf } from './bird.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { Survivors, shown, together } from './survivors.js';

export interface SpareOptions {
  connections: number;
}

export const SPARE: SpareOptions = { connections: 2000 };
const CLIENT_DELAY_MS = 30;
/** Within this the routers have taken the SYNs, and no answer has reached the client. */
const ONE_PACKET_MS = CLIENT_DELAY_MS + 25;
const SETTLED_MS = 1500;
const AFTER_MS = 3000;

export async function playSpare(o: SpareOptions = SPARE): Promise<RoutingFigure[]> {
  const lab = await RoutedLab.create({
    name: `spare-${process.pid}`,
    shape: { networks: 2, systems: 0, sites: 2, servers: 2 },
    clientDelayMs: CLIENT_DELAY_MS,
    bird: true,
  });
  try {
    const killed = await play(lab, o, () => lab.kill('n1'));
    lab.start('n1');
    await lab.untilReady();
    await pause(SETTLED_MS);
    const cut = await play(lab, o, () => cutLink(lab, 'n1'));
    const one = await routesOf(lab);
    await mendLink(lab);
    await waitUntil(async () => (await routesOf(lab)) === 2, AFTER_MS * 5, 100);
    const [a, b] = [together(killed), together(cut)];
    const news = (await lab.status('n2'))?.counters['drop.news-taken'] ?? 0;
    return [
      figure(
        'spare:killed',
        { most: 0 },
        {
          value: a.broken,
          what: `connections broken by SIGKILL of one of two routers' roles; ${shown(killed)}`,
        },
      ),
      figure(
        'spare:killed-stall',
        { most: 200 },
        { value: a.p99, what: 'the same: longest time for an answer, ms, p99' },
      ),
      figure(
        'spare:cut',
        { most: 0.001 },
        {
          value: b.broken / b.connections,
          what: `share of connections broken by a cut link of one of two routers (${one} route left; it had heard ${news} times of the other's flows); ${shown(cut)}`,
        },
      ),
      figure(
        'spare:cut-stall',
        { most: 1000 },
        { value: b.p99, what: 'the same: longest time for an answer, ms, p99' },
      ),
      figure('spare:cut-resets', { most: 0 }, { value: b.reset, what: 'the same: connections reset' }),
    ];
  } finally {
    await lab.down();
  }
}

async function play(lab: RoutedLab, { connections }: SpareOptions, fault: () => Promise<void>) {
  const third = Math.round(connections / 3);
  const survivors = new Survivors(lab);
  await survivors.open(third, 'idle');
  await survivors.open(third, 'active');
  await pause(SETTLED_MS);
  await survivors.young(connections - 2 * third);
  // Their SYNs have passed the first router, and no more.
  await pause(ONE_PACKET_MS);
  await fault();
  await pause(AFTER_MS);
  return survivors.end();
}
