/** An SVG of cumulative shares: one panel per quantity, one line per mode. */
export interface Panel {
  title: string;
  unit: string;
  /** The end of the axis; larger values are drawn there. */
  most: number;
  least: number;
  series: { name: string; values: number[] }[];
}

const WIDTH = 420;
const HEIGHT = 280;
const MARGIN = { left: 52, right: 18, top: 40, bottom: 46 };
const COLOURS = ['#b3261e', '#c77700', '#1a6fb0', '#14804a'];
const DASHES = ['', '7 4', '', '2 3'];

export function plot(title: string, panels: Panel[]): string {
  const legend = panels[0].series.map((s) => s.name);
  const width = WIDTH * panels.length;
  const height = HEIGHT + 62;
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${title}: cumulative, per mode</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    `<text x="${MARGIN.left}" y="18" font-size="14" font-weight="bold">${title}</text>`,
  ];
  panels.forEach((p, i) => {
    lines.push(`<g transform="translate(${i * WIDTH} 8)">`, ...panel(p), '</g>');
  });
  legend.forEach((name, i) => {
    const x = MARGIN.left + i * 170;
    const y = HEIGHT + 40;
    lines.push(
      `<line x1="${x}" y1="${y - 4}" x2="${x + 26}" y2="${y - 4}" stroke="${COLOURS[i]}" stroke-width="2.5" stroke-dasharray="${DASHES[i]}"/>`,
      `<text x="${x + 32}" y="${y}">${name}</text>`,
    );
  });
  lines.push('</svg>');
  return `${lines.join('\n')}\n`;
}

function panel(p: Panel): string[] {
  const x = (v: number): number => {
    const share = (Math.min(p.most, Math.max(p.least, v)) - p.least) / (p.most - p.least);
    return MARGIN.left + share * (WIDTH - MARGIN.left - MARGIN.right);
  };
  const y = (share: number): number => HEIGHT - MARGIN.bottom - share * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const out: string[] = [];
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    out.push(
      `<line x1="${x(p.least)}" y1="${y(share)}" x2="${x(p.most)}" y2="${y(share)}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 6}" y="${y(share) + 4}" text-anchor="end" fill="#444">${share * 100} %</text>`,
    );
  }
  for (let k = 0; k <= 4; k++) {
    const value = p.least + ((p.most - p.least) * k) / 4;
    const text = Number.isInteger(value) ? String(value) : value.toFixed(1);
    out.push(
      `<text x="${x(value)}" y="${HEIGHT - MARGIN.bottom + 17}" text-anchor="middle" fill="#444">${text}</text>`,
    );
  }
  out.push(
    `<text x="${(x(p.least) + x(p.most)) / 2}" y="${HEIGHT - 10}" text-anchor="middle">${p.title}, ${p.unit}</text>`,
  );
  p.series.forEach((s, i) => {
    const sorted = [...s.values].sort((a, b) => a - b);
    const points = sorted.map((v, k) => `${x(v).toFixed(1)},${y((k + 1) / sorted.length).toFixed(1)}`);
    const path = [`${x(p.least)},${y(0)}`, ...points, `${x(p.most)},${y(1)}`].join(' ');
    out.push(
      `<polyline points="${path}" fill="none" stroke="${COLOURS[i]}" stroke-width="2.2" stroke-dasharray="${DASHES[i]}"/>`,
    );
  });
  return out;
}
