/**
 * Maglev hashing (Eisenbud et al., NSDI 2016, 3.4), with weights: a table of slots, each assigned to a server. When a
 * server is added or removed, its share of slots changes and hardly any other slot does.
 */
import { createHash } from 'node:crypto';

/** The number of slots: a prime, at least a hundred times the number of servers that one service may have. */
export const SLOTS = 16381;

export interface WeightedServer {
  /** The server's preferences follow from its name only, not from its position in a list. */
  name: string;
  /** Relative; a server with weight 0 gets no slots. */
  weight: number;
}

/** @returns for each slot the index of its server in `servers`; all -1 when no server has a weight */
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
      // The heaviest server has a turn in each round, a server of half its weight in every second round.
      turn.due += turn.share;
      if (turn.due < 1) continue;
      turn.due -= 1;
      while (table[turn.next] >= 0) turn.next = (turn.next + turn.skip) % slots;
      table[turn.next] = s;
      filled++;
    }
  return table;
}

/** A server's first slot and its step: every slot is visited once, because the number of slots is prime. */
function preference(name: string, slots: number): { next: number; skip: number } {
  const digest = createHash('sha256').update(name).digest();
  return { next: digest.readUInt32LE(0) % slots, skip: (digest.readUInt32LE(4) % (slots - 1)) + 1 };
}
