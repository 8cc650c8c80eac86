/** One race as text: which candidate answered when, on one time axis. ASCII, at most 100 columns. */
import type { RaceRecord } from '../race/record-read.js';

const AXIS_COLUMNS = 61;
const NAME_COLUMNS = 8;

export const ms = (us: number) => (us / 1000).toFixed(1);

/**
 *   ms       0         50        100       150
 *            |---------|---------|---------|
 *   r2       .............................W           145.9 won
 *   origin   ......................................x  190.2 reset
 */
export function drawRace(record: RaceRecord): string[] {
  const replies = record.candidates.map((c) => c.replyUs ?? 0);
  const stepMs = niceStep(Math.max(1, ...replies) / 1000);
  const column = (us: number) => Math.round((us / 1000 / stepMs) * 10);
  const marks = Math.floor((AXIS_COLUMNS - 1) / 10);
  const indent = ' '.repeat(NAME_COLUMNS + 2);
  const numbers = Array.from({ length: marks + 1 }, (_, n) => String(n * stepMs).padEnd(10)).join('');
  const lines = [
    `${'ms'.padEnd(NAME_COLUMNS)}  ${numbers.trimEnd()}`,
    `${indent}|${'---------|'.repeat(marks)}`,
  ];
  const order = (us: number | null) => us ?? Infinity;
  const candidates = [...record.candidates].sort((a, b) => order(a.replyUs) - order(b.replyUs));
  for (const c of candidates) {
    const name = c.id.padEnd(NAME_COLUMNS);
    if (c.replyUs === null) {
      lines.push(`${name}  ${'(no answer)'.padEnd(AXIS_COLUMNS)}  ${''.padStart(6)} ${c.verdict}`);
      continue;
    }
    const from = Math.max(0, column(c.sentUs));
    const way = '.'.repeat(Math.max(0, column(c.replyUs) - from));
    const track = `${' '.repeat(from)}${way}${c.verdict === 'won' ? 'W' : 'x'}`.padEnd(AXIS_COLUMNS);
    lines.push(`${name}  ${track}  ${ms(c.replyUs).padStart(6)} ${c.verdict}`);
  }
  return lines;
}

/** The least of 1, 2, 3, 4, 5, 10, 20 … ms per ten columns at which everything fits. */
function niceStep(mostMs: number): number {
  const marks = Math.floor((AXIS_COLUMNS - 1) / 10);
  for (let decade = 1; ; decade *= 10) {
    for (const factor of [1, 2, 3, 4, 5]) {
      if (factor * decade * marks >= mostMs) return factor * decade;
    }
  }
}
