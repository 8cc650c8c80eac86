/**
 * Tells a machine that has become farther from a line on which everything is late: an answer that comes later than was
 * expected is believed only where another machine's answer to the same race was much less late. When all are late alike,
 * it is this gateway's own access, or its clients', and no machine loses by it.
 */
import type { CandidateNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { lowest } from '../../src/proximity/candidates.js';
import type { GatewayState } from './state.js';

/**
 * Takes over a measured round trip.
 * @param client the client's address is in four words from `at` on
 * @param tookUs whole µs; -1 where it cannot be measured, because the client repeated its SYN
 */
export function measured(
  state: GatewayState,
  e: FlowEntry,
  service: ServiceNumber,
  client: Int32Array,
  at: number,
  candidate: CandidateNumber,
  tookUs: number,
): void {
  // It was a candidate when it was asked, and is none any more.
  if (candidate < 0) return;
  const { learned, races } = state;
  const record = state.flows.record[e];
  const entry = learned.entry(service, client, at);
  judgeSilent(state, record, service, client, at, candidate);
  if (tookUs < 0) return;
  const lateUs = learned.lateUs(entry, candidate, tookUs);
  if (learned.isInTime(entry, candidate, tookUs)) learned.note(entry, candidate, tookUs);
  else if (isFarther(lateUs, races.leastLateUs(record)) || learned.isLateForLong(entry))
    learned.note(entry, candidate, tookUs);
  if (lateUs >= 0) judgeAnswered(state, record, entry, service, client, at, candidate, lateUs);
}

/** Whether an answer is so much later than the least late one of its race that the machine must be farther. */
const isFarther = (lateUs: number, leastUs: number): boolean => leastUs >= 0 && 2 * leastUs < lateUs;

/** A machine has answered that was asked after others: those that are still silent are late, whatever the line does. */
function judgeSilent(
  state: GatewayState,
  record: number,
  service: ServiceNumber,
  client: Int32Array,
  at: number,
  candidate: CandidateNumber,
): void {
  const { learned, races } = state;
  const others = races.asking(record) & ~(1 << candidate);
  if (others === 0) return;
  const entry = learned.entry(service, client, at);
  const sinceUs = races.sinceAskedUs(record, candidate);
  for (let left = others; left !== 0; left &= left - 1) {
    const other = lowest(left) as CandidateNumber;
    const otherUs = races.sinceAskedUs(record, other);
    if (otherUs <= sinceUs || races.hasReplied(record, other)) continue;
    if (otherUs > learned.hedgeUs(entry, other)) state.late(service, client, at, other);
  }
}

/** A machine was less late than any before: the times of those that were much later are believed after all. */
function judgeAnswered(
  state: GatewayState,
  record: number,
  entry: number,
  service: ServiceNumber,
  client: Int32Array,
  at: number,
  candidate: CandidateNumber,
  lateUs: number,
): void {
  const { learned, races } = state;
  const leastUs = races.leastLateUs(record);
  if (leastUs >= 0 && leastUs <= lateUs) return;
  races.lateBy(record, lateUs);
  const sinceUs = races.sinceAskedUs(record, candidate);
  for (let left = races.asking(record) & ~(1 << candidate); left !== 0; left &= left - 1) {
    const other = lowest(left) as CandidateNumber;
    const tookUs = races.tookUs(record, other);
    if (tookUs < 0 || learned.isInTime(entry, other, tookUs)) continue;
    const othersUs = learned.lateUs(entry, other, tookUs);
    if (!isFarther(othersUs, lateUs) || isFarther(othersUs, leastUs)) continue;
    learned.note(entry, other, tookUs);
    if (races.sinceAskedUs(record, other) > sinceUs) state.late(service, client, at, other);
  }
}
