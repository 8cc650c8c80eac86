/** Reports of the gateway's races and of what it has learned, with names instead of numbers. */

import { listAll } from '../../src/flow/listing.js';
import type { MachineNumber } from '../../src/flow/numbers.js';
import { ORIGIN_ID, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { learnedSize, readLearned } from '../../src/proximity/learned-table.js';
import { type RaceRecord, readRaces } from '../../src/race/record-read.js';
import type { Race } from '../../src/race/release.js';
import { type Address, contains, formatEndpoint, formatPrefix, parse } from '../../src/wire/address.js';
import type { Fleet } from './fleet.js';
import type { FlowAnswer, FlowQuestion } from './list-flows.js';
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
    candidate: (n, slot, conn) => fleet.candidateId(n, slot, conn),
    machine: (number, conn) => fleet.machines.idOf(number, conn),
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
  client: Address,
  a: number,
  b: number,
): number | null {
  const entry = readLearned(learned).find((e) => e.service === service && contains(e.prefix, client));
  const variation = (c: number): number | undefined =>
    entry?.candidates.find((x) => x.candidate === c && x.samples > 1)?.variationUs;
  const [va, vb] = [variation(a), variation(b)];
  return va === undefined || vb === undefined ? null : Math.round(Math.hypot(va, vb));
}

export interface ProximityFilter {
  /** A service's name. */
  service?: string;
  /** A client's address: only the prefix that contains it. */
  client?: string;
  /** The most machines of each prefix, the nearest first, and the most prefixes. */
  top: number;
  limit: number;
}

/** What `/v1/proximity` takes: {@link ProximityFilter}. */
export const PROXIMITY_QUERY = {
  service: { type: 'string', minLength: 1 },
  client: { type: 'string', format: 'ip' },
  top: { type: 'integer', minimum: 1, maximum: 32, default: 32 },
  limit: { type: 'integer', minimum: 1, maximum: 10_000, default: 1000 },
};

/** Which machines are near which clients, and win: the prefixes that were used last come first. */
export function proximityReport(
  learned: Float64Array,
  fleet: Fleet,
  { service, client, top, limit }: ProximityFilter,
): { proximity: unknown[]; prefixes: number; room: number; bytes: number } {
  const nowUs = Number(process.hrtime.bigint() / 1000n);
  const address = client === undefined ? undefined : parse(client);
  const { entries, room } = learnedSize(learned);
  const all = readLearned(learned)
    .map((e) => ({ ...e, name: fleet.service(e.service)?.name ?? '' }))
    .filter((e) => service === undefined || e.name === service)
    .filter((e) => address == null || contains(e.prefix, address))
    .sort((a, b) => b.usedUs - a.usedUs)
    .slice(0, limit);
  return {
    proximity: all.map((e) => ({
      service: e.name,
      prefix: formatPrefix(e.prefix),
      usedMs: Math.max(0, Math.round((nowUs - e.usedUs) / 1000)),
      racedMs: e.racedUs === 0 ? null : Math.max(0, Math.round((nowUs - e.racedUs) / 1000)),
      known: e.candidates.length,
      candidates: [...e.candidates]
        .sort((a, b) => a.rttUs - b.rttUs)
        .slice(0, top)
        .map((c) => ({
          id: fleet.candidateId(e.service, c.candidate),
          rttMs: c.rttUs / 1000,
          variationMs: c.variationUs / 1000,
          samples: c.samples,
          wins: c.wins,
        })),
    })),
    ...{ prefixes: entries, room, bytes: learned.byteLength },
  };
}

export interface FlowFilter {
  /** The most flows of the answer. */
  limit: number;
  /** A client's address. */
  client?: string;
  /** A machine's id. */
  machine?: string;
}

/** What `/v1/flows` takes: {@link FlowFilter}. */
export const FLOW_QUERY = {
  limit: { type: 'integer', minimum: 1, maximum: 10_000, default: 100 },
  client: { type: 'string', format: 'ip' },
  machine: { type: 'string', minLength: 1 },
};

/**
 * The gateway's flows, with names instead of numbers.
 * @param ask asks the data plane for a part of the table
 */
export async function flowReport(
  ask: (q: FlowQuestion) => Promise<unknown>,
  { limit, client, machine }: FlowFilter,
  fleet: Fleet,
): Promise<Record<string, unknown>[]> {
  const address = client === undefined ? undefined : parse(client);
  const number = machine === undefined ? undefined : numberOf(fleet, machine);
  // A machine that this gateway has never known carries nothing.
  if (machine !== undefined && number === undefined) return [];
  const rows = await listAll(limit, async (from, most) => {
    const q: FlowQuestion = { from, limit: most, client: address, machine: number };
    return (await ask(q)) as FlowAnswer;
  });
  return rows.map(({ client: c, clientPort, service, machine: m, ...rest }) => ({
    client: formatEndpoint(c, clientPort),
    service: service < 0 ? null : (fleet.service(service)?.name ?? null),
    machine: m < 0 ? null : fleet.machines.idOf(m),
    ...rest,
  }));
}

const numberOf = (fleet: Fleet, id: string): MachineNumber | undefined =>
  id === ORIGIN_ID ? ORIGIN_MACHINE : fleet.machines.find(id);
