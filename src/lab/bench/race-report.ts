/** The results of the bench of races, as a page. */
import type { Figure } from './scenarios.js';

const MODES = ['origin/immediate', 'origin/synchronized', 'gateway', 'learned'];

/** @param svg the plot's file, in the page's directory */
export function raceReport(figures: readonly Figure[], svg: string): string {
  const value = (id: string, mode: string): number | undefined => {
    const found = figures.find((f) => f.id === id && f.mode === mode)?.value;
    return typeof found === 'number' ? found : undefined;
  };
  const cell = (n: number | undefined, digits: number, unit = ''): string =>
    n === undefined ? '' : `${n.toFixed(digits)}${unit}`;
  const percent = (n: number | undefined): string => cell(n === undefined ? n : n * 100, 1, ' %');
  const nearest = (mode: string): string =>
    value('nearest', mode) !== undefined
      ? percent(value('nearest', mode))
      : `${percent(value('nearest', `${mode} symmetric`))} symmetric, ${percent(value('nearest', `${mode} asymmetric`))} asymmetric`;
  const rows = MODES.map((m) => [
    m,
    nearest(m),
    cell(value('connect/rtt', m), 2),
    cell(value('connect/origin', m), 2),
    cell(value('regret/mean', m), 1, ' ms'),
    cell(value('regret/p99', m), 1, ' ms'),
    cell(value('failed', m), 0),
  ]);
  const reached = figures
    .filter((f) => f.met !== 'reported' || f.id === 'nearest-dies')
    .map((f) => [f.id, f.mode, shown(f.value), f.target, f.met]);
  const command = figures[0].command.replace('firstack bench', 'firstack -- bench').replace(' --json', '');
  return `# The races, measured

Random topologies of five replicas from a printed seed. In every second one paths differ by direction and violate the
triangle inequality; every path has jitter up to 2 ms. Real TCP connections in the laboratory. The reference is a
direct connection to each machine over the same emulated paths, to a port that is never raced. Made by

\`\`\`sh
npm run -s ${command} --svg deploy/measured/${svg} --markdown deploy/measured/race.md
\`\`\`

![share of connections by regret and by connect time, per mode](${svg})

${table(['mode', 'nearest chosen', 'connect / nearest round trip (median)', 'connect / plain connection to the origin', 'regret, mean', 'regret, p99', 'failed'], rows)}
*Nearest* is by the distance that the mode can measure: for an origin race the least delay back to the client, among
topologies whose two nearest are at least 5 ms apart; for the gateway's own races the least round trip, at least
3 ms apart. Regret is the winner's round-trip time above the least round-trip time. *connect / plain* is the quotient
of the means, as a mean client sees it.

The published race (immediate) misses the nearest machine most of the time, and takes as long as a plain connection
to the origin, because its copies go through the origin, whose own answer has a head start. This is why the other
modes exist.

${table(['figure', 'mode', 'value', 'target', 'met'], reached)}`;
}

const shown = (v: number | string): string => (typeof v === 'number' ? String(Number(v.toFixed(4))) : v);

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |\n`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('');
}
