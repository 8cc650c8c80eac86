/** What the gateway's data plane shows of itself beside its counters, and the shared memory that it shows it in. */

import { layoutOf } from '../../src/layout.js';
import { defineGauges } from '../../src/pipeline/reasons.js';
import { MOST_RACED } from '../../src/proximity/candidates.js';
import { learnedBytes } from '../../src/proximity/learned.js';
import { usageBytes } from '../../src/proximity/usage.js';
import { ringBytes } from '../../src/race/record.js';
import type { GatewayMemory } from './state.js';

export const gauges = defineGauges({ flows: 'flows', pinned: 'pinned' });

/** By candidate, in doubles: how many first bytes came, and the sum of the times that they took (µs). */
export const firstByte = layoutOf({ count: 1, sumUs: 1 });

/**
 * Bytes of shared memory by name.
 * @param races records that are kept, a power of two
 * @param learned (service, client prefix) pairs that are remembered; 0 where nothing is learned
 */
export const gatewayMemory = (races: number, learned: number): Record<keyof GatewayMemory, number> => ({
  races: ringBytes(races),
  learned: learned === 0 ? 0 : learnedBytes(learned),
  firstBytes: MOST_RACED * firstByte.stride * 8,
  usage: usageBytes,
});
