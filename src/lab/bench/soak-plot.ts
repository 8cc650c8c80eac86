/** An SVG of a soak over time: connections a second by machine, events by replica, and the roles' memory. */
import { median } from '../../probe/distance.js';
import type { Soak } from './soak-figures.js';
import type { Kind } from './soak-schedule.js';

const WIDTH = 900;
const LEFT = 58;
const RIGHT = 130;
const BANDS = { top: 64, height: 220 };
const ROWS = { top: 316, height: 16 };
const MEMORY = { height: 150 };
const MOST_BINS = 200;
const MACHINES = ['#1a6fb0', '#14804a', '#c77700', '#6b4ba1', '#2a9d9d', '#777777'];
const KIND_COLOUR: Record<Kind, string> = {
  drain: '#9ecae1',
  leave: '#4292c6',
  stop: '#08519c',
  'kill-role': '#fdae6b',
  'kill-web': '#e6550d',
  'kill-both': '#a50f15',
};

export function drawing(s: Soak): string {
  const machines = [...s.replicas, 'origin'];
  const rowsEnd = ROWS.top + s.replicas.length * ROWS.height;
  const memoryTop = rowsEnd + 46;
  const height = memoryTop + MEMORY.height + 44;
  const { failed, cut, mismatches } = s.account;
  const summary = `${s.end.counts.started} connections at ${s.rate}/s: ${failed.length} failed, ${mismatches.length} with a wrong hash, ${cut.length} cut by the end of the machine that carried them`;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    '<title>firstack bench soak: connections a second by machine, events, and memory</title>',
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    `<text x="12" y="22" font-size="14" font-weight="bold">Connections a second, by the machine that served them</text>`,
    `<text x="12" y="40" fill="#444">${summary}</text>`,
    ...bands(s, machines),
    ...rows(s),
    ...memory(s, memoryTop),
    ...axis(s, memoryTop + MEMORY.height),
    '</svg>',
  ].join('\n')}\n`;
}

const fixed = (n: number): string => n.toFixed(1);
const x = (s: Soak, atS: number): number =>
  LEFT + (Math.min(s.seconds, Math.max(0, atS)) / s.seconds) * (WIDTH - LEFT - RIGHT);
const secondsOf = (s: Soak, ms: number): number => (ms - s.begunAt) / 1000;
/** The next number of 1, 2, 5, 10 … */
function ceiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((m) => m * power).find((n) => n >= value)!;
}

/** Stacks the bands, so that their total height is the rate. */
function bands(s: Soak, machines: readonly string[]): string[] {
  const binS = Math.max(1, Math.ceil(s.seconds / MOST_BINS));
  const bins = Array.from({ length: Math.ceil(s.seconds / binS) }, () => new Map<string, number>());
  for (const second of s.timeline) {
    // A line reports the second before it.
    const bin = bins[Math.floor((secondsOf(s, second.atMs) - 0.5) / binS)];
    if (bin === undefined) continue;
    for (const [name, n] of Object.entries(second.servedBy)) bin.set(name, (bin.get(name) ?? 0) + n / binS);
  }
  const totals = bins.map((b) => [...b.values()].reduce((a, n) => a + n, 0));
  const most = ceiling(Math.max(...totals));
  const y = (n: number): number => BANDS.top + BANDS.height * (1 - n / most);
  const out = scale(most, y, '/s');
  const base = bins.map(() => 0);
  machines.forEach((name, m) => {
    const lower = base.map(
      (n, i) => `${fixed(x(s, i * binS))},${fixed(y(n))} ${fixed(x(s, (i + 1) * binS))},${fixed(y(n))}`,
    );
    bins.forEach((b, i) => {
      base[i] += b.get(name) ?? 0;
    });
    const upper = base.map(
      (n, i) => `${fixed(x(s, i * binS))},${fixed(y(n))} ${fixed(x(s, (i + 1) * binS))},${fixed(y(n))}`,
    );
    // Each pair from right to left, on the way back.
    const back = lower.flatMap((pair) => pair.split(' ')).reverse();
    out.push(
      `<polygon points="${upper.join(' ')} ${back.join(' ')}" fill="${MACHINES[m % MACHINES.length]}" fill-opacity="0.75"/>`,
    );
    out.push(...key(BANDS.top + 12 + m * 18, MACHINES[m % MACHINES.length], name));
  });
  return out;
}

/** A bar per event: from the time when the replica was taken out until it was raced again. */
function rows(s: Soak): string[] {
  const out = [`<text x="${LEFT}" y="${ROWS.top - 8}" font-weight="bold">out of service</text>`];
  s.replicas.forEach((r, i) => {
    out.push(`<text x="${LEFT - 6}" y="${ROWS.top + i * ROWS.height + 12}" text-anchor="end">${r}</text>`);
  });
  for (const e of s.events) {
    if (e.skipped !== '') continue;
    const [from, to] = [
      x(s, secondsOf(s, e.outMs)),
      x(s, secondsOf(s, e.racedMs ?? Number.POSITIVE_INFINITY)),
    ];
    const top = ROWS.top + s.replicas.indexOf(e.replica) * ROWS.height + 2;
    out.push(
      `<rect x="${fixed(from)}" y="${top}" width="${fixed(Math.max(1, to - from))}" height="${ROWS.height - 4}" fill="${KIND_COLOUR[e.kind]}"/>`,
    );
  }
  Object.entries(KIND_COLOUR).forEach(([kind, colour], i) => {
    out.push(...key(ROWS.top + 6 + i * 15, colour, kind));
  });
  return out;
}

function memory(s: Soak, top: number): string[] {
  const series: [string, (host: string) => boolean][] = [
    ['gateway', (h) => h === 'gateway'],
    ['origin', (h) => h === 'origin'],
    ['replicas, median', (h) => s.replicas.includes(h)],
  ];
  const points = series.map(([, is]) =>
    s.samples.flatMap((sample) => {
      const values = Object.entries(sample.memory).flatMap(([h, m]) => (is(h) ? [m.rss / 1024] : []));
      return values.length === 0 ? [] : [[secondsOf(s, sample.atMs), median(values)] as const];
    }),
  );
  const most = ceiling(Math.max(1, ...points.flat().map(([, v]) => v)));
  const y = (n: number): number => top + MEMORY.height * (1 - n / most);
  const out = [
    `<text x="${LEFT}" y="${top - 10}" font-weight="bold">resident memory</text>`,
    ...scale(most, y, ' MiB'),
  ];
  series.forEach(([name], i) => {
    const path = points[i].map(([at, v]) => `${fixed(x(s, at))},${fixed(y(v))}`).join(' ');
    out.push(`<polyline points="${path}" fill="none" stroke="${MACHINES[i]}" stroke-width="2"/>`);
    out.push(...key(top + 12 + i * 18, MACHINES[i], name));
  });
  return out;
}

function scale(most: number, y: (n: number) => number, unit: string): string[] {
  return [0, most / 2, most].flatMap((n) => [
    `<line x1="${LEFT}" y1="${fixed(y(n))}" x2="${WIDTH - RIGHT}" y2="${fixed(y(n))}" stroke="#ddd"/>`,
    `<text x="${LEFT - 6}" y="${fixed(y(n) + 4)}" text-anchor="end" fill="#444">${n}${unit}</text>`,
  ]);
}

function axis(s: Soak, floor: number): string[] {
  const step = ceiling(s.seconds / 10);
  const ticks = Array.from({ length: Math.floor(s.seconds / step) + 1 }, (_, i) => i * step);
  return [
    ...ticks.map(
      (t) => `<text x="${fixed(x(s, t))}" y="${floor + 16}" text-anchor="middle" fill="#444">${t}</text>`,
    ),
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${floor + 34}" text-anchor="middle">seconds</text>`,
  ];
}

const key = (y: number, colour: string, name: string): string[] => [
  `<rect x="${WIDTH - RIGHT + 12}" y="${y - 9}" width="10" height="10" fill="${colour}"/>`,
  `<text x="${WIDTH - RIGHT + 28}" y="${y}">${name}</text>`,
];
