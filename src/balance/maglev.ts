/**
 * Maglev hashing (Eisenbud et al., NSDI 2016, 3.4), with weights: a table of slots, each assigned to a server. When a
 * server is added or removed, its share of slots changes and hardly any other slot does.
 */
import { createHash } from 'node:crypto';
import { fillSlots, type Preference, SLOTS } from './slots.js';

export interface WeightedServer {
  /** The server's preferences follow from its name only, not from its position in a list. */
  name: string;
  /** Relative; a server with weight 0 gets no slots. */
  weight: number;
}

/** @returns for each slot the index of its server in `servers`; all -1 when no server has a weight */
export function maglev(servers: readonly WeightedServer[], slots = SLOTS): Int32Array {
  return fillSlots(
    servers.map(({ name, weight }) => ({ ...preferenceOf(name, slots), weight })),
    slots,
  );
}

/** A server's first slot and its step: every slot is visited once, because the number of slots is prime. */
export function preferenceOf(name: string, slots = SLOTS): Omit<Preference, 'weight'> {
  const digest = createHash('sha256').update(name).digest();
  return { next: digest.readUInt32LE(0) % slots, skip: (digest.readUInt32LE(4) % (slots - 1)) + 1 };
}
