/** A picture of a fleet as one gateway sees it: every machine by its round trip, and which of them win. Pure. */

export interface Placed {
  id: string;
  rttMs: number;
  /** Connections that it has won. */
  wins: number;
}

const WIDTH = 900;
const LEFT = 60;
const RIGHT = 20;
const TOP = 50;
const HEIGHT = 340;
const AXIS = 40;
/** Machines whose names are written: those that win most. */
const NAMED = 8;
const BLUE = '#1f6fb4';
const GREY = '#9a9a9a';

const inXml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** Machines from the nearest to the farthest along the axis; the height and the area of a mark show the share of wins. */
export function drawing(title: string, machines: readonly Placed[]): string {
  const order = [...machines].sort((a, b) => a.rttMs - b.rttMs);
  const total = order.reduce((sum, m) => sum + m.wins, 0);
  const most = Math.max(10, ...order.map((m) => m.rttMs));
  // A logarithmic axis: near machines are told apart, and far ones fit.
  const x = (ms: number): number =>
    LEFT + ((WIDTH - LEFT - RIGHT) * Math.log10(1 + Math.max(0, ms))) / Math.log10(1 + most);
  const share = (m: Placed): number => (total === 0 ? 0 : m.wins / total);
  const floor = TOP + HEIGHT;
  const y = (m: Placed): number => floor - HEIGHT * share(m);
  const ticks = [0, 1, 3, 10, 30, 100, 300, 1000].filter((t) => t <= most);
  const named = new Set(
    [...order]
      .sort((a, b) => b.wins - a.wins)
      .slice(0, NAMED)
      .filter((m) => m.wins > 0),
  );
  const text = (at: number, up: number, words: string, more = ''): string =>
    `<text x="${at.toFixed(1)}" y="${up.toFixed(1)}" ${more}>${inXml(words)}</text>`;
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${floor + AXIS + 20}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    text(
      LEFT,
      22,
      `${title}: ${order.length} machines by round trip, ${total} connections`,
      'font-size="15"',
    ),
    `<line x1="${LEFT}" y1="${floor}" x2="${WIDTH - RIGHT}" y2="${floor}" stroke="black"/>`,
    ...ticks.map((t) =>
      [
        `<line x1="${x(t).toFixed(1)}" y1="${floor}" x2="${x(t).toFixed(1)}" y2="${floor + 5}" stroke="black"/>`,
        text(x(t), floor + 19, String(t), 'text-anchor="middle"'),
      ].join(''),
    ),
    text((LEFT + WIDTH - RIGHT) / 2, floor + AXIS, 'round trip, ms', 'text-anchor="middle"'),
    ...[0, 0.5, 1].map((s) => text(LEFT - 8, floor - HEIGHT * s + 4, `${100 * s} %`, 'text-anchor="end"')),
    text(LEFT, TOP - 12, 'share of connections', `fill="${BLUE}"`),
    ...order.map((m) => {
      const [at, up] = [x(m.rttMs).toFixed(1), y(m).toFixed(1)];
      if (m.wins === 0) return `<circle cx="${at}" cy="${up}" r="2.5" fill="${GREY}" fill-opacity="0.5"/>`;
      return `<line x1="${at}" y1="${floor}" x2="${at}" y2="${up}" stroke="${BLUE}"/><circle cx="${at}" cy="${up}" r="${(3 + 6 * Math.sqrt(share(m))).toFixed(1)}" fill="${BLUE}"/>`;
    }),
    ...[...named].map((m) => text(x(m.rttMs) + 8, y(m) - 8, m.id)),
    '</svg>',
  ];
  return `${lines.join('\n')}\n`;
}
