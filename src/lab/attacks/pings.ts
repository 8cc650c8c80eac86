/** Round trips to two machines at the same moments, as a gateway's kernel sees them: what their paths do during a flood. */
import { createInterface } from 'node:readline';
import type { Lab } from '../lab.js';
import { wanAddress } from '../network.js';

const EVERY_S = 0.05;

export interface Compared {
  /** Pings that both machines answered. */
  count: number;
  /** By machine: the middle and the 95th percentile, ms. */
  times: Record<string, { p50: number; p95: number }>;
  /** Pings to which the first machine answered later than the second one. */
  later: number;
}

/** @returns a function that ends the pings */
export function startPings(lab: Lab, first: string, second: string): () => Compared {
  const children = [first, second].map((host) => {
    const times = new Map<number, number>();
    const argv = ['ping', '-n', '-i', String(EVERY_S), wanAddress(host)];
    const child = lab.spawnIn('gateway', argv, { stdio: ['ignore', 'pipe', 'ignore'] });
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const match = /icmp_seq=(\d+) .*time=([\d.]+) ms/.exec(line);
      if (match !== null) times.set(Number(match[1]), Number(match[2]));
    });
    return { child, times };
  });
  return () => {
    for (const { child } of children) child.kill('SIGINT');
    return compare(first, second, children[0].times, children[1].times);
  };
}

/** @param a times by number of the ping, as `b` */
export function compare(
  first: string,
  second: string,
  a: ReadonlyMap<number, number>,
  b: ReadonlyMap<number, number>,
): Compared {
  const both = [...a.keys()].filter((n) => b.has(n));
  const quantiles = (times: number[]): { p50: number; p95: number } => {
    const sorted = times.sort((x, y) => x - y);
    const at = (q: number): number => sorted[Math.floor(q * (sorted.length - 1))] ?? Number.NaN;
    return { p50: at(0.5), p95: at(0.95) };
  };
  return {
    count: both.length,
    times: { [first]: quantiles([...a.values()]), [second]: quantiles([...b.values()]) },
    later: both.filter((n) => a.get(n)! > b.get(n)!).length,
  };
}

export const saying = ({ count, times, later }: Compared): string => {
  const each = Object.entries(times).map(([host, { p50, p95 }]) => `${host} ${p50}, 95 % within ${p95}`);
  const [first] = Object.keys(times);
  return `pings meanwhile, ms: ${each.join('; ')}; ${first} was the later in ${later} of ${count}`;
};
