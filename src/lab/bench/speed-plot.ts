/** An SVG of quotients: a point with its interval per figure, and its target. */
import type { Figure } from './rounds.js';
import type { Met } from './statistics.js';

const ROW = 18;
const TOP = 58;
const LABELS = 190;
const WIDTH = 760;
const RIGHT = 70;
const BOTTOM = 44;
/** Ends of the axis, which is logarithmic: a half is as far from one as two. */
const LEAST = 1 / 16;
const MOST = 8;
const COLOURS: Record<Met, string> = {
  yes: '#14804a',
  no: '#b3261e',
  unresolved: '#c77700',
  reported: '#555555',
};

/** Figures that are a quotient of two arms. */
export const isQuotient = (f: Figure): boolean => f.id.includes('/') && !f.id.endsWith('-ms');

function x(value: number): number {
  const clipped = Math.min(MOST, Math.max(LEAST, value));
  return LABELS + (Math.log(clipped / LEAST) / Math.log(MOST / LEAST)) * (WIDTH - LABELS - RIGHT);
}

export function quotients(figures: readonly Figure[]): string {
  const rows = figures.filter(isQuotient);
  const height = TOP + rows.length * ROW + BOTTOM;
  const title = 'firstack bench: quotients, their 95 % intervals and targets';
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${title}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    `<text x="12" y="22" font-size="14" font-weight="bold">Quotients of arms interleaved in one run; median and 95 % interval</text>`,
    ...legend(),
  ];
  const floor = TOP + rows.length * ROW;
  for (let tick = LEAST; tick <= MOST; tick *= 2) {
    const text = tick < 1 ? `1/${1 / tick}` : String(tick);
    lines.push(
      `<line x1="${at(x(tick))}" y1="${TOP}" x2="${at(x(tick))}" y2="${floor}" stroke="${tick === 1 ? '#888' : '#ddd'}"/>`,
      `<text x="${at(x(tick))}" y="${floor + 16}" text-anchor="middle" fill="#444">${text}</text>`,
    );
  }
  rows.forEach((f, i) => {
    lines.push(...row(f, TOP + i * ROW + ROW / 2));
  });
  lines.push('</svg>');
  return `${lines.join('\n')}\n`;
}

const at = (n: number): string => n.toFixed(1);

function legend(): string[] {
  const words: [Met, string][] = [
    ['yes', 'target reached'],
    ['unresolved', 'the interval includes the target'],
    ['no', 'not reached'],
    ['reported', 'no target'],
  ];
  return words.flatMap(([met, text], i) => [
    `<circle cx="${18 + i * 160}" cy="40" r="4" fill="${COLOURS[met]}"/>`,
    `<text x="${28 + i * 160}" y="44" fill="#444">${text}</text>`,
  ]);
}

function row(f: Figure, y: number): string[] {
  const colour = COLOURS[f.met];
  const target = Number(/[\d.]+$/.exec(f.target)?.[0]);
  const out = [
    `<text x="12" y="${at(y + 4)}">${f.id}</text>`,
    `<line x1="${at(x(f.low))}" y1="${at(y)}" x2="${at(x(f.high))}" y2="${at(y)}" stroke="${colour}" stroke-width="3"/>`,
    `<circle cx="${at(x(f.value))}" cy="${at(y)}" r="4" fill="${colour}"/>`,
    `<text x="${WIDTH - RIGHT + 10}" y="${at(y + 4)}" fill="${colour}">${f.value.toFixed(2)}</text>`,
  ];
  if (!Number.isNaN(target))
    out.push(
      `<line x1="${at(x(target))}" y1="${at(y - 7)}" x2="${at(x(target))}" y2="${at(y + 7)}" stroke="black" stroke-width="1.5"/>`,
    );
  return out;
}
