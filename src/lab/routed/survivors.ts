/** Connections from a laboratory's client to which something happens (`survivors-main.ts`). */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { survivorsScript } from '../paths.js';
import type { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';
import type { Kind, Order, Outcome } from './survivors-main.js';

export type Outcomes = Record<Kind, Outcome>;

export class Survivors {
  readonly #child: ChildProcess;
  readonly #waiting: ((text: string) => void)[] = [];

  /** @param to the virtual host */
  constructor(lab: RoutedLab, to = VIRTUAL) {
    this.#child = lab.spawnIn('client', [process.execPath, survivorsScript, to, '80'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.#waiting.shift()?.(line));
  }

  #order(order: Order): Promise<string> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#child.stdin!.write(`${JSON.stringify(order)}\n`);
    });
  }

  async open(count: number, kind: Kind): Promise<void> {
    await this.#order({ do: 'open', count, kind });
  }
  /** Returns once the SYNs are sent. */
  async young(count: number): Promise<void> {
    await this.#order({ do: 'young', count });
  }
  async end(): Promise<Outcomes> {
    const outcomes = JSON.parse(await this.#order({ do: 'end' })) as Outcomes;
    this.#child.stdin!.end();
    this.#child.kill('SIGTERM');
    return outcomes;
  }
}

/** The outcomes of all kinds together; percentiles are those of the worst kind. */
export function together(o: Outcomes): Outcome {
  const all = Object.values(o);
  const sum = (of: (x: Outcome) => number): number => all.reduce((n, x) => n + of(x), 0);
  const most = (of: (x: Outcome) => number): number => Math.max(...all.map(of));
  return {
    connections: sum((x) => x.connections),
    broken: sum((x) => x.broken),
    reset: sum((x) => x.reset),
    split: sum((x) => x.split),
    p50: most((x) => x.p50),
    p99: most((x) => x.p99),
    max: most((x) => x.max),
  };
}

export const shown = (o: Outcomes): string =>
  (Object.entries(o) as [Kind, Outcome][])
    .filter(([, x]) => x.connections > 0)
    .map(
      ([kind, x]) =>
        `${x.connections} ${kind}: ${x.broken} broken, ${x.reset} reset, p99 ${x.p99} ms, longest ${x.max} ms`,
    )
    .join('; ');
