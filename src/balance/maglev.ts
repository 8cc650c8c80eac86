/**
 * Maglev hashing (Eisenbud et al., NSDI 2016, 3.4), with weights: a table of slots, each a server's. A server that
 * comes or goes takes its share of slots, and hardly any other slot changes hands.
 */
import { createHash } from 'node:crypto';

/** Slots; a prime, a hundred times and more the servers that one service may have. */
export const SLOTS = 16381;

export interface WeightedServer {
  /** What its preferences follow from: never its place in a list. */
  name: string;
  /** Relative; 0 takes no new connections. */
  weight: number;
}

/**
 * @returns for each slot the place of its server in `servers`; all -1 when none has a weight
 */
export function maglev(servers: readonly WeightedServer[], slots = SLOTS): Int32Array {
  const table = new Int32Array(slots).fill(-1);
  const most = Math.max(0, ...servers.map((s) => s.weight));
  if (most === 0) return table;
  const turns = servers.map(({ name, weight }) => ({
    ...preference(name, slots),
    share: weight / most,
    due: 0,
  }));
  for (let filled = 0; filled < slots; )
    for (let s = 0; s < turns.length && filled < slots; s++) {
      const turn = turns[s];
      // The heaviest has a turn in each round, one of half its weight in every second.
      turn.due += turn.share;
      if (turn.due < 1) continue;
      turn.due -= 1;
      while (table[turn.next] >= 0) turn.next = (turn.next + turn.skip) % slots;
      table[turn.next] = s;
      filled++;
    }
  return table;
}

/** Where a server begins, and by how much it goes on: each slot is met once, as the number of slots is prime. */
function preference(name: string, slots: number): { next: number; skip: number } {
  const digest = createHash('sha256').update(name).digest();
  return { next: digest.readUInt32LE(0) % slots, skip: (digest.readUInt32LE(4) % (slots - 1)) + 1 };
}
