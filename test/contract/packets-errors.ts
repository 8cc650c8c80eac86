/**
 * The packet table, ICMP errors about the packets of flows: who gets them, and what they quote then (RFC 5508, RFC
 * 2003).
 * MIDDLEBOX: rules of `test/conformance/README.md`, here 14, 32, 33 and 35.
 */
import {
  asReplica,
  asService,
  CLIENT,
  fromClient,
  ICMP_MTU,
  icmpAbout,
  ORIGIN,
  R1,
  R2,
  SERVICE,
  STRANGER,
  syn,
  tagged,
  text,
  toReplica,
  tunnel,
  withIcmpChecksum,
  withTcp,
} from '../support/builder.js';
import type { Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import {
  answerOnWan,
  CONFIGURATIONS,
  clientOnWan,
  type Replica,
  type Row,
  synAck,
  synAckToClient,
} from './row.js';

const TOO_BIG = [3, 4] as const;
const HOST_UNREACHABLE = [3, 1] as const;
const TIME_EXCEEDED = [11, 0] as const;
const PARAMETER_PROBLEM = [12, 0] as const;
const ROUTER = STRANGER;
const data = text('x'.repeat(40));
const OVERHEAD = 20;

function atGateway(c: Configuration): Row[] {
  const row = (r: Omit<Row, 'role' | 'configuration'>): Row => ({ role: 'gateway', configuration: c, ...r });
  const won = [[syn()], [answerOnWan(c, R1, synAck())], [fromClient('A')]];
  const wonByOrigin = [[syn()], [synAck()]];
  const sent = fromClient('PA', { payload: data });
  const large = fromClient('PA', { payload: text('y'.repeat(1400)) });
  const page = asService('PA', { payload: data });
  /** An error about what the client sent, as it comes and as the client gets it. */
  const onWan = (kind: readonly [number, number], r: Replica = R1, bytes = 200): Packet =>
    icmpAbout(ROUTER, CLIENT, kind, clientOnWan(c, r, sent), { bytes });
  const mtu = c === 'C' ? ICMP_MTU - OVERHEAD : ICMP_MTU;
  const toClient = (kind: readonly [number, number], bytes = c === 'C' ? 180 : 200): Packet =>
    icmpAbout(ROUTER, CLIENT, kind, sent, { bytes, mtu: kind === TOO_BIG ? mtu : c === 'C' ? 0 : ICMP_MTU });
  const relayed = { 'pass.icmp-relayed': 1 };
  const dropped = (name: string, p: Packet, reason: string): Row =>
    row({ name, given: won, in: [p], out: [], counts: { [reason]: 1 } });
  const passes = (name: string, p: Packet, given: Packet[][]): Row =>
    row({ name, given, in: [p], out: [p], counts: { 'pass.icmp-error': 1 } });
  /** What the sender of a server's packets gets for an error that comes from the LAN. */
  const toSender =
    c === 'A'
      ? icmpAbout(CLIENT, R1.address, TOO_BIG, asReplica(R1, page), { bytes: 200 })
      : tunnel(CLIENT, R1.address, icmpAbout(CLIENT, SERVICE, TOO_BIG, page, { bytes: 200 }));
  const raced = (r: Replica): Packet =>
    c === 'A' ? toReplica(r, syn()) : tunnel(CLIENT, r.address, tagged(syn()));
  const lost = (r: Replica): Packet => icmpAbout(ROUTER, CLIENT, HOST_UNREACHABLE, raced(r), { bytes: 200 });
  const lostOrigin = icmpAbout(ROUTER, CLIENT, HOST_UNREACHABLE, syn(), { bytes: 200 });
  const pending = (name: string, given: Packet[][], p: Packet): Row =>
    row({ name, world: { race: 1 }, given, in: [p], out: [], counts: { 'drop.icmp-others-pending': 1 } });
  return [
    row({
      name: 'fragmentation needed is told to the client as about its own packet [rule 32]',
      ...{ given: won, in: [onWan(TOO_BIG)], out: [toClient(TOO_BIG)], counts: relayed },
    }),
    row({
      name: 'a short quotation of eight bytes of TCP is translated as well [rule 32]',
      given: won,
      in: [onWan(TOO_BIG, R1, c === 'C' ? 48 : 28)],
      out: [toClient(TOO_BIG, 28)],
      counts: relayed,
    }),
    row({
      name: 'the next packet that is too large is refused here [rule 32]',
      given: [...won, [onWan(TOO_BIG)]],
      in: [large],
      out: [{ ...icmpAbout(SERVICE, CLIENT, TOO_BIG, large, { bytes: 548, mtu }), ttl: 64 }],
      counts: { 'drop.too-big': 1, 'emit.too-big': 1 },
    }),
    row({
      name: 'an unreachable host on the way to the winner is told to the client [rules 33, 35]',
      ...{ given: won, in: [onWan(HOST_UNREACHABLE)], out: [toClient(HOST_UNREACHABLE)], counts: relayed },
    }),
    row({
      name: 'an error leaves the flow as it is [rule 33]',
      given: [...won, [onWan(HOST_UNREACHABLE)]],
      in: [sent],
      out: [clientOnWan(c, R1, sent)],
      counts: { 'pass.to-replica': 1 },
    }),
    dropped(
      'an error about another machine than the winner is dropped',
      onWan(TOO_BIG, R2),
      'drop.icmp-about-loser',
    ),
    dropped(
      'an error with a wrong checksum is dropped [rule 33]',
      withIcmpChecksum(onWan(TOO_BIG), 0x1234),
      'drop.icmp-checksum',
    ),
    passes('an error about no flow passes', onWan(TOO_BIG), []),
    passes(
      "an error about the origin's flow passes",
      icmpAbout(ROUTER, CLIENT, TOO_BIG, sent, { bytes: 200 }),
      wonByOrigin,
    ),
    passes(
      "this host's own answer to a packet that is too large passes",
      icmpAbout(ROUTER, CLIENT, TOO_BIG, sent, { bytes: 200 }),
      won,
    ),
    dropped(
      'an error about the SYN to the losing origin is dropped',
      icmpAbout(ROUTER, CLIENT, HOST_UNREACHABLE, syn(), { bytes: 200 }),
      'drop.icmp-about-loser',
    ),
    row({
      name: "an error about a server's packet goes to the machine that sent it [rule 32]",
      given: won,
      in: [icmpAbout(CLIENT, SERVICE, TOO_BIG, page, { bytes: 200 })],
      out: [toSender],
      counts: relayed,
    }),
    passes(
      "an error about the origin's packet goes to the origin",
      icmpAbout(CLIENT, SERVICE, TOO_BIG, page, { bytes: 200 }),
      wonByOrigin,
    ),
    pending("an error on one replica's path is its loss alone [rule 14]", [[syn()]], lost(R1)),
    pending("an error on the origin's path is its loss alone [rule 14]", [[syn()]], lostOrigin),
    pending(
      'an error that quotes another SYN changes nothing',
      [[syn()], [lostOrigin], [lost(R1)]],
      icmpAbout(ROUTER, CLIENT, HOST_UNREACHABLE, withTcp(raced(R2), { seq: 7 }), { bytes: 200 }),
    ),
    row({
      name: 'another candidate wins after an error [rule 14]',
      world: { race: 1 },
      given: [[syn()], [lostOrigin], [lost(R1)]],
      in: [answerOnWan(c, R2, synAck())],
      out: [synAckToClient(c)],
      counts: { 'pass.won-by-replica': 1 },
    }),
    row({
      name: 'when every path refused, the client is told [rule 14]',
      world: { race: 1 },
      given: [[syn()], [lostOrigin], [lost(R1)]],
      in: [lost(R2)],
      out: [
        icmpAbout(ROUTER, CLIENT, HOST_UNREACHABLE, c === 'A' ? syn() : tagged(syn()), {
          ...{ bytes: c === 'A' ? 200 : 180, mtu: c === 'A' ? ICMP_MTU : 0 },
        }),
      ],
      counts: relayed,
    }),
    ...(c === 'C'
      ? [
          row({
            name: 'time exceeded inside the tunnel becomes host unreachable [rule 35]',
            given: won,
            in: [onWan(TIME_EXCEEDED)],
            out: [icmpAbout(ROUTER, CLIENT, HOST_UNREACHABLE, sent, { bytes: 180, mtu: 0 })],
            counts: relayed,
          }),
          dropped(
            'a parameter problem of the outer header is not relayed [rule 35]',
            onWan(PARAMETER_PROBLEM),
            'drop.icmp-about-outer-header',
          ),
          dropped(
            'a quotation that ends in the inner header is not relayed',
            onWan(TOO_BIG, R1, 28),
            'drop.icmp-quotes-too-little',
          ),
        ]
      : []),
  ];
}

function atReplica(c: Configuration): Row[] {
  const row = (r: Omit<Row, 'role' | 'configuration'>): Row => ({ role: 'replica', configuration: c, ...r });
  const begun = [[tunnel(ORIGIN, R1.address, tagged(syn()))]];
  const page = asService('PA', { payload: data });
  const told = icmpAbout(ROUTER, SERVICE, TOO_BIG, page, { bytes: 200 });
  const inTunnel = (from: string, p = told): Packet => tunnel(from, R1.address, p);
  const aboutTunnel = (kind: readonly [number, number], bytes = 200): Packet =>
    icmpAbout(ROUTER, R1.address, kind, tunnel(R1.address, CLIENT, page), { bytes });
  const passes = (name: string, p: Packet, reason: string, given: Packet[][] = begun): Row =>
    row({ name, given, in: [p], out: [p], counts: { [reason]: 1 } });
  const dropped = (name: string, p: Packet, reason: string, given: Packet[][] = begun): Row =>
    row({ name, given, in: [p], out: [], counts: { [reason]: 1 } });
  const echo = icmpAbout(ROUTER, R1.address, [8, 0], page, { bytes: 40 });
  const foreign = [
    passes('an echo request passes', echo, 'pass.not-tcp'),
    passes(
      "an error about the replica's own packet passes",
      icmpAbout(ROUTER, R1.address, TOO_BIG, asReplica(R1, page), { bytes: 200 }),
      'pass.icmp-error',
    ),
    passes('an echo request in a tunnel stays there', inTunnel(ORIGIN, echo), 'pass.tunnel-not-ours'),
  ];
  if (c === 'A')
    return [...foreign, passes('an error in a tunnel stays there', inTunnel(CLIENT), 'pass.tunnel-not-ours')];
  const relayed = { 'pass.icmp-relayed': 1 };
  return [
    ...foreign,
    row({
      name: 'an error that the gateway or the origin sends in a tunnel is delivered [rule 32]',
      ...{ given: begun, in: [inTunnel(CLIENT), inTunnel(ORIGIN)], out: [told, told] },
      counts: { 'pass.icmp-relayed': 2 },
    }),
    dropped('an error about no flow is dropped', inTunnel(CLIENT), 'drop.tunnel-no-flow', []),
    dropped(
      'an error with a wrong checksum is dropped [rule 33]',
      inTunnel(CLIENT, withIcmpChecksum(told, 0x1234)),
      'drop.icmp-checksum',
    ),
    ...(c === 'B'
      ? []
      : [
          row({
            name: "an error about the tunnel is told to the local server in the service's terms [rules 32, 35]",
            given: begun,
            in: [aboutTunnel(TOO_BIG)],
            out: [icmpAbout(ROUTER, SERVICE, TOO_BIG, page, { bytes: 180, mtu: ICMP_MTU - OVERHEAD })],
            counts: relayed,
          }),
          row({
            name: 'time exceeded inside the tunnel becomes host unreachable [rule 35]',
            given: begun,
            in: [aboutTunnel(TIME_EXCEEDED)],
            out: [icmpAbout(ROUTER, SERVICE, HOST_UNREACHABLE, page, { bytes: 180, mtu: 0 })],
            counts: relayed,
          }),
          dropped(
            'a parameter problem is not relayed',
            aboutTunnel(PARAMETER_PROBLEM),
            'drop.icmp-about-outer-header',
          ),
          dropped(
            'an error about the tunnel with a wrong checksum is dropped',
            withIcmpChecksum(aboutTunnel(TOO_BIG), 0x1234),
            'drop.icmp-checksum',
          ),
          passes(
            'an error about a tunnel without a flow passes',
            aboutTunnel(TOO_BIG),
            'pass.icmp-error',
            [],
          ),
          passes('an error that quotes too little passes', aboutTunnel(TOO_BIG, 28), 'pass.icmp-error'),
        ]),
  ];
}

function atOrigin(c: Configuration): Row[] {
  const row = (r: Omit<Row, 'role' | 'configuration'>): Row => ({ role: 'origin', configuration: c, ...r });
  const page = asService('PA', { payload: data });
  const told = (dst = CLIENT): Packet =>
    icmpAbout(ROUTER, SERVICE, TOO_BIG, { ...page, dst }, { bytes: 200 });
  const copies = [R1, R2].map((r) => tunnel(ORIGIN, r.address, told()));
  const passes = (name: string, p: Packet): Row =>
    row({ name, in: [p], out: [p], counts: { 'pass.icmp-error': 1 } });
  return [
    row({
      name: 'an error about a server that spoofs goes to every replica, and to the own server [rule 32]',
      in: [told()],
      out: c === 'B' ? [told(), ...copies] : [told()],
      counts: { 'pass.icmp-error': 1, ...(c === 'B' ? { 'emit.icmp-relayed': 2 } : {}) },
    }),
    passes("an error about a packet to no gateway's client passes", told(STRANGER)),
    passes('an error with a wrong checksum is not copied', withIcmpChecksum(told(), 0x1234)),
    ...(c === 'B'
      ? [
          row({
            name: 'more errors than a tenth of a second allows are not copied',
            given: [Array.from({ length: 20 }, () => told())],
            in: [told()],
            out: [told()],
            counts: { 'pass.icmp-error': 1, 'limit.icmp-relayed': 1 },
            ticks: false,
          }),
        ]
      : []),
  ];
}

export const errors: Row[] = CONFIGURATIONS.flatMap((c) => [
  ...atGateway(c),
  ...atReplica(c),
  ...atOrigin(c),
]);
