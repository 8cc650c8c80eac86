/**
 * The packet table, the first replica: which packets it decapsulates, which packets its server receives, and how its
 * answers leave.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". MIDDLEBOX: rules of
 * `test/conformance/README.md`.
 */
import {
  asReplica,
  asService,
  CLIENT,
  fromClient,
  GATEWAY_ID,
  ip,
  linuxOptions,
  ORIGIN,
  R1,
  raw,
  SERVICE,
  STRANGER,
  syn,
  tagged,
  text,
  toReplica,
  tunnel,
  withTcp,
} from '../support/builder.js';
import { encode, frame, type Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import { answerOnWan, bytes, CONFIGURATIONS, type Row, synAck } from './row.js';

const wordsOf = (low: boolean): number[] =>
  [0x20, 1, 0xd, 0xb8].map((b) => (low ? 0 : b)).concat(Array(11).fill(0));
/** A packet of IPv6 without a next header, between documentation addresses; or with a source in ::/64. */
const [WHOLE_V6, LOW_V6] = [false, true].map((low) =>
  bytes(0x60, 0, 0, 0, 0, 0, 59, 64, ...wordsOf(low), 1, ...wordsOf(false), 2),
);

const row = (configuration: Configuration, r: Omit<Row, 'role' | 'configuration'>): Row => ({
  role: 'replica',
  configuration,
  ...r,
});
const copy = (p: Packet): Packet => tunnel(ORIGIN, R1.address, p);
const fromOutside = (p: Packet): Packet => tunnel(CLIENT, R1.address, p);
/** The packet that the local server's kernel receives for a client's packet. */
const delivered = (c: Configuration, p: Packet): Packet => (c === 'A' ? toReplica(R1, p) : p);
const page = text('HTTP/1.1 200 OK\r\n\r\n');
const request = text('GET /');

function cracking(c: Configuration): Row[] {
  const dropped = (name: string, p: Packet, reason: string, world = {}): Row =>
    row(c, { name, world, in: [p], out: [], counts: { [reason]: 1 } });
  const same = (name: string, p: Packet | Uint8Array, reason: string): Row =>
    row(c, { name, in: [p], out: [p], counts: { [reason]: 1 } });
  const cut = frame(copy(tagged(syn())));
  cut[10 + 20 + 20 + 12] = 0x20;
  const options = linuxOptions();
  return [
    row(c, {
      name: 'a genuine copy is decapsulated and its tag removed [410]',
      in: [copy(tagged(syn()))],
      out: [delivered(c, syn())],
      counts: { 'pass.syn-cracked': 1 },
    }),
    row(c, {
      name: 'a bad checksum stays bad [MIDDLEBOX 29]',
      in: [copy(tagged(syn({ spoil: 0x77 })))],
      out: [delivered(c, syn({ spoil: 0x77 }))],
      counts: { 'pass.syn-cracked': 1 },
    }),
    row(c, {
      name: 'a congestion mark on the tunnel is copied to the inner packet (RFC 6040)',
      in: [{ ...copy(tagged(syn({}, { tos: 2 }))), tos: 3 }],
      out: [delivered(c, syn({}, { tos: 3 }))],
      counts: { 'pass.syn-cracked': 1 },
    }),
    dropped('or the packet is dropped (RFC 6040)', { ...copy(tagged(syn())), tos: 3 }, 'drop.ecn'),
    row(c, {
      name: 'an outer header with options is decapsulated too',
      in: [{ ...copy(tagged(syn())), ipOptions: [1, 1, 1, 0] }],
      out: [delivered(c, syn())],
      counts: { 'pass.syn-cracked': 1 },
    }),
    row(c, {
      name: 'a second identical copy is delivered too, because the kernel recognizes it',
      given: [[copy(tagged(syn()))]],
      in: [copy(tagged(syn()))],
      out: [delivered(c, syn())],
      counts: { 'pass.syn-cracked': 1 },
    }),
    row(c, {
      name: 'no server sees a tag: a tag that the client added is removed too [MIDDLEBOX 8]',
      in: [copy(tagged(tagged(syn({ options: [] }))))],
      out: [delivered(c, syn({ options: [] }))],
      counts: { 'pass.syn-cracked': 1 },
    }),
    row(c, {
      name: 'under load the SYN is held for a while, which delays the acknowledgement',
      world: { penaltyUs: 3000 },
      in: [copy(tagged(syn()))],
      out: [],
      counts: { 'hold.syn-under-load': 1 },
      later: [
        { afterUs: 2999, out: [], counts: {} },
        { afterUs: 1, out: [delivered(c, syn())], counts: { 'release.held': 1 } },
      ],
    }),
    row(c, {
      name: 'and is delivered at once when there is no room to hold it',
      world: { penaltyUs: 3000, holdSlots: 1 },
      given: [[copy(tagged(syn({ sport: 4 })))]],
      in: [copy(tagged(syn()))],
      out: [delivered(c, syn())],
      counts: { 'pass.syn-cracked': 1 },
    }),
    dropped('[404] an inactive replica drops SYNs', copy(tagged(syn())), 'drop.inactive', {
      replicaState: 'inactive',
    }),
    dropped('a replica over its rate of new connections drops SYNs', copy(tagged(syn())), 'drop.over-rate', {
      newPerSecond: 0.5,
    }),
    dropped('[404] a draining replica drops SYNs', copy(tagged(syn())), 'drop.draining', {
      replicaState: 'draining',
    }),
    dropped('[408] a busy replica drops SYNs', copy(tagged(syn())), 'drop.busy', { replicaState: 'busy' }),
    dropped('an untagged SYN stays encapsulated', copy(syn()), 'drop.syn-untagged'),
    dropped('a forged tag', copy(tagged(syn(), {}, 'ff'.repeat(16))), 'drop.tag-forged'),
    dropped("another connection's tag", copy(withTcp(tagged(syn()), { seq: 1 })), 'drop.tag-forged'),
    dropped('a key id that is not live', copy(tagged(syn(), { keyId: 4 })), 'drop.tag-forged'),
    dropped('a stale tag', copy(tagged(syn(), { epoch: 0 })), 'drop.tag-stale'),
    dropped('a gateway that is not registered', copy(tagged(syn(), { gatewayId: 99 })), 'drop.tag-foreign'),
    dropped(
      "another gateway's prefix",
      copy(tagged(syn(), { gatewayId: GATEWAY_ID + 1 })),
      'drop.tag-foreign',
    ),
    dropped('no redirection permitted', copy(tagged(syn(), { flags: 0 })), 'drop.tag-foreign'),
    row(c, {
      name: 'a tag that opened a connection before is refused, but not while a client may repeat its SYN',
      given: [[copy(tagged(syn()))]],
      afterMs: 9900,
      in: [copy(tagged(syn()))],
      out: [delivered(c, syn())],
      counts: { 'pass.syn-cracked': 1 },
    }),
    row(c, {
      name: 'a captured tag opens nothing afterwards',
      given: [[copy(tagged(syn()))]],
      afterMs: 10_200,
      in: [copy(tagged(syn()))],
      out: [],
      counts: { 'drop.tag-seen-before': 1 },
    }),
    dropped('a SYN with payload', copy(tagged(syn({ payload: request }))), 'drop.syn-with-payload'),
    dropped(
      'a tag of the wrong length does not count',
      copy(syn({ options: [253, 4, 0xfa, 0x57] })),
      'drop.syn-untagged',
    ),
    same('a tunnel to another address passes', tunnel(ORIGIN, STRANGER, tagged(syn())), 'pass.not-tcp'),
    same(
      'a SYN to a service that it does not carry stays encapsulated',
      copy(tagged({ ...syn(), dst: STRANGER })),
      'pass.tunnel-not-ours',
    ),
    same('nesting is one deep', copy(copy(tagged(syn()))), 'pass.tunnel-not-ours'),
    same(
      'UDP in a tunnel is not decapsulated',
      ip(ORIGIN, R1.address, ip(CLIENT, SERVICE, raw(17, [0, 80, 0, 9]))),
      'pass.tunnel-not-ours',
    ),
    same(
      'a fragment in a tunnel is not decapsulated',
      ip(ORIGIN, R1.address, ip(CLIENT, SERVICE, raw(6, page), { mf: true, df: false })),
      'pass.tunnel-not-ours',
    ),
    row(c, {
      name: 'a malformed packet is dropped',
      in: [cut, bytes(0x45, 0, 0, 20), ip(ORIGIN, R1.address, raw(4, [0x45]))],
      out: [],
      counts: { 'drop.malformed': 3 },
    }),
    same('IPv6 of others passes', WHOLE_V6, 'pass.not-tcp'),
    same('IPv6 with an IPv4 address inside passes', LOW_V6, 'pass.not-ipv4'),
    row(c, {
      name: 'malformed IPv6 is dropped',
      in: [bytes(0x60, 1, 2)],
      out: [],
      counts: { 'drop.malformed': 1 },
    }),
    same('UDP passes', ip(CLIENT, R1.address, raw(17, [0, 80, 0, 9])), 'pass.not-tcp'),
    same("other services' packets pass", { ...asService('PA'), src: STRANGER }, 'pass.not-ours'),
    row(c, {
      name: "the client's packets in a tunnel, of an unknown flow, stay encapsulated",
      in: [fromOutside(fromClient('A'))],
      out: [],
      counts: { [c === 'C' ? 'drop.tunnel-no-flow' : 'drop.tunnel-inner']: 1 },
    }),
    row(c, {
      name: 'an untagged SYN in a tunnel begins no flow',
      in: [fromOutside(syn({ options }))],
      out: [],
      counts: { 'drop.syn-untagged': 1 },
    }),
    ...(c === 'A'
      ? []
      : [
          row(c, {
            name: 'in a full pool the oldest connection that its client has not confirmed makes room',
            world: { maxFlows: 1 },
            given: [[copy(tagged(syn({ sport: 4 })))]],
            in: [copy(tagged(syn()))],
            out: [delivered(c, syn())],
            counts: { 'pass.syn-cracked': 1, 'evict.half-open': 1 },
          }),
        ]),
  ];
}

/** Configuration A: only SYNs pass through the replica's TUN. */
function underA(): Row[] {
  return [
    row('A', {
      name: 'its answers are ordinary packets of R',
      given: [[copy(tagged(syn()))]],
      in: [asReplica(R1, synAck()), synAck()],
      out: [asReplica(R1, synAck()), synAck()],
      counts: { 'pass.not-ours': 2 },
    }),
  ];
}

function answers(c: 'B' | 'C'): Row[] {
  const given = [[copy(tagged(syn()))]];
  const out = (name: string, p: Packet): Row =>
    row(c, { name, given, in: [p], out: [answerOnWan(c, R1, p)], counts: { 'pass.answer-tunnelled': 1 } });
  return [
    out("the kernel's SYN-ACK leaves in the tunnel [442, 462]", synAck()),
    out("the kernel's RST leaves in the tunnel too, never outside", asService('RA', { seq: 0 })),
    out('a bad checksum of an answer stays bad', asService('SA', { spoil: 9, options: linuxOptions() })),
    row(c, {
      name: 'a checksum left open by the local kernel is completed',
      given,
      in: [asService('SA', { options: linuxOptions() }, { open: { gsoSize: 0 } })],
      out: [answerOnWan(c, R1, synAck())],
      counts: { 'pass.answer-tunnelled': 1 },
    }),
    row(c, {
      name: 'an answer to an unknown flow never leaves',
      in: [synAck(), asService('R')],
      out: [],
      counts: { 'drop.answer-no-flow': 2 },
    }),
    row(c, {
      name: 'an answer whose entry no longer exists never leaves',
      given,
      afterMs: 245_300,
      in: [synAck()],
      out: [],
      counts: { 'drop.answer-no-flow': 1 },
    }),
  ];
}

function underB(): Row[] {
  const given = [[copy(tagged(syn()))]];
  const inward = (name: string, p: Packet): Row =>
    row('B', { name, given, in: [toReplica(R1, p)], out: [p], counts: { 'pass.delivered': 1 } });
  const open = { open: { gsoSize: 1400 } };
  return [
    ...answers('B'),
    inward("the client's packets to R become the service's", fromClient('PA', { payload: request })),
    inward(
      'an open checksum stays open, and a super-packet stays whole',
      fromClient('PA', { payload: [...page, ...page] }, open),
    ),
    inward("the client's retransmitted SYN, which goes to the winner", syn()),
    inward("the loser's reset", withTcp(fromClient('R'), { ack: 0, window: 0 })),
    inward("a bad checksum of a client's packet stays bad", fromClient('A', { spoil: 0x3000 })),
    row('B', {
      name: 'an ordinary connection to R itself passes unchanged',
      in: [toReplica(R1, syn()), toReplica(R1, fromClient('A'))],
      out: [toReplica(R1, syn()), toReplica(R1, fromClient('A'))],
      counts: { 'pass.direct': 2 },
    }),
    row('B', {
      name: "packets to R's other ports pass",
      given,
      in: [withTcp(toReplica(R1, fromClient('A')), { dport: 22 })],
      out: [withTcp(toReplica(R1, fromClient('A')), { dport: 22 })],
      counts: { 'pass.not-ours': 1 },
    }),
    row('B', {
      name: 'data and FIN leave outside a tunnel, because the replica spoofs the service',
      given,
      in: [asService('PA', { payload: page }), asService('FA')],
      out: [asService('PA', { payload: page }), asService('FA')],
      counts: { 'pass.answer-bare': 2 },
    }),
    row('B', {
      name: 'an established flow may be idle for 2 h 4 min, even after a copy of its SYN',
      given: [...given, [synAck()], [toReplica(R1, fromClient('A'))], [copy(tagged(syn()))]],
      afterMs: 7_439_000,
      in: [toReplica(R1, fromClient('A'))],
      out: [fromClient('A')],
      counts: { 'pass.delivered': 1 },
    }),
  ];
}

function underC(): Row[] {
  const given = [[copy(tagged(syn()))]];
  const big = asService('PA', { payload: page }, { open: { gsoSize: 10 } });
  const inward = (name: string, p: Packet): Row =>
    row('C', { name, given, in: [fromOutside(p)], out: [p], counts: { 'pass.opened': 1 } });
  return [
    ...answers('C'),
    inward("the client's packets are decapsulated", fromClient('PA', { payload: request })),
    inward("the client's retransmitted SYN, untagged, which goes to the winner", syn()),
    inward("the loser's reset", withTcp(fromClient('R'), { ack: 0, window: 0 })),
    inward('IP options inside stay', fromClient('A', {}, { ipOptions: [1, 1, 1, 0] })),
    inward("a bad checksum of a client's packet stays bad", fromClient('A', { spoil: 0x3000 })),
    row('C', {
      name: 'outer and inner source must be the same',
      given,
      in: [tunnel(STRANGER, R1.address, fromClient('A')), copy(fromClient('A'))],
      out: [],
      counts: { 'drop.tunnel-forged': 2 },
    }),
    row('C', {
      name: 'a SYN in a tunnel from an unknown host is not decapsulated, even for a known flow',
      given,
      in: [tunnel(STRANGER, R1.address, syn())],
      out: [],
      counts: { 'drop.tunnel-forged': 1 },
    }),
    row('C', {
      name: 'a congestion mark on the tunnel is copied to the inner packet, or the packet is dropped (RFC 6040)',
      given,
      in: [
        { ...fromOutside(fromClient('A', {}, { tos: 1 })), tos: 3 },
        { ...fromOutside(fromClient('A')), tos: 3 },
        { ...fromOutside(fromClient('A', {}, { tos: 2 })), tos: 1 },
      ],
      out: [fromClient('A', {}, { tos: 3 }), fromClient('A', {}, { tos: 1 })],
      counts: { 'pass.opened': 2, 'drop.ecn': 1 },
    }),
    row('C', {
      name: 'every packet leaves in the tunnel',
      given,
      in: [asService('PA', { payload: page }), asService('FA'), asService('A', {}, { df: false, id: 3 })],
      out: [
        tunnel(R1.address, CLIENT, asService('PA', { payload: page })),
        tunnel(R1.address, CLIENT, asService('FA')),
        tunnel(R1.address, CLIENT, asService('A', {}, { df: false, id: 3 }), { id: 2 }),
      ],
      counts: { 'pass.answer-tunnelled': 3 },
    }),
    row('C', {
      name: 'a super-packet leaves in the tunnel whole, and the device segments it',
      given,
      in: [big, asService('A', {}, { df: false })],
      out: [
        tunnel(R1.address, CLIENT, big),
        tunnel(R1.address, CLIENT, asService('A', {}, { df: false }), { id: 2 }),
      ],
      counts: { 'pass.answer-tunnelled': 2 },
    }),
    row('C', {
      name: 'packets to R itself pass',
      given,
      in: [toReplica(R1, fromClient('A'))],
      out: [toReplica(R1, fromClient('A'))],
      counts: { 'pass.not-ours': 1 },
    }),
    row('C', {
      name: 'an established flow may be idle for 2 h 4 min, even after a copy of its SYN',
      given: [...given, [synAck()], [fromOutside(fromClient('A'))], [copy(tagged(syn()))]],
      afterMs: 7_439_000,
      in: [fromOutside(fromClient('A'))],
      out: [fromClient('A')],
      counts: { 'pass.opened': 1 },
    }),
    row('C', {
      name: 'padding behind the inner packet is removed',
      given,
      in: [ip(CLIENT, R1.address, raw(4, [...encode(fromClient('A')), 0, 0]))],
      out: [fromClient('A')],
      counts: { 'pass.opened': 1 },
    }),
  ];
}

export const replica: Row[] = [...CONFIGURATIONS.flatMap(cracking), ...underA(), ...underB(), ...underC()];
