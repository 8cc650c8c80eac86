/** What the race's parts of an origin's and of a replica's role file have in common. */
import type { Schema } from '../config.js';
import { CONFIGURATIONS, type Configuration } from './records.js';

export interface CommonConfig {
  configuration?: Configuration;
  tag: { keyFile: string };
  /** Whether this host's clock is known to be synchronized (PTP, NTP with a bound). */
  clock: 'free' | 'synchronized';
}

export const commonProperties: Record<keyof CommonConfig, Schema> = {
  configuration: { enum: [...CONFIGURATIONS] },
  tag: {
    type: 'object',
    additionalProperties: false,
    required: ['keyFile'],
    properties: { keyFile: { type: 'string' } },
  },
  clock: { enum: ['free', 'synchronized'], default: 'free' },
};
