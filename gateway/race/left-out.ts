/** Services and machines beyond what a gateway can do: named, and said once. */
import type { Metric } from '../../src/admin/metrics.js';
import type { Logger } from '../../src/log.js';

/** The ids of the machines, or the names of the services. */
export interface LeftOut {
  /** Replicas that are up and not asked, because 31 others are nearer. */
  replicas: Set<string>;
  /** Machines whose endpoints exceed the limit. */
  machines: Set<string>;
  services: Set<string>;
  /** Replicas to which packets need a tag, and that share no key with this gateway, which has no key for all. */
  keyless: Set<string>;
}

export const nothingLeftOut = (): LeftOut => ({
  replicas: new Set(),
  machines: new Set(),
  services: new Set(),
  keyless: new Set(),
});

/** What is said of services and machines beyond a limit. */
export const LEFT_OUT: Record<keyof LeftOut, string> = {
  replicas: 'more replicas are up than the races of one service can name: the 31 nearest are asked',
  machines: 'more endpoints than a gateway can know (65536): connections to the others are not raced',
  services: 'more services than a gateway can know (4096): connections to the others are not raced',
  keyless:
    'replicas without an identity, or with an earlier version, read no tag that this gateway can make without a tag.keyFile: they are not asked',
};

/** A fleet of hundreds has them, and nothing is wrong. */
const EXPECTED: ReadonlySet<string> = new Set(['replicas']);

/** Why a machine is left out; undefined when it is not, or is only farther than others. */
export function whyLeftOut(leftOut: LeftOut, id: string): string | undefined {
  const machines = (Object.keys(LEFT_OUT) as (keyof LeftOut)[]).filter(
    (what) => what !== 'services' && !EXPECTED.has(what),
  );
  const what = machines.find((kind) => leftOut[kind].has(id));
  return what === undefined ? undefined : LEFT_OUT[what];
}

export const leftOutMetric = (leftOut: LeftOut): Metric => ({
  name: 'firstack_left_out',
  help: 'Services and machines beyond the limits of a gateway, by kind.',
  type: 'gauge',
  samples: Object.entries(leftOut).map(([what, ids]) => ({ labels: { what }, value: ids.size })),
});

/** Logs when a limit is first exceeded, and again when it is exceeded anew. */
export class LeftOutWatch {
  readonly #said = new Set<keyof LeftOut>();

  constructor(readonly log: Pick<Logger, 'info' | 'warn'>) {}

  say(leftOut: LeftOut): void {
    for (const [what, message] of Object.entries(LEFT_OUT) as [keyof LeftOut, string][]) {
      const ids = leftOut[what];
      if (ids.size === 0) this.#said.delete(what);
      if (ids.size === 0 || this.#said.has(what)) continue;
      this.#said.add(what);
      const level = EXPECTED.has(what) ? 'info' : 'warn';
      this.log[level]({ what, count: ids.size, first: [...ids].slice(0, 10) }, message);
    }
  }
}
