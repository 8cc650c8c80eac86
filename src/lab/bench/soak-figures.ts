/** The results of a soak, as figures with their targets, and as a table. */
import type { Account } from './soak-account.js';
import type { ClientEnd, Second } from './soak-client.js';
import type { Done } from './soak-events.js';
import { type Drift, driftOf, plateaus, type Sample } from './soak-samples.js';

export interface Figure {
  id: string;
  value: number | string;
  target: string;
  met: 'yes' | 'no' | 'reported';
  command: string;
  /** The evidence for the value: examples, the schedule as it was carried out, lines that were left over. */
  detail?: unknown;
}

export interface Soak {
  command: string;
  seconds: number;
  rate: number;
  scheduled: number;
  replicas: readonly string[];
  leastInService: number;
  begunAt: number;
  timeline: Second[];
  end: ClientEnd;
  account: Account;
  events: Done[];
  undrained: number;
  samples: Sample[];
  /** Configuration and fast path of each role, in words. */
  fleet: string;
  leftBehind: string[];
  /** Lines that the roles logged as errors. */
  errors: string[];
}

/** In a shorter run the first quarter is the warm-up of compilers and tables: then memory is reported, not judged. */
const LONG_ENOUGH_S = 600;
const MOST_DRIFT = 1.1;
/** Ended flows are kept this long (RFC 5382, transitory), and swept within a minute. */
const KEPT_S = 240 + 60;
const EXAMPLES = 20;

export function figuresOf(s: Soak): Figure[] {
  const figures: Figure[] = [];
  const push = (id: string, value: Figure['value'], target: string, met: boolean | null, detail?: unknown) =>
    void figures.push({
      id: `soak/${id}`,
      value,
      target,
      met: met === null ? 'reported' : met ? 'yes' : 'no',
      command: s.command,
      ...(detail === undefined ? {} : { detail }),
    });
  const none = (id: string, list: readonly unknown[]) =>
    push(id, list.length, '0', list.length === 0, list.slice(0, EXAMPLES));

  const { counts } = s.end;
  const { failed, mismatches, cut } = s.account;
  push(
    'connections',
    counts.started,
    `${s.scheduled}: all arrivals that were due`,
    counts.started === s.scheduled,
  );
  push('served', counts.ok, 'reported', null, servedOf(s.timeline));
  none('failed', failed);
  none('hash-mismatch', mismatches);
  push('cut', cut.length, 'reported', null, {
    by: tally(cut.map((c) => c.by)),
    examples: cut.slice(0, EXAMPLES),
  });
  push('connect-p50-ms', s.end.connect?.p50 ?? 'none', 'reported', null, s.end.connect);
  push('connect-p99-ms', s.end.connect?.p99 ?? 'none', 'reported', null);
  push('slow-connects', s.end.slowConnects, 'reported', null);
  push('generator-lag-p99-ms', s.end.lag?.p99 ?? 'none', 'reported', null, s.end.lag);

  const carriedOut = s.events.filter((e) => e.skipped === '');
  push('events', carriedOut.length, 'reported', null, {
    fleet: s.fleet,
    byKind: tally(carriedOut.map((e) => e.kind)),
    skipped: s.events.length - carriedOut.length,
    schedule: s.events.map((e) => timesOf(e, s.begunAt)),
  });
  none(
    'not-back',
    carriedOut.filter((e) => e.racedMs === null),
  );
  push('undrained', s.undrained, '0', s.undrained === 0);
  const ups = s.samples.flatMap((x) => (x.up === null ? [] : [x.up]));
  const least = Math.min(...ups);
  push('in-service-least', least, `>= ${s.leastInService}`, least >= s.leastInService);

  for (const role of ['gateway', 'origin'])
    for (const of of ['rss', 'own'] as const) {
      const drift = driftOf(s.samples.flatMap((x) => x.memory[role]?.[of] ?? []));
      const id = of === 'rss' ? `memory:${role}` : `memory-own:${role}`;
      push(id, ...drifted(drift, of === 'rss' && s.seconds >= LONG_ENOUGH_S), mebibytes(drift));
    }
  const lives = plateaus(s.samples, s.replicas, 'rss');
  push('memory:replicas', ...drifted(driftOf(lives), false), { plateausMiB: lives.map(mib) });

  const pinned = Math.max(0, ...s.samples.map((x) => x.pinned ?? 0));
  const most = Math.ceil(s.rate * Math.min(s.seconds, KEPT_S) * 1.1);
  push(
    'pinned-flows',
    pinned,
    `<= ${most}: the rate times the time for which a flow is kept`,
    pinned <= most,
  );
  const sets = s.samples.flatMap((x) => (x.elements ? [sum(Object.values(x.elements))] : []));
  const grown =
    Math.max(...sets.slice(-Math.ceil(sets.length / 4))) -
    Math.max(...sets.slice(0, Math.ceil(sets.length / 4)));
  push('nft-elements-grown', grown, '<= 0', grown <= 0, { most: Math.max(...sets) });
  none('role-errors', s.errors);
  none('left-behind', s.leftBehind);
  return figures;
}

function drifted(d: Drift | null, judged: boolean): [Figure['value'], string, boolean | null] {
  const target = judged ? `<= ${MOST_DRIFT}` : 'reported';
  if (d === null) return ['too few samples', target, judged ? false : null];
  return [Math.round(d.ratio * 1000) / 1000, target, judged ? d.ratio <= MOST_DRIFT : null];
}

const mib = (kib: number): number => Math.round(kib / 102.4) / 10;
const mebibytes = (d: Drift | null): object =>
  d === null ? {} : { firstMiB: mib(d.first), lastMiB: mib(d.last) };
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

export function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of [...names].sort()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function servedOf(timeline: readonly Second[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const { servedBy } of timeline)
    for (const [name, n] of Object.entries(servedBy)) all[name] = (all[name] ?? 0) + n;
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function timesOf(e: Done, begunAt: number): object {
  const at = (ms: number | null): number | null =>
    ms === null ? null : Math.round((ms - begunAt) / 10) / 100;
  const { kind, replica, atS, holdS, skipped } = e;
  const times = { outS: at(e.outMs), backS: at(e.backMs), racedS: at(e.racedMs) };
  return skipped === '' ? { kind, replica, atS, holdS, ...times } : { kind, replica, atS, skipped };
}

export function table(figures: readonly Figure[]): string {
  const rows = [
    ['figure', 'value', 'target', 'met'],
    ...figures.map((f) => [f.id, String(f.value), f.target, f.met]),
  ];
  const widths = rows[0].map((_, c) => Math.max(...rows.map((r) => r[c].length)));
  const line = (r: string[]): string =>
    r
      .map((cell, c) => cell.padEnd(widths[c]))
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}
