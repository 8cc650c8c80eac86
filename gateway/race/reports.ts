/** Reports of the gateway's races and of what it has learned, with names instead of numbers. */
import type { MachineNumber } from '../../src/flow/numbers.js';
import { ORIGIN_ID, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { readLearned } from '../../src/proximity/learned-table.js';
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

/** Which candidates win for which clients. */
export function proximityReport(learned: Float64Array, fleet: Fleet): unknown[] {
  return readLearned(learned).map((e) => ({
    service: fleet.service(e.service)?.name ?? '',
    prefix: formatPrefix(e.prefix),
    candidates: e.candidates.map((c) => ({
      id: fleet.candidateId(e.service, c.candidate),
      rttMs: c.rttUs / 1000,
      variationMs: c.variationUs / 1000,
      samples: c.samples,
      wins: c.wins,
    })),
  }));
}

export interface FlowFilter {
  /** The most flows of the answer. */
  limit: number;
  /** A client's address. */
  client?: string;
  /** A machine's id. */
  machine?: string;
}

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
  const out: Record<string, unknown>[] = [];
  for (let from = 0; from >= 0 && out.length < limit; ) {
    const q = { from, limit: limit - out.length, client: address, machine: number };
    const { rows, next } = (await ask(q)) as FlowAnswer;
    for (const { client: c, clientPort, service, machine: m, ...rest } of rows)
      out.push({
        client: formatEndpoint(c, clientPort),
        service: service < 0 ? null : (fleet.service(service)?.name ?? null),
        machine: m < 0 ? null : fleet.machines.idOf(m),
        ...rest,
      });
    from = next;
  }
  return out;
}

const numberOf = (fleet: Fleet, id: string): MachineNumber | undefined =>
  id === ORIGIN_ID ? ORIGIN_MACHINE : fleet.machines.find(id);
