/**
 * `firstack bench compare`: the benches of two checkouts in turn, on one machine, and the ratio of each figure, this
 * checkout's over the other's. Both are built, and both are run by the node that runs this command.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { EXIT, FirstackError } from '../../errors.js';
import { generator } from '../../load/generator.js';
import { packageRoot } from '../paths.js';
import { bootstrap, type Interval } from './statistics.js';

export interface CompareOptions {
  /** The other checkout. */
  before: string;
  /** Benches, each with its arguments. */
  parts: string[];
  rounds: number;
  /** The least ratio that is no loss. */
  least: number;
  json: boolean;
}

/** What of a bench's figure is compared. */
interface Measured {
  id: string;
  mode?: string;
  value: number;
  /** `>= x` or `<= x`; others are no figure to compare. */
  target: string | number | null;
}

export interface Compared extends Interval {
  id: string;
  target: string;
  met: 'yes' | 'no' | 'unresolved';
  /** Medians of the two checkouts. */
  before: number;
  after: number;
  command: string;
}

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);

/** @returns 0 when no ratio is below the least for certain, else 1 */
export async function benchCompare(o: CompareOptions): Promise<number> {
  if (!existsSync(`${o.before}/dist/src/cli.js`))
    throw new FirstackError(
      'FSA_USAGE',
      `--before ${o.before}: there is no built checkout (npm run setup there)`,
    );
  const seed = Date.now() % 2 ** 31;
  const random = generator(seed);
  const command = `firstack bench compare --before DIR --parts '${o.parts.join(',')}' --rounds ${o.rounds}`;
  say(`${command}; which goes first by lot, seed ${seed}`);
  const out: Compared[] = [];
  for (const part of o.parts) {
    const pairs: { before: Measured[]; after: Measured[] }[] = [];
    for (let round = 1; round <= o.rounds; round++) {
      const beforeFirst = random() < 0.5;
      const first = await runBench(beforeFirst ? o.before : packageRoot, part);
      const second = await runBench(beforeFirst ? packageRoot : o.before, part);
      pairs.push(beforeFirst ? { before: first, after: second } : { before: second, after: first });
      say(`${part}: round ${round} of ${o.rounds}`);
    }
    out.push(...ratios(pairs, o.least, random, command));
  }
  process.stdout.write(o.json ? `${JSON.stringify(out, null, 2)}\n` : table(out));
  return out.every((f) => f.met !== 'no') ? EXIT.ok : EXIT.expectation;
}

/** Runs one bench of a checkout. A missed target of the bench itself is no failure here. */
function runBench(tree: string, part: string): Promise<Measured[]> {
  const argv = [`${tree}/dist/src/cli.js`, 'bench', ...part.split(' '), '--json'];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'], cwd: tree });
    let text = '';
    let errors = '';
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes;
    });
    child.stderr.on('data', (bytes: Buffer) => {
      errors += bytes;
    });
    child.once('error', reject);
    child.once('close', () => {
      try {
        resolve(JSON.parse(text) as Measured[]);
      } catch {
        const end = errors.trim().split('\n').slice(-3).join('; ');
        reject(new FirstackError('FSA_EXPECTATION', `bench ${part} of ${tree} printed no figures: ${end}`));
      }
    });
  });
}

const nameOf = (f: Measured): string =>
  f.mode === undefined || f.id.includes(f.mode) ? f.id : `${f.id}:${f.mode}`;

/** Round by round the ratio of a figure; above 1 this checkout is better. */
export function ratios(
  pairs: readonly { before: readonly Measured[]; after: readonly Measured[] }[],
  least: number,
  random: () => number,
  command: string,
): Compared[] {
  const names = [...new Set(pairs.flatMap((p) => p.after.map(nameOf)))];
  return names.flatMap((id) => {
    const both = pairs.flatMap((p) => {
      const [before, after] = [p.before, p.after].map((list) => list.find((f) => nameOf(f) === id));
      return before === undefined || after === undefined ? [] : [{ before, after }];
    });
    const kind = /^\s*(>=|<=)/.exec(String(both[0]?.after.target ?? ''))?.[1];
    const usable = both.filter(({ before, after }) => before.value > 0 && after.value > 0);
    if (kind === undefined || usable.length === 0) return [];
    const values = usable.map(({ before, after }) =>
      kind === '>=' ? after.value / before.value : before.value / after.value,
    );
    const interval = bootstrap(values, random);
    const met = interval.low >= least ? 'yes' : interval.high < least ? 'no' : 'unresolved';
    const middle = (of: (p: (typeof usable)[number]) => number): number =>
      bootstrap(usable.map(of), random).value;
    return [
      {
        id,
        ...round(interval),
        target: `>= ${least}`,
        met,
        before: Number(middle((p) => p.before.value).toPrecision(4)),
        after: Number(middle((p) => p.after.value).toPrecision(4)),
        command,
      } as const,
    ];
  });
}

const round = ({ value, low, high }: Interval): Interval => ({
  value: Number(value.toFixed(3)),
  low: Number(low.toFixed(3)),
  high: Number(high.toFixed(3)),
});

function table(figures: readonly Compared[]): string {
  const row = (f: Compared): string =>
    `${f.id.padEnd(34)} ${f.value.toFixed(3)} (${f.low.toFixed(3)} … ${f.high.toFixed(3)})  ${String(f.before).padStart(9)} → ${String(f.after).padStart(9)}  ${f.met}`;
  return `${figures.map(row).join('\n')}\n`;
}
