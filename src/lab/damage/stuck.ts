/**
 * A gateway whose process is stuck for a while (SIGSTOP) under a steady rate of new connections: which share of those
 * that begin two seconds after is opened, and by whom.
 */
import { Lab } from '../lab.js';
import { pause } from '../process.js';
import { startClients } from './clients.js';
import type { Scene } from './damages.js';
import { TIMEOUT_MS, type Tried } from './tried.js';

/** After this time every new connection must be opened. */
export const GRACE_MS = 2000;

export interface StuckOptions extends Pick<Scene, 'configuration' | 'fastpath'> {
  perSecond: number;
  seconds: number;
  seed: number;
}

export interface Stuck {
  /** Connections that began while the gateway was stuck, after {@link GRACE_MS}. */
  tried: Tried[];
  /** The share of them that was opened and served. */
  share: number;
}

/** @param afterwards called with the laboratory when the gateway runs again */
export async function playStuck(o: StuckOptions, afterwards?: (lab: Lab) => Promise<void>): Promise<Stuck> {
  const { configuration, fastpath, seed } = o;
  const lab = await Lab.create({
    ...{ name: `stuck-${process.pid}`, configuration, fastpath, seed },
    ...{ topology: 'replica-nearest', race: 'learned' },
  });
  try {
    const clients = startClients(lab, o.perSecond);
    await clients.untilCalm();
    const pid = lab.roles.pid('gateway')!;
    process.kill(pid, 'SIGSTOP');
    const from = Date.now() + GRACE_MS;
    await pause(o.seconds * 1000);
    process.kill(pid, 'SIGCONT');
    // The last moments belong to the gateway that runs again: it finds what the hooks had to leave to it.
    const to = Date.now() - 500;
    await pause(TIMEOUT_MS);
    const tried = clients.tried.filter((t) => t.at > from && t.at < to);
    await afterwards?.(lab);
    return { tried, share: tried.filter((t) => t.error === '').length / tried.length };
  } finally {
    await lab.down();
  }
}
