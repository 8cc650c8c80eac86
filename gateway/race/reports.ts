/** Reports of the gateway's races and of what it has learned, with names instead of numbers. */
import { PREFIX_BITS, readLearned } from '../../src/proximity/learned.js';
import { type RaceRecord, readRaces } from '../../src/race/record.js';
import type { Race } from '../../src/race/release.js';
import { formatV4 } from '../../src/wire/address.js';
import type { Fleet } from './fleet.js';
import type { GatewayMemory } from './state.js';

/** The latest `count` races, oldest first. */
export function raceReport(
  memory: GatewayMemory,
  count: number,
  fleet: Fleet,
  race: Race,
  viewAgeMs: number,
): RaceRecord[] {
  return readRaces(memory.races, count, {
    candidate: (slot, conn) => fleet.candidates.idOf(slot, conn),
    service: (n, conn) => fleet.service(n, conn),
    race,
    viewAgeMs: Math.round(viewAgeMs),
    jitterUs: (service, client, a, b) => jitterUs(memory.learned, service, client, a, b),
  });
}

/** The measured jitter of the difference between two candidates, as the data plane learned it. */
function jitterUs(
  learned: Float64Array,
  service: number,
  client: number,
  a: number,
  b: number,
): number | null {
  const prefix = client & (-1 << (32 - PREFIX_BITS));
  const entry = readLearned(learned).find((e) => e.service === service && e.prefix === prefix);
  const variation = (c: number): number | undefined =>
    entry?.candidates.find((x) => x.candidate === c && x.samples > 1)?.variationUs;
  const [va, vb] = [variation(a), variation(b)];
  return va === undefined || vb === undefined ? null : Math.round(Math.hypot(va, vb));
}

/** Which candidates win for which clients. */
export function proximityReport(learned: Float64Array, fleet: Fleet): unknown[] {
  return readLearned(learned).map((e) => ({
    service: fleet.service(e.service)?.name ?? '',
    prefix: `${formatV4(e.prefix)}/${PREFIX_BITS}`,
    candidates: e.candidates.map((c) => ({
      id: fleet.candidates.idOf(c.candidate),
      rttMs: c.rttUs / 1000,
      variationMs: c.variationUs / 1000,
      samples: c.samples,
      wins: c.wins,
    })),
  }));
}
