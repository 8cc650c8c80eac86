/**
 * The packet table, races by what the gateway has learned: one candidate is asked alone, the others when the hedge
 * fires.
 * MIDDLEBOX: rules of `test/conformance/README.md`.
 */
import {
  asService,
  CLIENT,
  linuxOptions,
  R1,
  R2,
  syn,
  tagged,
  toReplica,
  tunnel,
  withTcp,
} from '../support/builder.js';
import type { Packet } from '../support/naive.js';
import type { Configuration, World } from '../support/world.js';
import {
  answerOnWan,
  CONFIGURATIONS,
  type Replica,
  type Row,
  resetOfOrigin,
  resetOnWan,
  synAck,
  synAckToClient,
  synToWan,
} from './row.js';

/**
 * The time between batches, which is the round trip that is learned. The hedge waits 1.5 times that, and 4 times a
 * first variation.
 */
const EVERY_MS = 20;
const HEDGE_US = 32_000;

/** Another connection of the same prefix, before the connection that is tested. */
const EARLIER = { sport: 39_999, seq: 4_000 };
const earlier = (): Packet => syn(EARLIER, { src: '10.1.0.99' });
const earlierAnswer = (): Packet => ({
  ...withTcp(synAck(), { dport: EARLIER.sport, ack: EARLIER.seq + 1 }),
  dst: '10.1.0.99',
});

