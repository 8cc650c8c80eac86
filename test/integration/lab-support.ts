/** Laboratories for the tests: with a name of this run, and removed at the end whatever happens. */

import { expect } from 'vitest';
import type { PathReport } from '../../gateway/race/paths.js';
import { askJson } from '../../src/lab/admin-client.js';
import { Lab, type LabOptions } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { type Measurement, type MeasureOptions, measure, requestMany } from '../../src/lab/requests.js';

/** The usual laboratory without the role of r3: each role takes a second of processor time at its start. */
export const TWO_REPLICAS = { topology: 'replica-nearest', idle: ['r3'] } as const;

let made = 0;

/** Whether the gateway has probed the path to each replica. */
export async function pathsAreKnown(lab: Lab): Promise<boolean> {
  const answer = await askJson<{ paths: PathReport[] }>(lab.roles.adminSocket('gateway'), '/v1/paths');
  return (
    answer!.paths.length === lab.topology.replicas.length && answer!.paths.every((p) => p.state !== 'unknown')
  );
}

/** `t`, this process and a number, so that two runs at the same time do not collide. */
export function freshName(): string {
  return `t${process.pid}-${made++}`;
}

export async function withLab<T>(options: Partial<LabOptions>, body: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await Lab.create({ name: freshName(), seed: 1, ...options });
  try {
    return await body(lab);
  } finally {
    await lab.down();
  }
}

/**
 * Makes requests until ten in a row were served by `replica`. On a shared machine a stall of 30 ms loses a race that
 * is certain otherwise; tests of what follows a race are not about that.
 */
export async function untilServedBy(lab: Lab, replica: string, concurrency = 4): Promise<void> {
  let seen: string[] = [];
  const isSettled = async () => {
    seen = (await requestMany(lab, 10, concurrency)).map((r) =>
      r.ok ? String(r.servedBy) : String(r.error),
    );
    return seen.every((s) => s === replica);
  };
  if (!(await waitUntil(isSettled, 10_000))) throw new Error(`not served by ${replica}: ${seen.join(', ')}`);
}

/**
 * No connection was left to the origin, and all but single ones were carried by the nearest: a stall of a machine that is
 * shared makes an answer late now and then.
 */
export function expectRaced(results: readonly { servedBy: string }[], nearest: string): void {
  expect(results.filter((r) => r.servedBy === 'origin')).toEqual([]);
  const others = results.filter((r) => r.servedBy !== nearest);
  expect(others.length).toBeLessThanOrEqual(Math.ceil(results.length / 50));
}

/**
 * Measures, up to three times: a stall of this machine loses a race now and then, a mistake loses them every time. No
 * request may have failed in any of the measurements.
 */
export async function measureQuietly(lab: Lab, options: MeasureOptions): Promise<Measurement> {
  let m = await measure(lab, options);
  for (let n = 1; n < 3 && m.complaints.length > 0 && m.ok === m.requests; n++)
    m = await measure(lab, options);
  return m;
}

/** That no request fails, and that a machine serves ten in a row. */
export async function nowServedBy(lab: Lab, replica: string): Promise<void> {
  const all = await requestMany(lab, 10, 5);
  expect(all.flatMap((r) => (r.ok ? [] : [r.error]))).toEqual([]);
  await untilServedBy(lab, replica, 5);
}

/** Requests, four at a time, from now until the end. */
export interface Load {
  count: number;
  /** The error of each request that failed. */
  failed: string[];
  end(): Promise<void>;
}

export function startLoad(lab: Lab): Load {
  let going = true;
  const load: Load = {
    ...{ count: 0, failed: [] },
    end: async () => {
      going = false;
      await running;
    },
  };
  const running = (async () => {
    while (going)
      for (const r of await requestMany(lab, 20, 4)) {
        load.count++;
        if (!r.ok) load.failed.push(r.error);
      }
  })();
  return load;
}
