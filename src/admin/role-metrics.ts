/** Metrics of a role, whatever its programs: which build it is, and what it sees of its registry. */
import { VERSION } from '../version.js';
import type { Metric } from './metrics.js';

interface Seen {
  kind: string;
  connected: boolean;
  viewAgeMs: number;
  refused: Readonly<Record<string, string>>;
}

/** @param views by kind of records: their number, and a digest to compare with other roles' */
export const roleMetrics = (
  registry: Seen,
  views: Record<string, { count: number; hash: string }>,
): Metric[] => [
  {
    name: 'firstack_build_info',
    help: 'The version of this software and of Node.js; always 1.',
    type: 'gauge',
    samples: [{ labels: { version: VERSION, node: process.version }, value: 1 }],
  },
  {
    name: 'firstack_registry_connected',
    help: 'Whether the registry answers, and takes what this role writes.',
    type: 'gauge',
    samples: [{ labels: { registry: registry.kind }, value: registry.connected ? 1 : 0 }],
  },
  {
    name: 'firstack_registry_view_age_seconds',
    help: 'Time since the view of the registry was last confirmed.',
    type: 'gauge',
    samples: [{ labels: {}, value: Math.round(registry.viewAgeMs) / 1000 }],
  },
  {
    name: 'firstack_registry_refused',
    help: 'Records that count for nothing here because no credential covers what they state.',
    type: 'gauge',
    samples: [{ labels: {}, value: Object.keys(registry.refused).length }],
  },
  {
    name: 'firstack_registry_view',
    help: 'Records in the view, by kind; roles with the same hash see the same records.',
    type: 'gauge',
    samples: Object.entries(views).map(([kind, { count, hash }]) => ({
      labels: { kind, hash },
      value: count,
    })),
  },
];
