/** What the race's parts of an origin's and of a replica's role file have in common. */
import type { Schema } from '../config.js';
import { explained } from '../explained.js';
import { CONFIGURATIONS, type Configuration } from './records.js';

export interface CommonConfig {
  configuration?: Configuration;
  tag: { keyFile: string };
  /** Whether this host's clock is known to be synchronized (PTP, NTP with a bound). */
  clock: 'free' | 'synchronized';
}

export const commonProperties: Record<keyof CommonConfig, Schema> = {
  configuration: explained(
    { enum: [...CONFIGURATIONS] },
    'How packets reach a replica: A translates addresses, B spoofs the origin, C tunnels.',
    'A',
  ),
  tag: {
    type: 'object',
    description: "The key with which gateways' tags are checked.",
    additionalProperties: false,
    required: ['keyFile'],
    properties: {
      keyFile: explained(
        { type: 'string' },
        'From `firstack keygen`; mode 0600.',
        '/etc/firstack/master.key',
      ),
    },
  },
  clock: explained(
    { enum: ['free', 'synchronized'], default: 'free' },
    'synchronized (PTP, NTP with a bound): probes measure one way instead of half a round trip.',
  ),
};
