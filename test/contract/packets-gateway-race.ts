/** The gateway up to the choice: tagging, the first acknowledgement, refusals, resets. */
import {
  asService,
  CLIENT_PORT,
  fromClient,
  icmpError,
  ISN,
  ISN1,
  linuxOptions,
  option,
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
  clamped,
  clientOnWan,
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

const padded = [...option.mss(1400), ...option.nop, ...option.sackPermitted, 0];
const full = [...linuxOptions(), ...option.mpCapable];
const refusal = (): Packet => asService('RA', { seq: 0, window: 0 });

function tagging(c: Configuration): Row[] {
  const again = (name: string, given: Packet[], last: Packet, out: Packet, reason: string): Row =>
    row(c, { name, given: given.map((p) => [p]), in: [last], out: [out], counts: { [reason]: 1 } });
  const untagged = (name: string, p: Packet, reason: string, world = {}): Row =>
    row(c, { name, world, in: [p], out: [p], counts: { [reason]: 1 } });
  const options = clamped(c);
  return [
    row(c, {
      name: 'a SYN is tagged on the WAN [210]',
      in: [syn()],
      out: [tagged(synToWan(c))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'a SYN whose checksum is open keeps it open',
      in: [syn({}, { open: { gsoSize: 0 } })],
      out: [tagged({ ...synToWan(c), open: { gsoSize: 0 } })],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'a SYN with a bad checksum is tagged and stays bad [rule 11]',
      in: [syn({ spoil: 0x0100 })],
      out: [],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'ECN flags of the SYN are preserved [MIDDLEBOX 7]',
      in: [syn({ flags: 'SEC' })],
      out: [tagged(withTcp(synToWan(c), { flags: 'SEC' }))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'the tag stands before EOL padding, other options as they were [MIDDLEBOX 3]',
      in: [syn({ options: padded })],
      out: [withTcp(tagged(syn({ options: padded.slice(0, 7) })), {})].map((p) =>
        withTcp(p, { options: [...(p.body as { options: number[] }).options, 0] }),
      ),
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'the tag fits exactly beside 24 bytes of options [MIDDLEBOX 1, 6]',
      in: [syn({ options: full })],
      out: [tagged(syn({ options: [...options, ...option.mpCapable] }))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'an option of another experiment is not touched [MIDDLEBOX 2]',
      in: [syn({ options: [...option.mss(1400), ...option.fastOpen] })],
      out: [tagged(syn({ options: [...option.mss(1400), ...option.fastOpen] }))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'the packet may grow to the MTU exactly',
      world: { wanMtu: 76 },
      in: [syn()],
      out: [tagged(synToWan(c))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    untagged(
      'no room among 28 bytes of options: untagged [MIDDLEBOX 1]',
      syn({ options: [...full, 1, 1, 1, 1] }),
      'pass.syn-no-room-for-tag',
    ),
    untagged('no room in the MTU: untagged [MIDDLEBOX 1]', syn(), 'pass.syn-no-room-for-tag', { wanMtu: 75 }),
    untagged(
      'a SYN with payload goes to one machine only [rule 2]',
      syn({ payload: text('GET /') }),
      'pass.syn-with-payload',
    ),
    untagged('TCP-MD5 is not tagged [MIDDLEBOX 4]', syn({ options: [...option.md5, 1, 1] }), 'pass.syn-md5-or-ao'),
    untagged('TCP-AO is not tagged [MIDDLEBOX 4]', syn({ options: option.ao }), 'pass.syn-md5-or-ao'),
    untagged('options that break off: untagged', syn({ options: [2, 9, 5, 180] }), 'pass.syn-malformed-options'),
    untagged('an option of length zero: untagged', syn({ options: [8, 0, 1, 1] }), 'pass.syn-malformed-options'),
    untagged('a service without replicas: untagged', syn(), 'pass.syn-service-not-replicated', { raced: false }),
    row(c, {
      name: 'a full table never refuses a connection',
      world: { maxFlows: 1 },
      given: [[syn({ sport: 4 })]],
      in: [syn()],
      out: [syn()],
      counts: { 'pass.syn-table-full': 1 },
    }),
    again(
      'the first retransmission is tagged [rule 3]',
      [syn()],
      syn(),
      tagged(synToWan(c)),
      'pass.syn-retransmitted-tagged',
    ),
    again('the second one is not [rule 3]', [syn(), syn()], syn(), syn(), 'pass.syn-retransmitted-untagged'),
    row(c, {
      name: 'a SYN twice in one batch is one race',
      in: [syn(), syn()],
      out: [tagged(synToWan(c)), tagged(synToWan(c))],
      counts: { 'pass.syn-tagged': 1, 'pass.syn-retransmitted-tagged': 1 },
    }),
    row(c, {
      name: 'another ISN while racing begins anew, and the old acknowledgement does not win [rule 3]',
      given: [[syn({ seq: 5 })], [syn()]],
      in: [answerOnWan(c, R1, withTcp(synAck(), { ack: 6 }))],
      out: [resetOnWan(c, R1, 6)],
      counts: { 'drop.ack-outside': 1, 'emit.loser-reset': 1 },
    }),
  ];
}

function race(c: Configuration): Row[] {
  const wan = (r: typeof R1 | typeof R2, p = synAck()): Packet => answerOnWan(c, r, p);
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
      name: 'a second replica is reset, exactly and in the form of the wire table [514, rule 5]',
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
      name: 'a replica that lost to the origin is reset [rule 4]',
      given: originWon,
      in: [wan(R1), wan(R2)],
      out: [resetOnWan(c, R1), resetOnWan(c, R2)],
      counts: { 'drop.loser': 2, 'emit.loser-reset': 2 },
    }),
    row(c, {
      name: 'in one batch the first is first',
      given: [[syn()]],
      in: [wan(R2), synAck(), wan(R1)],
      out: [synAckToClient(c), resetOfOrigin(), resetOnWan(c, R1)],
      counts: { 'pass.won-by-replica': 1, 'drop.loser': 2, 'emit.loser-reset': 2 },
    }),
    row(c, {
      name: "the winner's retransmitted SYN-ACK is forwarded [rule 4, MIDDLEBOX 11]",
      given: won,
      in: [wan(R1)],
      out: [synAckToClient(c)],
      counts: { 'pass.winner-again': 1 },
    }),
    row(c, {
      name: 'losers are reset for as long as they come, after 75 s too [rule 4]',
      given: [...won, [fromClient('A')]],
      afterMs: 75_000,
      in: [wan(R2)],
      out: [resetOnWan(c, R2)],
      counts: loser,
    }),
    outside('an acknowledgement of ISN does not win [rule 1, MIDDLEBOX 12]', ISN),
    outside('an acknowledgement of ISN + 2 does not win [rule 1, MIDDLEBOX 12]', (ISN + 2) % 2 ** 32),
    row(c, {
      name: 'a SYN-ACK from a stranger does not win [rule 1]',
      given: [[syn()]],
      in: [wan({ address: STRANGER, port: 80 } as unknown as typeof R1)],
      out: c === 'C' ? [] : [wan({ address: STRANGER, port: 80 } as unknown as typeof R1)],
      counts: { [c === 'A' ? 'pass.not-ours' : c === 'B' ? 'pass.tunnel-not-ours' : 'drop.tunnel-forged']: 1 },
    }),
    row(c, {
      name: "a SYN-ACK for another client's port does not win [MIDDLEBOX 26]",
      given: [[syn()]],
      in: [wan(R1, withTcp(synAck(), { dport: 9 }))],
      out: [withTcp(resetOnWan(c, R1), { sport: 9 })],
      counts: { 'drop.loser-late': 1, 'emit.late-reset': 1 },
    }),
    row(c, {
      name: 'a SYN-ACK after its entry went gets an exact, stateless reset [MIDDLEBOX 17]',
      given: [[syn()]],
      afterMs: 245_300,
      in: [wan(R1)],
      out: [resetOnWan(c, R1)],
      counts: { 'drop.loser-late': 1, 'emit.late-reset': 1 },
    }),
    row(c, {
      name: 'those resets are rate-limited [MIDDLEBOX 17]',
      in: new Array<Packet>(120).fill(wan(R1)),
      out: new Array<Packet>(100).fill(resetOnWan(c, R1)),
      counts: { 'drop.loser-late': 120, 'emit.late-reset': 100, 'limit.late-reset': 20 },
    }),
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
  const wan = (r: typeof R1 | typeof R2): Packet => answerOnWan(c, r, refusal());
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
      name: "the origin's refusal of a retransmission is final: nobody waits for a silent replica",
      given: [[syn()], [syn()]],
      in: [refusal()],
      out: [refusal()],
      counts: { 'pass.refused-by-all': 1 },
    }),
    row(c, {
      name: 'a replica that left is not waited for [MIDDLEBOX 15]',
      world: { live: [true, false] },
      given: [[syn()], [wan(R1)]],
      in: [refusal()],
      out: [refusal()],
      counts: { 'pass.refused-by-all': 1 },
    }),
    row(c, {
      name: "the refusal of candidate 32 is not taken for the origin's",
      world: { candidates: [1, 32] },
      given: [[syn()], [wan(R2)]],
      in: [wan(R1)],
      out: [],
      counts: pending,
    }),
    row(c, {
      name: 'a refusal of another attempt is dropped',
      given: [[syn()]],
      in: [answerOnWan(c, R1, asService('RA', { ack: 77 }))],
      out: [],
      counts: { 'drop.ack-outside': 1 },
    }),
    row(c, {
      name: 'after a refusal by all a packet of the client goes on unchanged',
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
            name: "a replica's challenge ACK in a tunnel stays shut",
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
      name: "the client's packets before the choice go on unchanged",
      given: [[syn()]],
      in: [fromClient('A', { sport: CLIENT_PORT, ack: 3 })],
      out: [fromClient('A', { ack: 3 })],
      counts: { 'pass.before-winner': 1 },
    }),
  ];
}

/** What happens to SYNs once there is a winner. */
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
      name: 'a retransmitted SYN goes to the winner only [rule 3, MIDDLEBOX 10]',
      given: won,
      in: [syn()],
      out: [clientOnWan(c, R1, synToWan(c))],
      counts: { 'pass.to-replica': 1 },
    }),
    row(c, {
      name: 'a new SYN on an unfinished flow goes to the winner [rule 3, MIDDLEBOX 24]',
      given: established,
      in: [other(syn())],
      out: [clientOnWan(c, R1, other(synToWan(c)))],
      counts: { 'pass.to-replica': 1 },
    }),
    row(c, {
      name: "and the winner's acknowledgement of it reaches the client [MIDDLEBOX 24]",
      given: [...established, [other(syn())]],
      in: [answerOnWan(c, R1, withTcp(synAck(), { ack: 1001 }))],
      out: [withTcp(synAckToClient(c), { ack: 1001 })],
      counts: { 'pass.winner-again': 1 },
    }),
    fresh('a new SYN after both FINs starts a new race [rule 3]', fins),
    fresh("a new SYN after the client's RST starts a new race [rule 3]", [[fromClient('R')]]),
    row(c, {
      name: 'a new SYN that is not raced forgets the finished flow: it is the origin that answers',
      given: [...established, [fromClient('R')]],
      change: { raced: false },
      in: [other(syn()), withTcp(synAck(), { ack: 1001 })],
      out: [other(syn()), withTcp(synAck(), { ack: 1001 })],
      counts: { 'pass.syn-service-not-replicated': 1, 'pass.to-origin-probe': 0 },
    }),
    row(c, {
      name: 'so does the data of such a connection',
      given: [...established, [fromClient('R')], [syn({ seq: 1000, payload: text('hello') })]],
      in: [fromClient('A', { seq: 1006 })],
      out: [fromClient('A', { seq: 1006 })],
      counts: { 'pass.no-flow': 1 },
    }),
    row(c, {
      name: 'a tunnel that holds a SYN-ACK of no client of ours is not opened',
      given: [[syn()]],
      in: [tunnel(R1.address, '10.1.0.99', asService('A'))],
      out: [],
      counts: { 'drop.tunnel-forged': 1 },
    }),
  ];
}

export const gatewayRace: Row[] = CONFIGURATIONS.flatMap((c) => [...tagging(c), ...race(c), ...after(c)]);
