/** Metric families of a service-level router: what it knows of its members, by virtual host. */
import type { Metric, Sample } from '../../src/admin/metrics.js';
import type { Member } from '../../src/routing/hello-server.js';
import type { ShareCount } from '../../src/steer/shares.js';
import type { Standing } from './costs.js';

const MS = 1000;

/** @param nowMs by the monotonic clock */
export function routerMetrics(
  standings: ReadonlyMap<string, readonly Standing[]>,
  members: readonly Member[],
  nowMs: number,
): Metric[] {
  const all = [...standings].flatMap(([service, each]) => {
    const total = each.reduce((sum, s) => sum + s.weight, 0);
    return each.map((s) => ({ s, labels: { service, member: s.id }, total }));
  });
  const gauge = (name: string, help: string, samples: Sample[]): Metric => ({
    ...{ name: `firstack_routing_${name}`, help, type: 'gauge', samples },
  });
  return [
    gauge(
      'member_available',
      'Whether the member gets new connections of the virtual host.',
      all.map(({ s, labels }) => ({ labels, value: s.leftOut === '' ? 1 : 0 })),
    ),
    gauge(
      'member_share',
      "The member's part of the virtual host's new connections, by the weights.",
      all.map(({ s, labels, total }) => ({ labels, value: total === 0 ? 0 : s.weight / total })),
    ),
    gauge(
      'member_load',
      'The load that the member says, 0 to 1.',
      all.map(({ s, labels }) => ({ labels, value: s.load })),
    ),
    gauge(
      'member_cost',
      'What the policy makes of it, smoothed.',
      all.filter(({ s }) => Number.isFinite(s.cost)).map(({ s, labels }) => ({ labels, value: s.cost })),
    ),
    gauge(
      'member_heard_seconds',
      'Time since the member was last heard.',
      members.map((m) => ({ labels: { member: m.id }, value: (nowMs - m.heardAt) / MS })),
    ),
  ];
}

/** Accounting of an access link's shares. */
export function shareMetrics(counts: readonly ShareCount[]): Metric[] {
  const family = (name: string, help: string, of: (c: ShareCount) => number): Metric => ({
    ...{ name: `firstack_share_${name}`, help, type: name.endsWith('_total') ? 'counter' : 'gauge' },
    samples: counts.map((c) => ({ labels: { class: c.name }, value: of(c) })),
  });
  return [
    family('bits_per_second', 'What the class is sure of.', (c) => c.mbit * 1e6),
    family('bytes_total', "Bytes that left in the class, with the link's headers.", (c) => c.bytes),
    family('packets_total', 'Packets that left in the class.', (c) => c.packets),
    family('dropped_total', 'Packets for which its queue had no room.', (c) => c.dropped),
  ];
}
