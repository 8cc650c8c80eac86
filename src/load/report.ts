/** The result of a run: counts that add up, percentiles from the due time, one row per second. */
import type { Mode } from './attempt.js';
import type { Arrivals, Stage } from './profile.js';
import { MISSED, OK, type Recording, UNSENT } from './recording.js';

export interface Percentiles {
  p50: number;
  p90: number;
  p99: number;
  p99_9: number;
  max: number;
}

export interface Second {
  /** The second's beginning. An arrival belongs to the second in which it was due. */
  atS: number;
  started: number;
  ok: number;
  failed: number;
  missed: number;
  /** Of the successful arrivals; null when there were none. */
  p50Ms: number | null;
  p99Ms: number | null;
}

export interface Setting {
  url: string;
  mode: Mode;
  arrivals: Arrivals;
  seed: number;
  stages: readonly Stage[];
  durationS: number;
  /** Whether bodies are checked. */
  verified: boolean;
}

/** scheduled = started + missed + unsent; started = ok + failed = the replicas' sum + noResponse. */
export interface Report extends Setting {
  scheduled: number;
  started: number;
  ok: number;
  failed: number;
  missed: number;
  /** Above 0 only when the run was interrupted. */
  unsent: number;
  /** Failures, by code. */
  errors: Record<string, number>;
  bodyBytes: number;
  /** Connect: of all arrivals that connected. First byte: of all that were answered. Total: of the successful ones. */
  latencyMs: { connect: Percentiles | null; firstByte: Percentiles | null; total: Percentiles | null };
  generator: {
    /** From the due time to the sending. */
    lagMs: Percentiles | null;
    /** Whether the generator could not keep up: then the latencies are partly its own. */
    late: boolean;
  };
  replicas: Record<string, { ok: number; failed: number; totalMs: Percentiles | null }>;
  noResponse: number;
  timeline: Second[];
}

/** A p99 lag above this is more than the inaccuracy of a timer … */
const LATE_MS = 5;
/** … and above this share of the median latency it falsifies the measurement. */
const LATE_SHARE = 0.1;

export function reportOf(setting: Setting, r: Recording): Report {
  const everyone = Array.from(r.dueMs.keys());
  const { started, ok, failed, missed } = r.counts;
  const lagMs = percentiles(r.lagMs);
  const total = percentiles(r.totalMs);
  const bearableMs = Math.max(LATE_MS, LATE_SHARE * (total?.p50 ?? 0));
  return {
    ...setting,
    scheduled: everyone.length,
    started,
    ok,
    failed,
    missed,
    unsent: everyone.length - started - missed,
    errors: errorsOf(everyone, r),
    bodyBytes: r.bodyBytes,
    latencyMs: {
      connect: percentiles(r.connectMs),
      firstByte: percentiles(r.firstByteMs),
      total,
    },
    generator: { lagMs, late: lagMs !== null && lagMs.p99 > bearableMs },
    replicas: replicasOf(everyone, r),
    noResponse: everyone.filter((i) => isSent(r, i) && r.servedBy(i) === '').length,
    timeline: timelineOf(setting.durationS, everyone, r),
  };
}

const isSent = (r: Recording, i: number): boolean => !Number.isNaN(r.lagMs[i]);

function errorsOf(everyone: number[], r: Recording): Record<string, number> {
  const errors: Record<string, number> = {};
  for (const i of everyone) {
    const outcome = r.outcome(i);
    if (outcome !== OK && outcome !== MISSED && outcome !== UNSENT)
      errors[outcome] = (errors[outcome] ?? 0) + 1;
  }
  return sortedByName(errors);
}

function replicasOf(everyone: number[], r: Recording): Report['replicas'] {
  const groups = groupsOf(
    everyone.filter((i) => r.servedBy(i) !== ''),
    (i) => r.servedBy(i),
  );
  const rows = [...groups].map(([name, members]) => {
    const ok = members.filter((i) => r.outcome(i) === OK).length;
    const totalMs = percentiles(members.map((i) => r.totalMs[i]));
    return [name, { ok, failed: members.length - ok, totalMs }] as const;
  });
  return sortedByName(Object.fromEntries(rows));
}

function timelineOf(durationS: number, everyone: number[], r: Recording): Second[] {
  const groups = groupsOf(everyone, (i) => Math.floor(r.dueMs[i] / 1000));
  return Array.from({ length: Math.ceil(durationS) }, (_, atS) => {
    const members = groups.get(atS) ?? [];
    const count = (outcome: string) => members.filter((i) => r.outcome(i) === outcome).length;
    const started = members.filter((i) => isSent(r, i)).length;
    const ok = count(OK);
    const total = percentiles(members.map((i) => r.totalMs[i]));
    const [p50Ms, p99Ms] = [total?.p50 ?? null, total?.p99 ?? null];
    return { atS, started, ok, failed: started - ok, missed: count(MISSED), p50Ms, p99Ms };
  });
}

/**
 * Percentiles by nearest rank: each is a value that occurred, and a share q of all values are not greater. NaN counts
 * as absent.
 * @returns null when there are no values; ms to three places
 */
export function percentiles(values: Iterable<number>): Percentiles | null {
  const sorted = Float64Array.from(values)
    .filter((v) => !Number.isNaN(v))
    .sort();
  if (sorted.length === 0) return null;
  // Computed in thousandths, because 0.999 * 1000 is not 999 in binary.
  const at = (perMille: number) =>
    Math.round(sorted[Math.max(0, Math.ceil((perMille * sorted.length) / 1000) - 1)] * 1000) / 1000;
  return { p50: at(500), p90: at(900), p99: at(990), p99_9: at(999), max: at(1000) };
}

function groupsOf<K>(members: number[], keyOf: (i: number) => K): Map<K, number[]> {
  const groups = new Map<K, number[]>();
  for (const i of members) {
    const key = keyOf(i);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [i]);
    else group.push(i);
  }
  return groups;
}

function sortedByName<T>(record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}
