/** `firstack bench routing`: the figures of service-level routing. */
import { writeFileSync } from 'node:fs';
import { FirstackError } from '../../errors.js';
import { playChurn } from './churn.js';
import type { RoutingFigure } from './figure.js';
import { playRoutedFlood } from './flood.js';
import { playFromNothing } from './from-nothing.js';
import { playHello } from './hello.js';
import { playLoadAware } from './load-aware.js';
import { playMtu } from './mtu.js';
import { playOnePacket } from './one-packet.js';
import { playPolicy } from './policy.js';
import { playShares } from './shares.js';
import { playSpare } from './spare.js';
import { playRoutedSpeed } from './speed.js';

export interface RoutingBenchOptions {
  /** Ids, joined by comma. */
  only?: string;
  json: boolean;
  markdown?: string;
}

const PLAYS: Record<string, () => Promise<RoutingFigure[]>> = {
  'one-packet': () => playOnePacket(),
  'routed/plain': () => playRoutedSpeed(),
  churn: () => playChurn(),
  spare: () => playSpare(),
  'from-nothing': () => playFromNothing(),
  flood: () => playRoutedFlood(),
  'load-aware': () => playLoadAware(),
  shares: () => playShares(),
  hello: () => playHello(),
  policy: () => playPolicy(),
  mtu: () => playMtu(),
};

/** @returns the exit code: 1 when a target was not met */
export async function benchRouting(o: RoutingBenchOptions): Promise<number> {
  const wanted = o.only?.split(',') ?? Object.keys(PLAYS);
  const unknown = wanted.find((id) => PLAYS[id] === undefined);
  if (unknown !== undefined)
    throw new FirstackError('FSA_USAGE', `--only ${unknown}: there are ${Object.keys(PLAYS).join(', ')}`);
  const figures: RoutingFigure[] = [];
  if (!o.json) process.stdout.write(HEAD);
  for (const id of wanted) {
    const made = await PLAYS[id]();
    figures.push(...made);
    if (!o.json) process.stdout.write(made.map(rowOf).join(''));
  }
  if (o.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  if (o.markdown !== undefined) writeFileSync(o.markdown, pageOf(figures));
  return figures.every((f) => f.met === 'yes') ? 0 : 1;
}

const HEAD = `met ${'id'.padEnd(28)}${'figure'.padStart(9)}  ${'target'.padEnd(10)}what\n`;
const peersOf = (f: RoutingFigure): string =>
  Object.entries(f.peers)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
const rowOf = (f: RoutingFigure): string => {
  const peers = peersOf(f);
  return `${f.met.padEnd(4)}${f.id.padEnd(28)}${String(f.value).padStart(9)}  ${f.target.padEnd(10)}${f.what}${peers === '' ? '' : `; beside it: ${peers}`}\n`;
};

function pageOf(figures: readonly RoutingFigure[]): string {
  const rows = figures.map(
    (f) =>
      `| \`${f.id}\` | ${f.value} | ${f.target.replace('>=', '≥').replace('<=', '≤')} | ${f.met} | ${peersOf(f)} | ${f.what} |`,
  );
  return `# Service-level routing

\`\`\`sh
npm run -s firstack -- bench routing --markdown deploy/measured/routing.md
\`\`\`

Root, and two processors that do nothing else: client, routers, servers and the emulated line share them.

| figure | value | target | met | beside it | what |
| --- | ---: | --- | --- | --- | --- |
${rows.join('\n')}
`;
}