function learned(c: Configuration): Row[] {
  const form = (r: Replica, p: Packet): Packet =>
    c === 'A' ? toReplica(r, p) : tunnel(CLIENT, r.address, tagged(p));
  const toAll = [synToWan(c), form(R1, synToWan(c)), form(R2, synToWan(c))];
  const wan = (r: Replica, p = synAck()): Packet => answerOnWan(c, r, p);
  /** A replica's answer to the earlier connection. */
  const earlierOnWan = (r: Replica): Packet => {
    const p = earlierAnswer();
    if (c === 'A') return answerOnWan(c, r, p);
    return c === 'B' ? tunnel(p.src, p.dst, answerOnWan('A', r, p)) : tunnel(r.address, p.dst, p);
  };
  /** The answer to the connection after the earlier one. */
  const toAnother = withTcp(synAck(), { dport: EARLIER.sport, ack: EARLIER.seq + 1 });
  const knowsR1 = [[earlier()], [earlierOnWan(R1)]];
  const knowsOrigin = [[earlier()], [earlierAnswer()]];
  const refusal = asService('RA', { seq: 0, window: 0 });
  const row = (r: Omit<Row, 'role' | 'configuration'>): Row => ({
    role: 'gateway',
    configuration: c,
    everyMs: EVERY_MS,
    ...r,
    world: { race: 2, ...r.world } as Partial<World>,
  });
  const everybody = { 'pass.syn-raced': 1, 'emit.syn-copy': 2 };
  const alone = { 'pass.syn-raced': 1, 'queued.hedge': 1 };
  const fired = { 'fired.hedge': 1, 'emit.syn-copy': 2 };
  return [
    row({
      name: 'learned: the first connection of a prefix asks all candidates',
      in: [syn()],
      out: toAll,
      counts: everybody,
    }),
    row({
      name: 'learned: the winner of another service or prefix is not used',
      given: [[{ ...earlier(), src: '10.1.9.99' }], [{ ...earlierAnswer(), dst: '10.1.9.99' }]],
      in: [syn()],
      out: toAll,
      counts: everybody,
    }),
    row({
      name: 'learned: a known replica is asked alone; when the hedge fires the others are asked',
      given: knowsR1,
      in: [syn()],
      out: [form(R1, synToWan(c))],
      counts: alone,
      later: [
        { afterUs: HEDGE_US - 1, out: [], counts: {} },
        { afterUs: 1, out: [synToWan(c), form(R2, synToWan(c))], counts: fired },
        { afterUs: 2_000_000, out: [], counts: {} },
      ],
    }),
    row({
      name: 'learned: a known origin is asked alone, untagged; when the hedge fires the replicas are asked',
      given: knowsOrigin,
      in: [syn()],
      out: [synToWan(c)],
      counts: alone,
      later: [{ afterUs: HEDGE_US, out: [form(R1, synToWan(c)), form(R2, synToWan(c))], counts: fired }],
    }),
    row({
      name: 'learned: after an answer in time no other candidate is asked',
      given: [...knowsR1, [syn()]],
      in: [wan(R1)],
      out: [synAckToClient(c)],
      counts: { 'pass.won-by-replica': 1 },
      later: [{ afterUs: HEDGE_US, out: [], counts: { 'cancelled.hedge': 1 } }],
    }),
    row({
      name: 'learned: a refusal by the candidate that was asked alone does not reach the client, and the others are asked',
      given: [...knowsR1, [syn()]],
      in: [wan(R1, refusal)],
      out: [],
      counts: { 'drop.refused-others-pending': 1 },
      later: [{ afterUs: HEDGE_US, out: [synToWan(c), form(R2, synToWan(c))], counts: fired }],
    }),
    row({
      name: 'learned: the refusal of an origin that was asked alone does not reach the client',
      given: [...knowsOrigin, [syn()]],
      in: [refusal],
      out: [],
      counts: { 'drop.refused-others-pending': 1 },
      later: [{ afterUs: HEDGE_US, out: [form(R1, synToWan(c)), form(R2, synToWan(c))], counts: fired }],
    }),
    row({
      name: 'learned: a refusal by all candidates after the hedge reaches the client',
      given: [...knowsR1, [syn()], [wan(R1, refusal)]],
      in: [wan(R2, refusal), refusal],
      out: [refusal],
      counts: { 'drop.refused-others-pending': 1, 'pass.refused-by-all': 1 },
    }),
    row({
      name: "learned: after a hedge the first answer wins, and the late winner's and the other answers are reset",
      given: [...knowsR1, [syn()]],
      afterMs: 40,
      in: [wan(R2), wan(R1), synAck()],
      out: [synAckToClient(c), resetOnWan(c, R1), resetOfOrigin()],
      counts: { 'pass.won-by-replica': 1, 'drop.loser': 2, 'emit.loser-reset': 2 },
    }),
    row({
      name: 'learned: after a late answer the next connection asks all candidates',
      // The hedge fires; R2, which is asked then, answers, farther than R1 was, and R1 has not.
      given: [...knowsR1, [syn(EARLIER)], [], [], [], [wan(R2, toAnother)]],
      in: [syn()],
      out: toAll,
      counts: everybody,
    }),
    row({
      name: 'learned: so it does after a late answer of candidate 31, the last with a bit in a word',
      world: { candidates: [1, 31] },
      given: [[earlier()], [earlierOnWan(R2)], [syn(EARLIER)], [], [], [], [wan(R1, toAnother)]],
      in: [syn()],
      out: toAll,
      counts: everybody,
    }),
    row({
      name: 'learned: a SYN that is repeated at once is sent to no candidate, and the hedge fires as before',
      given: [...knowsR1, [syn()]],
      in: [syn(), syn()],
      out: [],
      counts: { 'drop.syn-repeated-early': 2 },
      later: [{ afterUs: HEDGE_US, out: [synToWan(c), form(R2, synToWan(c))], counts: fired }],
    }),
    row({
      name: 'learned: a retransmitted SYN asks all candidates again',
      given: [...knowsR1, [syn()]],
      everyMs: 250,
      in: [syn()],
      out: toAll,
      counts: { 'pass.syn-retransmitted-raced': 1, 'emit.syn-copy': 2 },
    }),
    row({
      name: 'learned: the hedge of a past attempt asks no candidate',
      given: [...knowsR1, [syn()]],
      in: [withTcp(syn(), { seq: 9 })],
      out: [form(R1, withTcp(synToWan(c), { seq: 9 }))],
      counts: alone,
      later: [{ afterUs: HEDGE_US - 1, out: [], counts: { 'cancelled.hedge': 1 } }],
    }),
    row({
      name: 'learned: a candidate that has left is not asked; the others are asked at once',
      given: knowsR1,
      change: { live: [false, true] },
      in: [syn()],
      out: [synToWan(c), form(R2, synToWan(c))],
      counts: { 'pass.syn-raced': 1, 'emit.syn-copy': 1 },
    }),
    row({
      name: 'learned: when there is a new candidate, all candidates are asked',
      world: { live: [true, false] },
      given: knowsR1,
      change: { live: [true, true] },
      in: [syn()],
      out: toAll,
      counts: everybody,
    }),
    row({
      name: 'learned: without room for a hedge all candidates are asked',
      world: { holdSlots: 1 },
      given: [...knowsR1, [syn(EARLIER)]],
      in: [syn()],
      out: toAll,
      counts: everybody,
    }),
    row({
      name: 'learned: a bad checksum stays bad, alone and in the hedge [MIDDLEBOX 29]',
      given: knowsR1,
      in: [syn({ spoil: 77 })],
      out: [form(R1, withTcp(synToWan(c), { spoil: 77 }))],
      counts: alone,
      later: [
        {
          afterUs: HEDGE_US,
          out: [withTcp(synToWan(c), { spoil: 77 }), form(R2, withTcp(synToWan(c), { spoil: 77 }))],
          counts: fired,
        },
      ],
    }),
    row({
      name: 'learned: a SYN with payload goes to one machine only',
      given: knowsR1,
      in: [syn({ payload: [1], options: linuxOptions() })],
      out: [syn({ payload: [1], options: linuxOptions() })],
      counts: { 'pass.syn-with-payload': 1 },
    }),
  ];
}

export const gatewayLearned: Row[] = CONFIGURATIONS.flatMap(learned);
