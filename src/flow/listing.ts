/** A part of a flow table as rows for an operator, so that no packet waits for the whole of it. */
import type { Address } from '../wire/address.js';
import type { FlowEntry } from './numbers.js';
import { type FlowTable, TICK_US } from './table.js';

/** Entries that one question looks at: a few milliseconds. */
const SCANNED = 32_768;

export interface Part {
  /** The first entry to look at. */
  from: number;
  /** The most rows of the answer. */
  limit: number;
  /** Only flows of this client's address; undefined for all. */
  client?: Address;
}

export interface Listed<Row> {
  rows: Row[];
  /** Where the next question goes on; -1 at the end of the table. */
  next: number;
}

/** @param isWanted which of the part's flows are listed */
export function listPart<Row>(
  flows: FlowTable,
  q: Part,
  isWanted: (e: FlowEntry) => boolean,
  rowOf: (e: FlowEntry) => Row,
): Listed<Row> {
  const rows: Row[] = [];
  const to = Math.min(flows.capacity, q.from + SCANNED);
  let at = q.from;
  for (; at < to && rows.length < q.limit; at++) {
    const e = at as FlowEntry;
    if (flows.state[e] === 0 || q.client?.some((word, w) => flows.keyWord(e, w) !== word)) continue;
    if (isWanted(e)) rows.push(rowOf(e));
  }
  return { rows, next: at < flows.capacity ? at : -1 };
}

/** Asks for one part after the other until there are enough rows. */
export async function listAll<Row>(
  limit: number,
  part: (from: number, limit: number) => Promise<Listed<Row> | undefined>,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (let from = 0; from >= 0 && rows.length < limit; ) {
    const found = await part(from, limit - rows.length);
    rows.push(...(found?.rows ?? []));
    from = found?.next ?? -1;
  }
  return rows;
}

/** Time without a packet, ms, as far as it is known here: the kernel's flows are read every few seconds. */
export function idleMs(flows: FlowTable, idle: Int32Array, nowTick: number, e: FlowEntry): number {
  const left = (flows.expiresAt[e] - nowTick) | 0;
  return (Math.max(0, idle[flows.state[e]] - left) * TICK_US) / 1000;
}

const words = new Int32Array(4);

/** The client of a flow. */
export const clientIn = (flows: FlowTable, e: FlowEntry): { client: Address; clientPort: number } => {
  flows.clientOf(e, words);
  return { client: [...words] as unknown as Address, clientPort: flows.clientPortOf(e) };
};

/** The service of a flow. */
export const serviceIn = (flows: FlowTable, e: FlowEntry): { service: Address; servicePort: number } => {
  const servicePort = flows.serviceOf(e, words);
  return { service: [...words] as unknown as Address, servicePort };
};
