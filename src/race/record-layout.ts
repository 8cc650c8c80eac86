/**
 * The ring of race records in shared memory, in doubles: where each value lies, and what the numbers in it mean. The data
 * plane writes it (`record.ts`), the control plane reads it (`record-read.ts`).
 */
import { layoutOf } from '../layout.js';
import { MOST_RACED } from '../proximity/candidates.js';

/** The most bytes of a SYN that a record stores, virtio header included: 10 + 60 + 60, rounded up. */
export const SYN_BYTES = 136;
/** The header of the ring, before the records, in doubles: the number of races that have begun. */
const ring = layoutOf({ begun: 1, reserved: 7 });
/** One record, in doubles. */
const record = layoutOf({
  /** The race's number as flows store it: {@link keptNumber}. */
  number: 1,
  sent: 1,
  client: 4,
  port: 1,
  service: 1,
  winner: 1,
  /** One bit for each candidate that was asked. */
  live: 1,
  manner: 1,
  requestedAt: 1,
  /** The winner's number as a machine. */
  machine: 1,
  /** One more than the µs by which the least late answer came later than was expected; 0 while there is none. */
  leastLate: 1,
  reserved: 2,
  replies: MOST_RACED,
  verdicts: MOST_RACED,
  sends: MOST_RACED,
  synLength: 1,
  syn: SYN_BYTES / 8,
});
export const RING_HEADER = ring.stride;
export const BEGUN = ring.begun;
export const NUMBER = record.number;
export const SENT = record.sent;
export const CLIENT = record.client;
export const PORT = record.port;
export const SERVICE = record.service;
export const WINNER = record.winner;
export const LIVE = record.live;
export const MANNER = record.manner;
export const REQUESTED_AT = record.requestedAt;
export const MACHINE = record.machine;
export const LEAST_LATE = record.leastLate;
export const REPLIES = record.replies;
export const VERDICTS = record.verdicts;
export const SENDS = record.sends;
export const SYN_LENGTH = record.synLength;
export const SYN = record.syn;
export const STRIDE = record.stride;

/**
 * How the candidates were asked: all at once; a learned winner alone; a learned winner, then the others too (hedged).
 */
export const RACED = 0;
export const ALONE = 1;
export const HEDGED = 2;
/** Asked together with other candidates that are too near to it for the learned times to tell them apart. */
export const COMPARED = 3;
/** The client has retransmitted its SYN: the times of this race are no measurements. */
export const REPEATED = 4;
/** An ejected candidate was asked alone, as a trial. */
export const TRIED = 5;

/**
 * A race's number as an entry of the flow table stores it. It wraps after 2^31 races, long after any record was
 * overwritten.
 */
export const keptNumber = (n: number): number => n % 2 ** 31;

/** The winner of an origin's race that is no candidate here. */
export const OTHER = MOST_RACED;

export const REFUSED = 1;
export const RESET = 2;

/**
 * Bytes of shared memory for a ring of `races` records. It must be a power of two, so that indices stay consecutive
 * when numbers wrap.
 */
export function ringBytes(races: number): number {
  if ((races & (races - 1)) !== 0) throw new RangeError(`${races} is no power of two`);
  return (RING_HEADER + races * STRIDE) * 8;
}
