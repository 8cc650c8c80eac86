/** The gauges of the gateway's data plane, and the shared memory between it and the control plane. */

import { defineGauges } from '../../src/pipeline/reasons.js';
import { learnedBytes } from '../../src/proximity/learned-table.js';
import { MOST_SERVICES, usageBytes } from '../../src/proximity/usage.js';
import { ringBytes } from '../../src/race/record-layout.js';
import { evidenceBytes } from './evidence.js';
import { nearBytes } from './near-probes.js';
import { pathsBytes } from './path-probes.js';
import type { GatewayMemory } from './state.js';

export const gauges = defineGauges({ flows: 'flows', pinned: 'pinned' });

/**
 * Bytes of shared memory by name.
 * @param races the number of records in the ring, a power of two
 * @param learned the number of (service, client prefix) pairs in the table; 0 for a race that learns nothing
 * @param services how many services' machines are counted; pages that are never written take no memory
 */
export const gatewayMemory = (
  races: number,
  learned: number,
  services = MOST_SERVICES,
): Record<keyof GatewayMemory, number> => ({
  races: ringBytes(races),
  learned: learned === 0 ? 0 : learnedBytes(learned),
  evidence: evidenceBytes(services),
  usage: usageBytes,
  paths: pathsBytes,
  near: nearBytes,
});
