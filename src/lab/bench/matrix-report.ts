/** The results of `firstack bench race --matrix`, as a page, and its curve. */
import type { Figure } from './scenarios.js';

/** The lines of the curve: mean time to connect, by number of machines. */
export const CURVES = ['published race (model)', 'learned', 'oracle', 'plain'] as const;
export type CurvePoint = { machines: number } & Record<(typeof CURVES)[number], number>;

const WIDTH = 640;
const HEIGHT = 360;
const MARGIN = { left: 60, right: 24, top: 46, bottom: 84 };
const COLOURS = ['#b3261e', '#14804a', '#1a6fb0', '#555555'];
/** Where the names begin under the plot. */
const LEGEND = [0, 190, 310, 420];
const DASHES = ['7 4', '', '2 3', '10 3 2 3'];

/** Mean connect time by number of replicas; the axis of replicas is logarithmic. */
export function curveDrawing(curve: readonly CurvePoint[]): string {
  const sizes = curve.map((p) => p.machines);
  const most = Math.max(1, ...curve.flatMap((p) => CURVES.map((c) => p[c])));
  const top = Math.ceil(most / 50) * 50;
  const [low, high] = [Math.log(Math.min(...sizes)), Math.log(Math.max(...sizes))];
  const share = (n: number): number => (high === low ? 0.5 : (Math.log(n) - low) / (high - low));
  const x = (n: number): string =>
    (MARGIN.left + 20 + share(n) * (WIDTH - MARGIN.left - MARGIN.right - 40)).toFixed(1);
  const y = (ms: number): string =>
    (HEIGHT - MARGIN.bottom - (ms / top) * (HEIGHT - MARGIN.top - MARGIN.bottom)).toFixed(1);
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    '<title>Connect time by number of replicas</title>',
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${MARGIN.left}" y="22" font-size="14" font-weight="bold">Mean time to connect, ms, by number of replicas</text>`,
  ];
  for (let k = 0; k <= 5; k++) {
    const ms = (top * k) / 5;
    lines.push(
      `<line x1="${MARGIN.left}" y1="${y(ms)}" x2="${WIDTH - MARGIN.right}" y2="${y(ms)}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 8}" y="${Number(y(ms)) + 4}" text-anchor="end" fill="#444">${ms}</text>`,
    );
  }
  for (const n of sizes)
    lines.push(
      `<text x="${x(n)}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle" fill="#444">${n}</text>`,
    );
  lines.push(
    `<text x="${WIDTH / 2}" y="${HEIGHT - MARGIN.bottom + 36}" text-anchor="middle">replicas of the service</text>`,
  );
  CURVES.forEach((name, i) => {
    const style = `fill="none" stroke="${COLOURS[i]}" stroke-width="2.2" stroke-dasharray="${DASHES[i]}"`;
    lines.push(
      `<polyline points="${curve.map((p) => `${x(p.machines)},${y(p[name])}`).join(' ')}" ${style}/>`,
    );
    for (const p of curve)
      lines.push(`<circle cx="${x(p.machines)}" cy="${y(p[name])}" r="3" fill="${COLOURS[i]}"/>`);
    const left = MARGIN.left + LEGEND[i];
    lines.push(
      `<line x1="${left}" y1="${HEIGHT - 18}" x2="${left + 24}" y2="${HEIGHT - 18}" ${style}/>`,
      `<text x="${left + 30}" y="${HEIGHT - 14}">${name}</text>`,
    );
  });
  lines.push('</svg>');
  return `${lines.join('\n')}\n`;
}

/** @param svg the plot's file, in the page's directory */
export function matrixReport(figures: readonly Figure[], curve: readonly CurvePoint[], svg: string): string {
  const command = (figures[0]?.command ?? 'firstack bench race --matrix FILE')
    .replace('firstack bench', 'firstack -- bench')
    .replace(/--matrix \S*\//, '--matrix ')
    .replace(/ --only \S+ --json/, '');
  const rows = figures
    .filter((f) => f.id !== 'curve')
    .map((f) => [f.id, f.mode, shown(f.value), f.target, f.met]);
  const points = curve.map((p) => [String(p.machines), ...CURVES.map((c) => p[c].toFixed(1))]);
  return `# The race among hundreds, measured

Gateway, origin and replicas are drawn from a matrix of measured round trips by a seed. The replicas are a farm of the
laboratory: one host with an address for each, real nginx, real TCP connections, and the delays of each address.
Made by

\`\`\`sh
npm run -s ${command} --svg ${svg} --markdown FILE
\`\`\`

![mean time to connect by number of replicas](${svg})

${table(['replicas', ...CURVES.map((c) => `${c}, ms`)], points)}
*oracle*: a direct connection to the nearest machine, to a port that is never raced. *plain*: the same to the origin.
*published race*: computed from the paths, because the farm's machines run no replica role.

${table(['figure', 'mode', 'value', 'target', 'met'], rows)}
*Near*: the machine that served is within 3 ms of the nearest machine's round trip. *syns*: SYNs of clients that reached
a web server's host, by the kernel's own count, for each connection. *connect/rtt*: the time to connect over that of the
oracle, median. *shift*: 20 ms more on the nearest machine's path at 100 connections a second; the time until 95 % of the
connections of 200 ms avoid it. *spike*: connections to another machine than the nearest among the next 240, after one
SYN-ACK that is 150 ms late, after one lost SYN, and during 2 s of 200 ms more on the gateway's own line.

*churn*: 500 identities come in waves of 25 in the life of one gateway. Each leaves once it has served a connection; every
fifth has one that is held over its end. *Leaked* is what the gateway holds more than before the first wave, once ended
flows have left its table, which they do after four minutes (RFC 5382): endpoints, elements of its nftables sets, entries of
the kernel's map of endpoints, and replicas left out. The paths of this figure are made up: 10 to 58 ms to a wave's machines.

*ten-thousand*: one gateway, 100 services, 100 machines each. Real are the gateway's process with its whole control and data
plane, nginx on each machine's address, the delays of each, answers to probes, and in the registry a record of each machine
with a heartbeat a second; each second one record of a hundred changes its load, and one of a thousand its state. Simulated:
one process writes all records and answers all probes; machines of different services may be at one host of the matrix; the
origin's role ends when it has published the services. *Processor* is the time of the gateway's process, by the kernel, in
40 s after the first probes; *near*: four connections to each service.
`;
}

const shown = (v: number | string): string => (typeof v === 'number' ? String(Number(v.toFixed(4))) : v);

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |\n`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('');
}
