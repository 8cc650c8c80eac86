/**
 * The slots of Maglev hashing (Eisenbud et al., NSDI 2016, 3.4), with weights: the same servers with the same weights
 * get the same slots wherever they are computed. No names and no I/O: see `maglev.ts` for what follows from a name.
 */

/** The number of slots: a prime, at least a hundred times the number of servers that one service may have. */
export const SLOTS = 16381;

/** One server's order of preference among the slots, and its weight relative to the others'. */
export interface Preference {
  next: number;
  skip: number;
  /** Relative; a server with weight 0 gets no slots. */
  weight: number;
}

/** @returns for each slot the index of its server in `servers`; all -1 when no server has a weight */
export function fillSlots(servers: readonly Preference[], slots = SLOTS): Int32Array {
  const table = new Int32Array(slots).fill(-1);
  const most = Math.max(0, ...servers.map((s) => s.weight));
  if (most === 0) return table;
  const turns = servers.map(({ next, skip, weight }) => ({ next, skip, share: weight / most, due: 0 }));
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
