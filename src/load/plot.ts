/** An SVG of the run, second by second: rate, latency, and failures, one panel below another. */
import type { Report, Second } from './report.js';

const WIDTH = 760;
const LEFT = 64;
const RIGHT = 96;
const TOP = 76;
const GAP = 44;
const BOTTOM = 46;
const COLOUR = {
  due: '#999',
  ok: '#14804a',
  p50: '#1a6fb0',
  p99: '#c77700',
  failed: '#b3261e',
  missed: '#6b4ba1',
};
type Name = keyof typeof COLOUR;

interface Line {
  name: Name;
  dashed?: boolean;
  /** One value per second; null where there is none. */
  values: (number | null)[];
}

interface Panel {
  title: string;
  height: number;
  lines: Line[];
  bars: boolean;
}

export function plot(r: Report): string {
  const panels = panelsOf(r);
  const height = TOP + panels.reduce((sum, p) => sum + p.height + GAP, 0) - GAP + BOTTOM;
  const title = `${r.mode === 'http' ? 'GET' : 'TCP connect'} ${r.url}`;
  const text =
    `${r.started} sent, ${r.ok} ok, ${r.failed} failed, ${r.missed} missed; ` +
    `${r.arrivals} arrivals; latency from the due time, of the successful ones`;
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(`firstack load: ${title}, per second`)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    `<text x="12" y="22" font-size="14" font-weight="bold">${escaped(title)}</text>`,
    `<text x="12" y="40" fill="#444">${escaped(text)}</text>`,
  ];
  let top = TOP;
  for (const panel of panels) {
    out.push(...drawPanel(panel, top, r));
    top += panel.height + GAP;
  }
  const axis = height - 10;
  out.push(
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${axis}" text-anchor="middle">seconds</text>`,
    '</svg>',
  );
  return `${out.join('\n')}\n`;
}

function panelsOf(r: Report): Panel[] {
  // The last second may be incomplete.
  const perS = (count: number, s: Second) => count / Math.min(1, r.durationS - s.atS);
  const rate = (count: (s: Second) => number) => r.timeline.map((s) => perS(count(s), s));
  return [
    {
      title: 'arrivals a second',
      height: 130,
      bars: false,
      lines: [
        { name: 'due', dashed: true, values: rate((s) => s.started + s.missed) },
        { name: 'ok', values: rate((s) => s.ok) },
      ],
    },
    {
      title: 'latency, ms',
      height: 170,
      bars: false,
      lines: [
        { name: 'p99', values: r.timeline.map((s) => s.p99Ms) },
        { name: 'p50', values: r.timeline.map((s) => s.p50Ms) },
      ],
    },
    {
      title: 'failed and missed in each second',
      height: 80,
      bars: true,
      lines: [
        { name: 'failed', values: r.timeline.map((s) => s.failed) },
        { name: 'missed', values: r.timeline.map((s) => s.missed) },
      ],
    },
  ];
}

function drawPanel(panel: Panel, top: number, r: Report): string[] {
  const floor = top + panel.height;
  const most = niceCeiling(Math.max(1, ...panel.lines.flatMap((l) => l.values.map((v) => v ?? 0))));
  const x = (s: number) => LEFT + (s / r.durationS) * (WIDTH - LEFT - RIGHT);
  const y = (value: number) => floor - (value / most) * panel.height;
  const out = [`<text x="${LEFT}" y="${top - 8}" font-weight="bold">${panel.title}</text>`];
  for (const share of panel.bars ? [0, 1] : [0, 0.5, 1]) {
    const at = fixed(y(most * share));
    out.push(
      `<line x1="${LEFT}" y1="${at}" x2="${WIDTH - RIGHT}" y2="${at}" stroke="#ddd"/>`,
      `<text x="${LEFT - 6}" y="${fixed(y(most * share) + 4)}" text-anchor="end" fill="#444">${most * share}</text>`,
    );
  }
  for (const s of ticks(r.durationS)) {
    const at = fixed(x(s));
    out.push(
      `<line x1="${at}" y1="${floor}" x2="${at}" y2="${floor + 4}" stroke="#888"/>`,
      `<text x="${at}" y="${floor + 17}" text-anchor="middle" fill="#444">${s}</text>`,
    );
  }
  out.push(...(panel.bars ? drawBars(panel, r, x, y) : panel.lines.flatMap((l) => drawLine(l, r, x, y))));
  return [...out, ...legend(panel, top)];
}

type Scale = (value: number) => number;

/** Draws a step per second. A second without a value is a gap. */
function drawLine(line: Line, r: Report, x: Scale, y: Scale): string[] {
  let pen = false;
  const path = line.values.flatMap((value, s) => {
    const joined = pen;
    pen = value !== null;
    if (value === null) return [];
    const level = fixed(y(value));
    return [
      `${joined ? 'L' : 'M'}${fixed(x(s))} ${level}`,
      `L${fixed(x(Math.min(s + 1, r.durationS)))} ${level}`,
    ];
  });
  const dashes = line.dashed ? ' stroke-dasharray="5 4"' : '';
  return [
    `<path d="${path.join(' ')}" fill="none" stroke="${COLOUR[line.name]}" stroke-width="2"${dashes}/>`,
  ];
}

/** Draws the bars side by side within their second. */
function drawBars(panel: Panel, r: Report, x: Scale, y: Scale): string[] {
  const width = (x(1) - x(0)) / panel.lines.length;
  return panel.lines.flatMap((line, n) =>
    line.values.flatMap((value, s) => {
      if (!value) return [];
      const left = x(s) + (x(Math.min(s + 1, r.durationS)) - x(s)) * (n / panel.lines.length);
      return `<rect x="${fixed(left)}" y="${fixed(y(value))}" width="${fixed(Math.max(0.5, width * 0.9))}" height="${fixed(y(0) - y(value))}" fill="${COLOUR[line.name]}"/>`;
    }),
  );
}

function legend(panel: Panel, top: number): string[] {
  return panel.lines.flatMap(({ name, dashed }, n) => {
    const y = top + 10 + n * 18;
    const x = WIDTH - RIGHT + 14;
    const dashes = dashed ? ' stroke-dasharray="5 4"' : '';
    return [
      `<line x1="${x}" y1="${y - 4}" x2="${x + 20}" y2="${y - 4}" stroke="${COLOUR[name]}" stroke-width="${panel.bars ? 8 : 2.5}"${dashes}/>`,
      `<text x="${x + 26}" y="${y}">${name}</text>`,
    ];
  });
}

/** The next round number. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((m) => m * power).find((n) => n >= value)!;
}

/** About ten whole seconds, evenly spaced. */
function ticks(lastsS: number): number[] {
  const step = niceCeiling(Math.max(1, lastsS / 10));
  return Array.from({ length: Math.floor(lastsS / step) + 1 }, (_, i) => i * step);
}

const fixed = (n: number): string => n.toFixed(1);

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => ENTITIES[c]);
