/** Metric families of what each machine does, summed over the ports of a service. */
import type { Distribution, Metric, Sample } from '../../src/admin/metrics.js';
import type { CandidateNumber } from '../../src/flow/numbers.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import { BOUNDS_US, evidence, rowOf, SHOWN } from './evidence.js';

/** A machine of a service's port. */
export interface Measured {
  service: string;
  id: string;
  /** The numbers of the service and of the machine. */
  n: number;
  c: CandidateNumber;
  isEjected: boolean;
}

const BOUNDS = BOUNDS_US.map((us) => us / 1e6);

/** Sums of samples with the same labels. */
class Sums {
  readonly #samples = new Map<string, Sample>();
  add(labels: Record<string, string>, value: number): void {
    const key = JSON.stringify(labels);
    this.#samples.set(key, { labels, value: (this.#samples.get(key)?.value ?? 0) + value });
  }
  get samples(): Sample[] {
    return [...this.#samples.values()];
  }
}

/** Sums of histograms with the same labels, of times in µs; the result is in seconds. */
class Times {
  readonly #samples = new Map<string, Distribution & { counts: number[] }>();
  add(labels: Record<string, string>, counts: Float64Array, sumUs: number): void {
    const key = JSON.stringify(labels);
    const before = this.#samples.get(key);
    this.#samples.set(key, {
      ...{ labels, bounds: BOUNDS },
      counts: [...counts].map((count, i) => count + (before?.counts[i] ?? 0)),
      sum: (before?.sum ?? 0) + sumUs / 1e6,
    });
  }
  get samples(): Distribution[] {
    return [...this.#samples.values()];
  }
}

export function machineMetrics(machines: readonly Measured[], table: Float64Array): Metric[] {
  const [happened, ejected] = [new Sums(), new Sums()];
  const [replies, firstBytes] = [new Times(), new Times()];
  const buckets = (at: number): Float64Array => table.subarray(at, at + BOUNDS.length + 1);
  for (const { service, id: machine, n, c, isEjected } of machines) {
    const row = rowOf(n, c);
    // A gateway may know very many machines that no client of its own has used.
    if (SHOWN.every((what) => table[row + evidence[what]] === 0)) continue;
    for (const what of SHOWN) happened.add({ service, machine, what }, table[row + evidence[what]]);
    if (c !== ORIGIN) ejected.add({ service, machine }, isEjected ? 1 : 0);
    replies.add({ service, machine }, buckets(row + evidence.replies), table[row + evidence.replySumUs]);
    firstBytes.add({ service, machine }, buckets(row + evidence.firstByteTimes), table[row + evidence.sumUs]);
  }
  return [
    {
      name: 'firstack_machine_total',
      help: 'Connections by machine and by what happened: asked, answered, refused, won, requested, firstBytes, noFirstByte, reset, trials.',
      type: 'counter',
      samples: happened.samples,
    },
    {
      name: 'firstack_machine_ejected',
      help: 'On how many ports of the service the machine is not raced, because it fails or serves slowly.',
      type: 'gauge',
      samples: ejected.samples,
    },
    {
      name: 'firstack_machine_reply_seconds',
      help: "Time from a connection's SYN to the machine's acknowledgement, winner or not, as far as it was measured.",
      type: 'histogram',
      samples: replies.samples,
    },
    {
      name: 'firstack_machine_first_byte_seconds',
      help: "Time from a connection's first request to the machine's first data.",
      type: 'histogram',
      samples: firstBytes.samples,
    },
  ];
}
