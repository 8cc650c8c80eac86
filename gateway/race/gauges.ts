/** The gauges of the gateway's data plane, and the shared memory between it and the control plane. */

import { layoutOf } from '../../src/layout.js';
import { defineGauges } from '../../src/pipeline/reasons.js';
import { MOST_RACED } from '../../src/proximity/candidates.js';
import { learnedBytes } from '../../src/proximity/learned.js';
import { usageBytes } from '../../src/proximity/usage.js';
import { ringBytes } from '../../src/race/record.js';
import type { GatewayMemory } from './state.js';

export const gauges = defineGauges({ flows: 'flows', pinned: 'pinned' });

/** By candidate, in doubles: the number of first bytes, and the sum of the times that they took (µs). */
export const firstByte = layoutOf({ count: 1, sumUs: 1 });

/**
 * Bytes of shared memory by name.
 * @param races the number of records in the ring, a power of two
 * @param learned the number of (service, client prefix) pairs in the table; 0 for a race that learns nothing
 */
export const gatewayMemory = (races: number, learned: number): Record<keyof GatewayMemory, number> => ({
  races: ringBytes(races),
  learned: learned === 0 ? 0 : learnedBytes(learned),
  firstBytes: MOST_RACED * firstByte.stride * 8,
  usage: usageBytes,
});
