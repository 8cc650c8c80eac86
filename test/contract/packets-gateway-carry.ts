/**
 * The packet table, the gateway after the choice: every other packet of a flow, in both directions, and tunnels that
 * must stay encapsulated.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". MIDDLEBOX: rules of
 * `test/conformance/README.md`.
 */
import {
  asReplica,
  asService,
  CLIENT,
  fromClient,
  ip,
  R1,
  R2,
  raw,
  SERVER_ISN,
  SERVICE,
  STRANGER,
  syn,
  tcp,
  text,
  toReplica,
  tunnel,
  withTcp,
} from '../support/builder.js';
import { frame, type Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import {
  answerOnWan,
  CONFIGURATIONS,
  clientOnWan,
  dataOnWan,
  type Row,
  synAck,
  synAckToClient,
} from './row.js';

const row = (configuration: Configuration, r: Omit<Row, 'role' | 'configuration'>): Row => ({
  role: 'gateway',
  configuration,
  ...r,
});

const TO = { 'pass.to-replica': 1 };
const FROM = { 'pass.from-replica': 1 };
const hello = text('GET / HTTP/1.1\r\n\r\n!');
const page = text('HTTP/1.1 200 OK\r\n\r\n');

function carried(c: Configuration): Row[] {
  const won = [[syn()], [answerOnWan(c, R1, synAck())]];
  const established = [...won, [fromClient('A')]];
  const outward = (name: string, p: Packet, given = won): Row =>
    row(c, { name, given, in: [p], out: [clientOnWan(c, R1, p)], counts: TO });
  const inward = (name: string, p: Packet): Row =>
    row(c, { name, given: established, in: [dataOnWan(c, R1, p)], out: [p], counts: FROM });
  const dropped = (name: string, p: Packet, reason: string): Row =>
    row(c, { name, given: established, in: [p], out: [], counts: { [reason]: 1 } });
  return [
    outward("the client's ACK goes to the winner [602]", fromClient('A')),
    outward(
      'a request goes to the winner, also with an odd number of bytes',
      fromClient('PA', { payload: hello }),
    ),
    outward("the client's FIN goes to the winner", fromClient('FA'), established),
    outward("the client's RST goes to the winner [MIDDLEBOX 22]", fromClient('R'), established),
    outward(
      'IP options, TOS and TTL stay',
      fromClient('A', {}, { ipOptions: [1, 1, 1, 0], tos: 0xb8, ttl: 3 }),
    ),
    outward('a bad checksum stays bad [MIDDLEBOX 29]', fromClient('A', { spoil: 0x1234, payload: hello })),
    row(c, {
      name: 'a retransmission of acknowledged data is carried again [MIDDLEBOX 25]',
      given: [...established, [fromClient('PA', { payload: hello })]],
      in: [fromClient('PA', { payload: hello })],
      out: [clientOnWan(c, R1, fromClient('PA', { payload: hello }))],
      counts: TO,
    }),
    inward("a replica's data reaches the client as the service's", asService('PA', { payload: page })),
    inward('a bad checksum stays bad on the way in', asService('PA', { payload: page, spoil: 0x0042 })),
    inward("a replica's FIN reaches the client", asService('FA')),
    row(c, {
      name: "a replica's RST reaches the client, in the form of the configuration",
      given: established,
      in: [answerOnWan(c, R1, asService('R'))],
      out: [asService('R')],
      counts: FROM,
    }),
    row(c, {
      name: 'after a RST the state stays for 4 minutes [MIDDLEBOX 22]',
      given: [...established, [fromClient('R')]],
      afterMs: 239_000,
      in: [fromClient('A')],
      out: [clientOnWan(c, R1, fromClient('A'))],
      counts: TO,
    }),
    row(c, {
      name: 'after an inexact RST the flow is kept and the challenge ACK passes [MIDDLEBOX 23]',
      given: [...established, [fromClient('R', { seq: 5 })]],
      in: [dataOnWan(c, R1, asService('A', { seq: SERVER_ISN + 1 })), fromClient('A')],
      out: [asService('A', { seq: SERVER_ISN + 1 }), clientOnWan(c, R1, fromClient('A'))],
      counts: { ...TO, ...FROM },
    }),
    row(c, {
      name: 'an established flow may be idle for 2 h 4 min [MIDDLEBOX 20]',
      given: established,
      afterMs: 7_439_000,
      in: [fromClient('A')],
      out: [clientOnWan(c, R1, fromClient('A'))],
      counts: TO,
    }),
    row(c, {
      name: 'an established flow is forgotten after 2 h 4 min',
      given: established,
      afterMs: 7_446_000,
      in: [fromClient('A')],
      out: [fromClient('A')],
      counts: { 'pass.no-flow': 1 },
    }),
    row(c, {
      name: 'a flow outlives the registration of its replica',
      given: established,
      change: { live: [false, false], raced: false },
      in: [fromClient('A'), dataOnWan(c, R1, asService('PA', { payload: page }))],
      out: [clientOnWan(c, R1, fromClient('A')), asService('PA', { payload: page })],
      counts: { ...TO, ...FROM },
    }),
    ...(c === 'B'
      ? [
          row(c, {
            name: "a packet that looks like the origin's passes, because the winner spoofs the origin",
            given: established,
            in: [asService('PA', { payload: page })],
            out: [asService('PA', { payload: page })],
            counts: FROM,
          }),
          dropped('but a RST outside a tunnel does not', asService('R'), 'drop.not-the-winner'),
          dropped(
            "data in the winner's tunnel is dropped",
            answerOnWan(c, R1, asService('PA')),
            'drop.tunnel-inner',
          ),
          dropped(
            "a loser's tunnelled data stays encapsulated",
            answerOnWan(c, R2, asService('PA')),
            'drop.tunnel-inner',
          ),
          dropped("a loser's RST is dropped", answerOnWan(c, R2, asService('R')), 'drop.not-the-winner'),
        ]
      : [
          dropped('the data of an origin that lost is dropped', asService('PA'), 'drop.not-the-winner'),
          dropped('the RST of an origin that lost is dropped', asService('R'), 'drop.not-the-winner'),
          dropped("a loser's data is dropped", answerOnWan(c, R2, asService('PA')), 'drop.not-the-winner'),
          dropped("a loser's RST is dropped", answerOnWan(c, R2, asService('R')), 'drop.not-the-winner'),
        ]),
    row(c, {
      name: 'two clients with the same port do not share a flow [MIDDLEBOX 26]',
      given: established,
      in: [{ ...fromClient('A'), src: '10.1.0.8' }],
      out: [{ ...fromClient('A'), src: '10.1.0.8' }],
      counts: { 'pass.no-flow': 1 },
    }),
  ];
}

function origin(c: Configuration): Row[] {
  const given = [[syn()], [synAck()]];
  const same = (name: string, p: Packet, counts: Record<string, number>): Row =>
    row(c, { name, given, in: [p], out: [p], counts });
  const big = fromClient('PA', { payload: new Array<number>(3000).fill(7) }, { open: { gsoSize: 1400 } });
  return [
    same('[616] after the origin won, the client reaches it unchanged', fromClient('A'), {
      'pass.to-origin': 1,
    }),
    same('[616] and its super-packets too', big, { 'pass.to-origin': 1 }),
    same('after the origin won, a retransmitted SYN reaches it untagged', syn(), { 'pass.to-origin': 1 }),
    same("the origin's data is unchanged", asService('PA', { payload: page }), { 'pass.from-origin': 1 }),
    same("the origin's RST is unchanged", asService('R'), { 'pass.from-origin': 1 }),
    row(c, {
      name: "a replica's data after the origin won is not passed to the client",
      given,
      in: [answerOnWan(c, R1, asService('R'))],
      out: [],
      counts: { 'drop.not-the-winner': 1 },
    }),
  ];
}

/** Checksums that are left open by TSO, and super-packets. */
function offload(c: Configuration): Row[] {
  const given = [[syn()], [answerOnWan(c, R1, synAck())]];
  const payload = new Array<number>(4001).fill(0).map((_, i) => i & 255);
  const open = fromClient('PA', { payload: hello }, { open: { gsoSize: 0 } });
  const big = fromClient('PA', { payload }, { open: { gsoSize: 1400 } });
  if (c === 'C')
    return [
      row(c, {
        name: 'an open checksum is completed when the packet enters the tunnel',
        given,
        in: [open],
        out: [clientOnWan(c, R1, { ...open, open: undefined })],
        counts: TO,
      }),
      row(c, {
        name: 'a super-packet enters the tunnel whole, and the device segments it',
        given,
        in: [big],
        out: [clientOnWan(c, R1, big)],
        counts: TO,
      }),
      row(c, {
        name: "a super-packet's open checksum is not changed, nor an error in it",
        given,
        in: [withTcp(big, { spoil: 0x1234 })],
        out: [clientOnWan(c, R1, withTcp(big, { spoil: 0x1234 }))],
        counts: TO,
      }),
      row(c, {
        name: 'where fragments are allowed, each segment has an identification of its own [RFC 6864]',
        given,
        in: [{ ...big, df: false }, fromClient('A', {}, { df: false })],
        out: [
          tunnel(CLIENT, R1.address, { ...big, df: false }, { id: 0 }),
          tunnel(CLIENT, R1.address, fromClient('A', {}, { df: false }), { id: 3 }),
        ],
        counts: { 'pass.to-replica': 2 },
      }),
    ];
  const back = asService('PA', { payload }, { open: { gsoSize: 1400 } });
  return [
    row(c, {
      name: 'an open checksum stays open',
      given,
      in: [open],
      out: [clientOnWan(c, R1, open)],
      counts: TO,
    }),
    row(c, { name: 'a super-packet is translated', given, in: [big], out: [toReplica(R1, big)], counts: TO }),
    ...(c === 'A'
      ? [
          row(c, {
            name: 'a super-packet to the client is translated',
            given,
            in: [asReplica(R1, back)],
            out: [back],
            counts: FROM,
          }),
        ]
      : []),
  ];
}

/** Which tunnels are decapsulated, and how (RFC 6040). */
function tunnels(c: Configuration): Row[] {
  const given = [[syn()]];
  const pass = (name: string, p: Packet): Row =>
    row(c, { name, given, in: [p], out: [p], counts: { 'pass.tunnel-not-ours': 1 } });
  const forged = (name: string, p: Packet): Row =>
    row(c, { name, given, in: [p], out: [], counts: { 'drop.tunnel-forged': 1 } });
  const answer = answerOnWan(c, R1, synAck());
  const cut = frame(tunnel(SERVICE, CLIENT, asService('A')));
  cut[10 + 20 + 20 + 12] = 0x40; // data offset below 5
  const rows = [
    pass('UDP in a tunnel passes', ip(STRANGER, CLIENT, ip(SERVICE, CLIENT, raw(17, [0, 80, 0, 9])))),
    pass(
      'a tunnel in a tunnel is not decapsulated: nesting is one deep',
      tunnel(SERVICE, CLIENT, answerOnWan('C', R1, synAck())),
    ),
    pass(
      'a fragment in a tunnel is not decapsulated',
      ip(R1.address, CLIENT, ip(SERVICE, CLIENT, raw(6, hello), { df: false, mf: true })),
    ),
    pass(
      'a tunnel between other hosts passes',
      tunnel(STRANGER, CLIENT, ip(STRANGER, CLIENT, tcp(1, 2, 'SA'))),
    ),
    row(c, {
      name: 'a tunnel with a malformed inner packet is dropped',
      given,
      in: [cut, ip(R1.address, CLIENT, raw(4, [0x45, 0, 0, 99]))],
      out: [],
      counts: { 'drop.malformed': 2 },
    }),
  ];
  if (c !== 'A')
    rows.push(
      row(c, {
        name: 'a RST in a tunnel for an unknown flow stays encapsulated',
        in: [answerOnWan(c, R1, asService('R'))],
        out: [],
        counts: { 'drop.tunnel-no-flow': 1 },
      }),
      forged(
        'the service in a tunnel from an unknown host',
        c === 'B' ? tunnel(STRANGER, CLIENT, asReplica(R1, synAck())) : tunnel(STRANGER, CLIENT, synAck()),
      ),
      ...ecn(c),
    );
  if (c === 'A')
    rows.push(forged('there are no tunnels in configuration A', tunnel(R1.address, CLIENT, synAck())));
  if (c === 'B') {
    rows.push(
      forged("configuration B does not accept C's form", tunnel(R1.address, CLIENT, synAck())),
      row(c, {
        name: '[R→C] outside a tunnel wins, because it comes from a registered replica of the service',
        given,
        in: [asReplica(R1, synAck())],
        out: [synAckToClient(c)],
        counts: { 'pass.won-by-replica': 1 },
      }),
    );
  }
  if (c === 'C')
    rows.push(
      row(c, {
        name: '[R→C] outside a tunnel is an ordinary packet of R',
        given,
        in: [asReplica(R1, synAck())],
        out: [asReplica(R1, synAck())],
        counts: { 'pass.not-ours': 1 },
      }),
      row(c, {
        name: 'a replica that may fragment gets distinct identifications from the gateway [RFC 6864]',
        given: [...given, [answer]],
        in: [1, 2].map(() => fromClient('A', {}, { df: false, id: 99 })),
        out: [0, 1].map((id) =>
          tunnel(CLIENT, R1.address, fromClient('A', {}, { df: false, id: 99 }), { id }),
        ),
        counts: { 'pass.to-replica': 2 },
      }),
    );
  return rows;
}

function ecn(c: Configuration): Row[] {
  const answer = (inner: number, outer: number): Packet => {
    const p = answerOnWan(c, R1, { ...synAck(), tos: inner });
    return { ...p, tos: outer };
  };
  return [
    row(c, {
      name: 'congestion marked on the tunnel reaches the client (RFC 6040)',
      given: [[syn()]],
      in: [answer(2, 3)],
      out: [{ ...synAckToClient(c), tos: 3 }],
      counts: { 'pass.won-by-replica': 1 },
    }),
    row(c, {
      name: 'a packet that cannot carry the congestion mark is dropped (RFC 6040)',
      given: [[syn()]],
      in: [answer(0, 3)],
      out: [],
      counts: { 'drop.ecn': 1 },
    }),
  ];
}

export const gatewayCarry: Row[] = CONFIGURATIONS.flatMap((c) => [
  ...carried(c),
  ...origin(c),
  ...offload(c),
  ...tunnels(c),
]);
