/**
 * The packet table, the gateway's choice: the first acknowledgement, refusals, resets.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". MIDDLEBOX: rules of
 * `test/conformance/README.md`.
 */
import {
  asService,
  CLIENT_PORT,
  fromClient,
  ISN,
  icmpError,
  linuxOptions,
  ORIGIN,
  R1,
  R2,
  STRANGER,
  syn,
  tagged,
  text,
  tunnel,
  withTcp,
} from '../support/builder.js';
import { encode, type Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import {
  answerOnWan,
  CONFIGURATIONS,
  clientOnWan,
  type Replica,
  type Row,
  resetOfOrigin,
  resetOnWan,
  synAck,
  synAckToClient,
  synToWan,
} from './row.js';

const row = (configuration: Configuration, r: Omit<Row, 'role' | 'configuration'>): Row => ({
  role: 'gateway',
  configuration,
  ...r,
});

const refusal = (): Packet => asService('RA', { seq: 0, window: 0 });

function race(c: Configuration): Row[] {
  const wan = (r: Replica, p = synAck()): Packet => answerOnWan(c, r, p);
  const won = [[syn()], [wan(R1)]];
  const originWon = [[syn()], [synAck()]];
  const loser = { 'drop.loser': 1, 'emit.loser-reset': 1 };
  const outside = (name: string, ack: number): Row =>
    row(c, {
      name,
      given: [[syn()]],
      in: [wan(R1, withTcp(synAck(), { ack })), wan(R1)],
      out: [synAckToClient(c), resetOnWan(c, R1, ack)],
      counts: { 'drop.ack-outside': 1, 'emit.loser-reset': 1, 'pass.won-by-replica': 1 },
    });
  return [
    row(c, {
      name: "a replica's SYN-ACK wins and becomes the service's [504, 512]",
      given: [[syn()]],
      in: [wan(R1)],
      out: [synAckToClient(c)],
      counts: { 'pass.won-by-replica': 1 },
    }),
    row(c, {
      name: "the origin's SYN-ACK wins [516]",
      given: [[syn()]],
      in: [synAck()],
      out: [synAckToClient(c)],
      counts: { 'pass.won-by-origin': 1 },
    }),
    row(c, {
      name: 'a second replica is reset, exactly and in the form of the configuration [514]',
      given: won,
      in: [wan(R2)],
      out: [resetOnWan(c, R2)],
      counts: loser,
    }),
    row(c, {
      name: 'a losing origin is reset as [C→S]',
      given: won,
      in: [synAck()],
      out: [resetOfOrigin()],
      counts: loser,
    }),
    row(c, {
      name: 'a replica that lost to the origin is reset',
      given: originWon,
      in: [wan(R1), wan(R2)],
      out: [resetOnWan(c, R1), resetOnWan(c, R2)],
      counts: { 'drop.loser': 2, 'emit.loser-reset': 2 },
    }),
    row(c, {
      name: 'of two acknowledgements in one batch the first wins',
      given: [[syn()]],
      in: [wan(R2), synAck(), wan(R1)],
      out: [synAckToClient(c), resetOfOrigin(), resetOnWan(c, R1)],
      counts: { 'pass.won-by-replica': 1, 'drop.loser': 2, 'emit.loser-reset': 2 },
    }),
    row(c, {
      name: "the winner's retransmitted SYN-ACK is forwarded [MIDDLEBOX 11]",
      given: won,
      in: [wan(R1)],
      out: [synAckToClient(c)],
      counts: { 'pass.winner-again': 1 },
    }),
    row(c, {
      name: "losers' acknowledgements are reset as long as they come, also after 75 s",
      given: [...won, [fromClient('A')]],
      afterMs: 75_000,
      in: [wan(R2)],
      out: [resetOnWan(c, R2)],
      counts: loser,
    }),
    outside('an acknowledgement of ISN does not win [MIDDLEBOX 12]', ISN),
    outside('an acknowledgement of ISN + 2 does not win [MIDDLEBOX 12]', (ISN + 2) % 2 ** 32),
    row(c, {
      name: 'a SYN-ACK from an unknown host does not win',
      given: [[syn()]],
      in: [wan({ address: STRANGER, port: 80 })],
      out: c === 'C' ? [] : [wan({ address: STRANGER, port: 80 })],
      counts: {
        [c === 'A' ? 'pass.not-ours' : c === 'B' ? 'pass.tunnel-not-ours' : 'drop.tunnel-forged']: 1,
      },
    }),
    ...(c === 'A'
      ? [
          row(c, {
            name: 'a SYN-ACK outside a tunnel without a race passes, because it may belong to a connection to R itself',
            given: [[syn()]],
            in: [wan(R1, withTcp(synAck(), { dport: 9 }))],
            out: [wan(R1, withTcp(synAck(), { dport: 9 }))],
            counts: { 'pass.no-flow': 1 },
          }),
        ]
      : [
          row(c, {
            name: "a SYN-ACK for another client's port does not win [MIDDLEBOX 26]",
            given: [[syn()]],
            in: [wan(R1, withTcp(synAck(), { dport: 9 }))],
            out: [withTcp(resetOnWan(c, R1), { sport: 9 })],
            counts: { 'drop.loser-late': 1, 'emit.late-reset': 1 },
          }),
          row(c, {
            name: 'a SYN-ACK whose entry no longer exists gets an exact, stateless reset [MIDDLEBOX 17]',
            given: [[syn()]],
            afterMs: 245_300,
            in: [wan(R1)],
            out: [resetOnWan(c, R1)],
            counts: { 'drop.loser-late': 1, 'emit.late-reset': 1 },
          }),
          row(c, {
            name: 'stateless resets are rate-limited [MIDDLEBOX 17]',
            in: new Array<Packet>(120).fill(wan(R1)),
            out: new Array<Packet>(100).fill(resetOnWan(c, R1)),
            counts: { 'drop.loser-late': 120, 'emit.late-reset': 100, 'limit.late-reset': 20 },
          }),
        ]),
    row(c, {
      name: "the origin's SYN-ACK without an entry passes",
      in: [synAck()],
      out: [synAck()],
      counts: { 'pass.no-flow': 1 },
    }),
    ...refusals(c),
  ];
}

function refusals(c: Configuration): Row[] {
  const wan = (r: Replica): Packet => answerOnWan(c, r, refusal());
  const pending = { 'drop.refused-others-pending': 1 };
  return [
    row(c, {
      name: 'a refusal does not end the race while others are pending [MIDDLEBOX 14]',
      given: [[syn()]],
      in: [wan(R1)],
      out: [],
      counts: pending,
    }),
    row(c, {
      name: 'a refusal by all reaches the client, as the service',
      given: [[syn()], [wan(R1), refusal()]],
      in: [wan(R2)],
      out: [refusal()],
      counts: { 'pass.refused-by-all': 1 },
    }),
    row(c, {
      name: "the origin's refusal of a retransmission is final, even if a replica stays silent",
      given: [[syn()], [syn()]],
      everyMs: 250,
      in: [refusal()],
      out: [refusal()],
      counts: { 'pass.refused-by-all': 1 },
    }),
    row(c, {
      name: 'the gateway does not wait for a replica that has left [MIDDLEBOX 15]',
      world: { live: [true, false] },
      given: [[syn()], [wan(R1)]],
      in: [refusal()],
      out: [refusal()],
      counts: { 'pass.refused-by-all': 1 },
    }),
    row(c, {
      name: "the refusal of candidate 32 does not count as the origin's",
      world: { candidates: [1, 32] },
      given: [[syn()], [wan(R2)]],
      in: [wan(R1)],
      out: [],
      counts: pending,
    }),
    row(c, {
      name: 'a refusal of an earlier attempt is dropped',
      given: [[syn()]],
      in: [answerOnWan(c, R1, asService('RA', { ack: 77 }))],
      out: [],
      counts: { 'drop.ack-outside': 1 },
    }),
    row(c, {
      name: 'after a refusal by all candidates a packet of the client passes unchanged',
      given: [[syn()], [wan(R1), wan(R2), refusal()]],
      in: [fromClient('R')],
      out: [fromClient('R')],
      counts: { 'pass.no-flow': 1 },
    }),
    row(c, {
      name: 'an ICMP error does not end the race [MIDDLEBOX 14]',
      given: [[syn()], [icmpError(ORIGIN, '10.1.0.7', 3, 1, encode(syn()))]],
      in: [answerOnWan(c, R1, synAck())],
      out: [synAckToClient(c)],
      counts: { 'pass.won-by-replica': 1 },
    }),
    row(c, {
      name: 'an ICMP error passes unchanged',
      in: [icmpError(ORIGIN, '10.1.0.7', 3, 4, encode(syn()))],
      out: [icmpError(ORIGIN, '10.1.0.7', 3, 4, encode(syn()))],
      counts: { 'pass.icmp-error': 1 },
    }),
    row(c, {
      name: "the origin's challenge ACK before the choice reaches the client [MIDDLEBOX 24]",
      given: [[syn()]],
      in: [asService('A', { ack: 1234 })],
      out: [asService('A', { ack: 1234 })],
      counts: { 'pass.before-winner': 1 },
    }),
    ...(c === 'B'
      ? [
          row(c, {
            name: "a replica's challenge ACK in a tunnel stays encapsulated",
            given: [[syn()]],
            in: [answerOnWan(c, R1, asService('A', { ack: 1234 }))],
            out: [],
            counts: { 'drop.tunnel-inner': 1 },
          }),
        ]
      : [
          row(c, {
            name: "a replica's challenge ACK before the choice is answered with an exact reset [MIDDLEBOX 24]",
            given: [[syn()]],
            in: [answerOnWan(c, R1, asService('A', { ack: 1234 }))],
            out: [resetOnWan(c, R1, 1234)],
            counts: { 'drop.ack-outside': 1, 'emit.loser-reset': 1 },
          }),
        ]),
    row(c, {
      name: "the server's own SYN (simultaneous open) passes [MIDDLEBOX 18]",
      given: [[syn()]],
      in: [asService('S', { ack: 0, options: linuxOptions() })],
      out: [asService('S', { ack: 0, options: linuxOptions() })],
      counts: { 'pass.before-winner': 1 },
    }),
    row(c, {
      name: "the client's packets before the choice pass unchanged",
      given: [[syn()]],
      in: [fromClient('A', { sport: CLIENT_PORT, ack: 3 })],
      out: [fromClient('A', { ack: 3 })],
      counts: { 'pass.before-winner': 1 },
    }),
  ];
}

/** SYNs after there is a winner. */
function after(c: Configuration): Row[] {
  const won = [[syn()], [answerOnWan(c, R1, synAck())]];
  const established = [...won, [fromClient('A')]];
  const other = (p: Packet): Packet => withTcp(p, { seq: 1000 });
  const fins = [
    [fromClient('FA')],
    [c === 'B' ? asService('FA') : answerOnWan(c, R1, asService('FA'))],
    [fromClient('A')],
  ];
  const fresh = (name: string, given: Packet[][]): Row =>
    row(c, {
      name,
      given: [...established, ...given],
      in: [other(syn())],
      out: [tagged(other(synToWan(c)))],
      counts: { 'pass.syn-tagged': 1 },
    });
  return [
    row(c, {
      name: 'a retransmitted SYN goes to the winner only [MIDDLEBOX 10]',
      given: won,
      in: [syn()],
      out: [clientOnWan(c, R1, synToWan(c))],
      counts: { 'pass.to-replica': 1 },
    }),
    row(c, {
      name: 'a new SYN on an unfinished flow goes to the winner [MIDDLEBOX 24]',
      given: established,
      in: [other(syn())],
      out: [clientOnWan(c, R1, other(synToWan(c)))],
      counts: { 'pass.to-replica': 1 },
    }),
    row(c, {
      name: "the winner's acknowledgement of a new SYN reaches the client [MIDDLEBOX 24]",
      given: [...established, [other(syn())]],
      in: [answerOnWan(c, R1, withTcp(synAck(), { ack: 1001 }))],
      out: [withTcp(synAckToClient(c), { ack: 1001 })],
      counts: { 'pass.winner-again': 1 },
    }),
    fresh('a new SYN after both FINs starts a new race', fins),
    fresh("a new SYN after the client's RST starts a new race", [[fromClient('R')]]),
    row(c, {
      name: 'a new SYN that is not raced passes untagged, even if the flow has finished',
      given: [...established, [fromClient('R')]],
      change: { raced: false },
      in: [other(syn())],
      out: [other(syn())],
      counts: { 'pass.syn-service-not-replicated': 1 },
    }),
    row(c, {
      name: 'then the finished flow is forgotten, and the origin answers the SYN [MIDDLEBOX 24]',
      given: [...established, [fromClient('R')], [syn({ seq: 1000, payload: text('hello') })]],
      in: [withTcp(synAck(), { ack: 1006 }), fromClient('A', { seq: 1006 })],
      out: [withTcp(synAck(), { ack: 1006 }), fromClient('A', { seq: 1006 })],
      counts: { 'pass.no-flow': 2 },
    }),
    row(c, {
      name: 'a tunnel to one client with a packet to another is not decapsulated',
      given: [[syn()]],
      in: [tunnel(R1.address, '10.1.0.99', asService('A'))],
      out: [],
      counts: { 'drop.tunnel-forged': 1 },
    }),
  ];
}

export const gatewayRace: Row[] = CONFIGURATIONS.flatMap((c) => [...race(c), ...after(c)]);
