/** A report as text for an operator. */
import type { Percentiles, Report } from './report.js';

const NAMES = 14;
const CELL = 9;
const COLUMNS = ['p50', 'p90', 'p99', 'p99_9', 'max'] as const;

export function table(r: Report): string[] {
  const what = r.mode === 'http' ? 'GET' : 'TCP connect';
  const checked = r.verified ? ', every body checked by SHA-256' : '';
  return [
    `${r.url}: ${what}${checked}`,
    `${r.stages.map(stageText).join(', then ')}; ${r.arrivals} arrivals, seed ${r.seed}`,
    `${r.scheduled} arrivals: ${r.started} sent, ${r.missed} missed${r.unsent > 0 ? `, ${r.unsent} not sent (interrupted)` : ''}`,
    `${r.started} sent: ${r.ok} ok, ${r.failed} failed${errorsText(r.errors)}`,
    '',
    header('ms from the due time'),
    row('connected', r.latencyMs.connect),
    ...(r.mode === 'http' ? [row('first byte', r.latencyMs.firstByte)] : []),
    row('complete', r.latencyMs.total),
    row('sent', r.generator.lagMs),
    ...(r.generator.late
      ? ['The generator fell behind: the latencies are partly its own. Lower the rate.']
      : []),
    ...replicaRows(r),
  ];
}

const stageText = (s: Report['stages'][number]): string =>
  `${s.fromPerS === s.toPerS ? s.fromPerS : `${s.fromPerS} to ${s.toPerS}`}/s for ${s.lastsS} s`;

function errorsText(errors: Report['errors']): string {
  const each = Object.entries(errors).map(([code, count]) => `${code} ${count}`);
  return each.length === 0 ? '' : ` (${each.join(', ')})`;
}

function replicaRows(r: Report): string[] {
  if (r.mode !== 'http') return [];
  const rows = Object.entries(r.replicas).map(
    ([name, of]) => `${row(name, of.totalMs)}${cell(of.ok)}${cell(of.failed)}`,
  );
  const nobody = r.noResponse > 0 ? [`no response: ${r.noResponse}`] : [];
  return ['', `${header('complete, by replica')}${cell('ok')}${cell('failed')}`, ...rows, ...nobody];
}

const cell = (value: string | number): string => String(value).padStart(CELL);
const header = (title: string): string =>
  title.padEnd(NAMES + 8) + COLUMNS.map((c) => cell(c.replace('_', '.'))).join('');

function row(name: string, p: Percentiles | null): string {
  return name.padEnd(NAMES + 8) + COLUMNS.map((c) => cell(p === null ? '-' : p[c].toFixed(1))).join('');
}
