/** The events of a soak by replica, drawn from a seed. Pure: the same seed gives the same schedule. */
import { generator } from '../../load/generator.js';

/**
 * - `drain`: taken out of service by the admin API, and brought back by it
 * - `leave`: drained, then its role is stopped; it is started again later
 * - `stop`: its role is stopped (SIGTERM) without a drain
 * - `kill-role`, `kill-web`, `kill-both`: SIGKILL
 */
export const KINDS = ['drain', 'leave', 'stop', 'kill-role', 'kill-web', 'kill-both'] as const;
export type Kind = (typeof KINDS)[number];

export interface Planned {
  /** Seconds from the beginning of the load. */
  atS: number;
  kind: Kind;
  replica: string;
  /** How long the replica stays in this state before it is brought back. */
  holdS: number;
}

export interface ScheduleOptions {
  replicas: readonly string[];
  seconds: number;
  seed: number;
  /** Mean time between two events. */
  everyS: number;
  /** The least number of replicas that are in service at any time. */
  leastInService: number;
}

/** The time in which a replica should be raced again after its hold, on a busy machine. */
export const RECOVERY_S = 8;
/** No event is in the first seconds, and none would last longer than the load. */
export const LEAD_S = 4;
const LEAST_HOLD_S = 2;
const MOST_HOLD_S = 10;

/** Events in order of time. A replica is out of service from `atS` to `atS + holdS + RECOVERY_S`. */
export function scheduleOf(o: ScheduleOptions): Planned[] {
  const random = generator(o.seed);
  const between = (least: number, most: number): number => least + random() * (most - least);
  const rounded = (s: number): number => Math.round(s * 100) / 100;
  const out = new Map<string, number>();
  const events: Planned[] = [];
  let bag: Kind[] = [];
  for (let atS = LEAD_S; ; atS = rounded(atS + between(0.4, 1.6) * o.everyS)) {
    if (atS + LEAST_HOLD_S + RECOVERY_S > o.seconds) return events;
    for (const [replica, backS] of out) if (backS <= atS) out.delete(replica);
    const here = o.replicas.filter((r) => !out.has(r));
    if (here.length <= o.leastInService) continue;
    const replica = here[Math.floor(random() * here.length)];
    // Every kind has its turn, in a new random order each round.
    if (bag.length === 0) bag = shuffled(KINDS, random);
    const latestS = o.seconds - RECOVERY_S - atS;
    const holdS = rounded(Math.min(between(LEAST_HOLD_S, MOST_HOLD_S), latestS));
    events.push({ atS, kind: bag.pop()!, replica, holdS });
    out.set(replica, atS + holdS + RECOVERY_S);
  }
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}
