/** Prometheus's text format, written by prom-client. The values are read when they are asked for. */
import type { Metric as PromMetric } from 'prom-client';

type Labels = Readonly<Record<string, string>>;

interface Family {
  name: string;
  help: string;
}

/** One metric family of a program. The host of programs adds the label `program`. */
export type Metric =
  | (Family & { type: 'counter' | 'gauge'; samples: Sample[] })
  | (Family & { type: 'histogram'; samples: Distribution[] });

/** One histogram. */
export interface Distribution {
  labels: Labels;
  /** The upper bounds of the buckets, ascending. */
  bounds: readonly number[];
  /** How many values each bucket has, and after the last bound those above it: one more than bounds. */
  counts: readonly number[];
  sum: number;
}

/** A single value of a counter or a gauge. */
export interface Sample {
  labels: Labels;
  value: number;
}

interface Line {
  value: number;
  labels: Record<string, string | number>;
  metricName?: string;
}

/** The lines of one histogram: prom-client's own class counts by itself, so it cannot show what others counted. */
function linesOf(name: string, { labels, bounds, counts, sum }: Distribution): Line[] {
  let below = 0;
  const buckets = counts.map((count, i): Line => {
    below += count;
    return { value: below, labels: { ...labels, le: bounds[i] ?? '+Inf' }, metricName: `${name}_bucket` };
  });
  return [
    ...buckets,
    { value: sum, labels, metricName: `${name}_sum` },
    { value: below, labels, metricName: `${name}_count` },
  ];
}

/** The text of these families. Families of one name become one; a family without samples is left out. */
export async function exposition(metrics: readonly Metric[]): Promise<string> {
  // Loaded with the first scrape: a role whose metrics are never read does not need it.
  const { default: prom } = await import('prom-client');
  const families = new Map<string, Family & { type: string; values: Line[] }>();
  for (const m of metrics) {
    const { name, help, type } = m;
    if (m.samples.length === 0) continue;
    const family = families.get(name) ?? { name, help, type, values: [] };
    families.set(name, family);
    const lines = m.type === 'histogram' ? m.samples.flatMap((s) => linesOf(name, s)) : m.samples;
    family.values.push(...(lines as Line[]));
  }
  const registry = new prom.Registry();
  for (const f of families.values())
    registry.registerMetric({ name: f.name, get: async () => f } as unknown as PromMetric);
  return registry.metrics();
}
