/**
 * The packet table, SYNs at the gateway: which are tagged, and how.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". MIDDLEBOX: rules of
 * `test/conformance/README.md`.
 */
import {
  asService,
  CLIENT,
  fromClient,
  linuxOptions,
  option,
  R1,
  R2,
  syn,
  tagged,
  tcpOf,
  text,
  toReplica,
  tunnel,
  withTcp,
} from '../support/builder.js';
import type { Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import { answerOnWan, CONFIGURATIONS, clamped, type Row, resetOnWan, synAck, synToWan } from './row.js';

const row = (configuration: Configuration, r: Omit<Row, 'role' | 'configuration'>): Row => ({
  role: 'gateway',
  configuration,
  ...r,
});

const padded = [...option.mss(1400), ...option.nop, ...option.sackPermitted, 0];
const pad = (p: Packet): Packet => withTcp(p, { options: [...tcpOf(p).options, 0] });
const full = [...linuxOptions(), ...option.mpCapable];

const synAckTo = (port: number): Packet => withTcp(synAck(), { dport: port });
/** A connection that the origin answers only after the third SYN, which is the first without a tag. */
/** After this time a repeated SYN is no longer an early one. */
const LATER_MS = 250;

const untaggedOnly = (port: number): Packet[][] => [
  [syn({ sport: port })],
  [syn({ sport: port })],
  [syn({ sport: port })],
  [synAckTo(port)],
];

function tagging(c: Configuration): Row[] {
  const again = (name: string, given: Packet[], last: Packet, out: Packet, reason: string): Row =>
    row(c, {
      ...{ name, given: given.map((p) => [p]), everyMs: LATER_MS },
      ...{ in: [last], out: [out], counts: { [reason]: 1 } },
    });
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
      name: 'a SYN with a bad checksum is tagged and stays bad',
      in: [syn({ spoil: 0x0100 })],
      out: [tagged(withTcp(synToWan(c), { spoil: 0x0100 }))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'ECN flags of the SYN are preserved [MIDDLEBOX 7]',
      in: [syn({ flags: 'SEC' })],
      out: [tagged(withTcp(synToWan(c), { flags: 'SEC' }))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'the tag stands before EOL padding, other options are unchanged [MIDDLEBOX 3]',
      in: [syn({ options: padded })],
      out: [pad(tagged(syn({ options: padded.slice(0, 7) })))],
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
      'a SYN with payload goes to one machine only',
      syn({ payload: text('GET /') }),
      'pass.syn-with-payload',
    ),
    untagged(
      'TCP-MD5 is not tagged [MIDDLEBOX 4]',
      syn({ options: [...option.md5, 1, 1] }),
      'pass.syn-md5-or-ao',
    ),
    untagged('TCP-AO is not tagged [MIDDLEBOX 4]', syn({ options: option.ao }), 'pass.syn-md5-or-ao'),
    untagged('malformed options: untagged', syn({ options: [2, 9, 5, 180] }), 'pass.syn-malformed-options'),
    untagged(
      'an option of length zero: untagged',
      syn({ options: [8, 0, 1, 1] }),
      'pass.syn-malformed-options',
    ),
    untagged('a service without replicas: untagged', syn(), 'pass.syn-service-not-replicated', {
      raced: false,
    }),
    row(c, {
      name: 'a full pool never refuses a connection',
      world: { maxFlows: 1 },
      given: [[syn({ sport: 4 })]],
      in: [syn()],
      out: [syn()],
      counts: { 'pass.syn-source-full': 1 },
    }),
    again(
      'the first retransmission is tagged',
      [syn()],
      syn(),
      tagged(synToWan(c)),
      'pass.syn-retransmitted-tagged',
    ),
    again('the second one is not', [syn(), syn()], syn(), syn(), 'pass.syn-retransmitted-untagged'),
    row(c, {
      name: 'a path on which only untagged SYNs come through gets no more tags',
      given: [1, 2, 3].flatMap(untaggedOnly),
      everyMs: LATER_MS,
      in: [syn()],
      out: [syn()],
      counts: { 'pass.syn-path-drops-tag': 1 },
    }),
    row(c, {
      name: 'after a while such a path gets tags again',
      given: [1, 2, 3].flatMap(untaggedOnly),
      everyMs: LATER_MS,
      afterMs: 601_000,
      in: [syn()],
      out: [tagged(synToWan(c))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'a path still gets tags after two such connections, or after three with a tagged one in between',
      given: [...[1, 2].flatMap(untaggedOnly), [syn({ sport: 9 })], [synAckTo(9)], ...untaggedOnly(3)],
      everyMs: LATER_MS,
      in: [syn()],
      out: [tagged(synToWan(c))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: "a replica's answer after the third SYN shows that the path does not drop tags",
      given: [1, 2, 3].flatMap((port) => [
        ...untaggedOnly(port).slice(0, 3),
        [answerOnWan(c, R1, synAckTo(port))],
      ]),
      everyMs: LATER_MS,
      in: [syn()],
      out: [tagged(synToWan(c))],
      counts: { 'pass.syn-tagged': 1 },
    }),
    row(c, {
      name: 'two copies of a SYN in one batch are one race',
      in: [syn(), syn()],
      out: [tagged(synToWan(c))],
      counts: { 'pass.syn-tagged': 1, 'drop.syn-repeated-early': 1 },
    }),
    row(c, {
      name: 'another ISN during a race begins a new race, and the old acknowledgement does not win',
      given: [[syn({ seq: 5 })], [syn()]],
      in: [answerOnWan(c, R1, withTcp(synAck(), { ack: 6 }))],
      out: [resetOnWan(c, R1, 6)],
      counts: { 'drop.ack-outside': 1, 'emit.loser-reset': 1 },
    }),
  ];
}

/** The gateway's own races: it sends the SYN itself, in the forms of each configuration. */
function own(c: Configuration): Row[] {
  const sent = (p: Packet): Packet[] => [
    p,
    ...[R1, R2].map((r) => (c === 'A' ? toReplica(r, p) : tunnel(CLIENT, r.address, tagged(p)))),
  ];
  const world = { race: 1 } as const;
  return [
    row(c, {
      name: "in the gateway's own race the origin gets [C→S] untagged, replicas get the form of the configuration",
      world,
      in: [syn()],
      out: sent(synToWan(c)),
      counts: { 'pass.syn-raced': 1, 'emit.syn-copy': 2 },
    }),
    row(c, {
      name: 'a bad checksum stays bad in every copy [MIDDLEBOX 29]',
      world,
      in: [syn({ spoil: 77 })],
      out: sent(withTcp(synToWan(c), { spoil: 77 })),
      counts: { 'pass.syn-raced': 1, 'emit.syn-copy': 2 },
    }),
    row(c, {
      name: 'a retransmitted SYN is sent to each of them again',
      world,
      given: [[syn()]],
      everyMs: LATER_MS,
      in: [syn()],
      out: sent(synToWan(c)),
      counts: { 'pass.syn-retransmitted-raced': 1, 'emit.syn-copy': 2 },
    }),
    row(c, {
      name: 'a SYN that is repeated within 200 ms is sent to none of them',
      world,
      given: [[syn()]],
      in: [syn(), syn(), syn()],
      out: [],
      counts: { 'drop.syn-repeated-early': 3 },
    }),
    row(c, {
      name: 'a SYN that the client repeats at once after it has reset an old connection is sent to each, once [MIDDLEBOX 24]',
      world,
      given: [[syn()], [asService('A', { ack: 77 })], [fromClient('R', { seq: 77, ack: 0 })]],
      in: [syn(), syn()],
      out: sent(synToWan(c)),
      counts: { 'pass.syn-retransmitted-raced': 1, 'emit.syn-copy': 2, 'drop.syn-repeated-early': 1 },
    }),
    row(c, {
      name: "a SYN with payload goes to one machine only, in the gateway's own races too",
      world,
      in: [syn({ payload: text('GET /') })],
      out: [syn({ payload: text('GET /') })],
      counts: { 'pass.syn-with-payload': 1 },
    }),
    // In configuration B a replica's challenge ACK comes outside a tunnel, as the origin's would, so the client
    // answers it.
    ...(c === 'B'
      ? []
      : [
          row(c, {
            name: "after a replica's challenge ACK the replica is reset, exactly, and gets the SYN again [MIDDLEBOX 24]",
            world,
            given: [[syn()]],
            in: [answerOnWan(c, R1, withTcp(synAck(), { flags: 'A', ack: 1234, options: [] }))],
            out: [
              resetOnWan(c, R1, 1234),
              c === 'A' ? toReplica(R1, synToWan(c)) : tunnel(CLIENT, R1.address, tagged(synToWan(c))),
            ],
            counts: { 'drop.ack-outside': 1, 'emit.loser-reset': 1, 'emit.syn-after-challenge': 1 },
          }),
        ]),
  ];
}

export const gatewayTag: Row[] = CONFIGURATIONS.flatMap((c) => [...tagging(c), ...own(c)]);
