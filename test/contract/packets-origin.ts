/**
 * The packet table, the origin: which SYNs are copied, to which replicas, when; and which packets its own server
 * receives.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic". MIDDLEBOX: rules of
 * `test/conformance/README.md`.
 */
import {
  CLIENT,
  fromClient,
  GATEWAY_ID,
  icmpError,
  ip,
  ORIGIN,
  option,
  R1,
  R2,
  raw,
  SERVICE,
  STRANGER,
  syn,
  tagged,
  tcpOf,
  text,
  tunnel,
  withTcp,
} from '../support/builder.js';
import { encode, type Packet } from '../support/naive.js';
import { bytes, CONFIGURATIONS, type Row } from './row.js';

const copy = (r: { address: string }, p: Packet, id = 0): Packet => tunnel(ORIGIN, r.address, p, { id });
const GENUINE = { 'tag.genuine': 1 };
const AT_ONCE = { 'pass.syn-to-server': 1, 'emit.copy': 2, ...GENUINE };
const withEol = (p: Packet): Packet => withTcp(p, { options: [...tcpOf(p).options, 0] });

/** An immediate release, as in the published method. */
const immediate: Omit<Row, 'role' | 'configuration'>[] = [
  {
    name: 'a tagged SYN is copied to every replica, tag kept, and passes to the server without it [312, 314]',
    in: [tagged(syn())],
    out: [syn(), copy(R1, tagged(syn())), copy(R2, tagged(syn()))],
    counts: AT_ONCE,
  },
  {
    name: 'an open checksum is completed in the copies',
    in: [tagged(syn({}, { open: { gsoSize: 0 } }))],
    out: [syn({}, { open: { gsoSize: 0 } }), copy(R1, tagged(syn())), copy(R2, tagged(syn()))],
    counts: AT_ONCE,
  },
  {
    name: 'a bad checksum stays bad in every copy [MIDDLEBOX 29]',
    in: [tagged(syn({ spoil: 3 }))],
    out: [syn({ spoil: 3 }), copy(R1, tagged(syn({ spoil: 3 }))), copy(R2, tagged(syn({ spoil: 3 })))],
    counts: AT_ONCE,
  },
  {
    name: 'ECN of the SYN is copied outward, and copies that may fragment have distinct identifications',
    in: [tagged(syn({ flags: 'SEC' }, { tos: 1, df: false, id: 5 }))],
    out: [
      syn({ flags: 'SEC' }, { tos: 1, df: false, id: 5 }),
      ...[R1, R2].map((r, i) => copy(r, tagged(syn({ flags: 'SEC' }, { tos: 1, df: false, id: 5 })), i)),
    ],
    counts: AT_ONCE,
  },
  {
    name: 'a tag at an odd offset before padding is removed; the other options stay [MIDDLEBOX 3]',
    in: [withEol(tagged(syn({ options: [...option.mss(1400), ...option.windowScale] })))],
    out: [
      syn({ options: [...option.mss(1400), ...option.windowScale, 0] }),
      ...[R1, R2].map((r) =>
        copy(r, withEol(tagged(syn({ options: [...option.mss(1400), ...option.windowScale] })))),
      ),
    ],
    counts: AT_ONCE,
  },
  {
    name: 'a tag before another option is removed, and the other option stays',
    in: [
      withTcp(tagged(syn({ options: [] })), {
        options: [...tcpOf(tagged(syn({ options: [] }))).options, 4, 2, 1, 1],
      }),
    ],
    out: [
      syn({ options: [4, 2, 1, 1] }),
      ...[R1, R2].map((r) =>
        copy(r, withTcp(syn(), { options: [...tcpOf(tagged(syn({ options: [] }))).options, 4, 2, 1, 1] })),
      ),
    ],
    counts: AT_ONCE,
  },
  {
    name: 'no server sees a tag: a tag that the client added is removed too [MIDDLEBOX 8]',
    in: [tagged(tagged(syn({ options: [] })))],
    out: [syn({ options: [] }), ...[R1, R2].map((r) => copy(r, tagged(tagged(syn({ options: [] })))))],
    counts: AT_ONCE,
  },
  {
    name: 'a SYN that is retransmitted after its release is copied again',
    given: [[tagged(syn())]],
    in: [tagged(syn())],
    out: [syn(), copy(R1, tagged(syn())), copy(R2, tagged(syn()))],
    counts: AT_ONCE,
  },
  {
    name: 'a captured tag is not copied afterwards: its SYN goes to the server alone',
    given: [[tagged(syn())]],
    afterMs: 10_200,
    in: [tagged(syn())],
    out: [syn()],
    counts: { 'tag.genuine': 1, 'tag.seen-before': 1, 'pass.syn-tag-refused': 1 },
  },
];

const refused = (
  name: string,
  p: Packet,
  count: string,
  world = {},
): Omit<Row, 'role' | 'configuration'> => ({
  name,
  world,
  in: [p],
  out: [withTcp(p, { options: tcpOf(p).options.slice(0, -16) })],
  counts: { 'pass.syn-tag-refused': 1, [count]: 1 },
});
const same = (
  name: string,
  p: Packet | Uint8Array,
  ...counts: string[]
): Omit<Row, 'role' | 'configuration'> => ({
  name,
  in: [p],
  out: [p],
  counts: Object.fromEntries(counts.map((c) => [c, 1])),
});
const flipped = (bit: number) => (tag: number[]) =>
  tag.map((b, i) => (i === bit >> 3 ? b ^ (0x80 >> (bit & 7)) : b));

/** These SYNs are not copied, and no server sees a tag. */
const refusals: Omit<Row, 'role' | 'configuration'>[] = [
  refused('a forged tag', tagged(syn(), {}, 'ff'.repeat(16)), 'tag.forged'),
  refused('a MAC with one bit wrong', tagged(syn(), {}, undefined, flipped(127)), 'tag.forged'),
  refused('a key id that is not live', tagged(syn(), { keyId: 4 }), 'tag.forged'),
  refused("another connection's tag", withTcp(tagged(syn()), { seq: 1 }), 'tag.forged'),
  refused('a stale epoch', tagged(syn(), { epoch: 0 }), 'tag.stale'),
  refused('a gateway that is not registered', tagged(syn(), { gatewayId: 99 }), 'tag.foreign'),
  refused("another gateway's prefix", tagged(syn(), { gatewayId: GATEWAY_ID + 1 }), 'tag.foreign'),
  refused("a client outside the gateway's prefixes", tagged({ ...syn(), src: STRANGER }), 'tag.foreign'),
  refused('another version', tagged(syn(), { version: 3 }), 'tag.foreign'),
  refused('a version of the epoch that is not its own', tagged(syn(), { version: 2 }), 'tag.forged'),
  refused('no redirection permitted', tagged(syn(), { flags: 0 }), 'tag.foreign'),
  refused('a SYN with payload', tagged(syn({ payload: text('GET') })), 'tag.genuine'),
  refused('a service that is not replicable [310]', tagged(syn()), 'tag.genuine', { replicable: false }),
];

const others: Omit<Row, 'role' | 'configuration'>[] = [
  same('an untagged SYN goes to the server, unchanged [MIDDLEBOX 8]', syn(), 'pass.syn-untagged'),
  same(
    'a tag of the wrong length does not count',
    syn({ options: [253, 8, 0xfa, 0x57, 1, 2, 3, 4] }),
    'pass.syn-untagged',
    'tag.malformed',
  ),
  same('malformed options', syn({ options: [8, 40, 1, 1] }), 'pass.syn-untagged', 'tag.malformed'),
  same("another experiment's option is no tag", syn({ options: [253, 4, 0xf9, 0x89] }), 'pass.syn-untagged'),
  same('a packet that is no SYN passes', fromClient('A'), 'pass.not-a-syn'),
  same('a SYN-ACK passes', fromClient('SA'), 'pass.not-a-syn'),
  same('TCP to other ports passes', withTcp(tagged(syn()), { dport: 81 }), 'pass.not-ours'),
  same('an ICMP error passes', icmpError(CLIENT, SERVICE, 3, 4, encode(syn())), 'pass.icmp-error'),
  same('an echo request passes', icmpError(CLIENT, SERVICE, 8, 0, []), 'pass.not-tcp'),
  same(
    'a tunnelled packet passes, because the origin decapsulates none',
    tunnel(STRANGER, SERVICE, tagged(syn())),
    'pass.not-tcp',
  ),
  same('a fragment passes', ip(CLIENT, SERVICE, raw(6, [1, 2]), { mf: true, df: false }), 'pass.fragment'),
  same('IPv6 passes', bytes(0x60, 1, 2), 'pass.not-ipv4'),
  {
    name: 'a malformed packet is dropped',
    in: [bytes(0x45, 0, 0, 20), bytes(...encode(syn()).slice(0, 45))],
    out: [],
    counts: { 'drop.malformed': 2 },
  },
];

/** Synchronized: R1 at 10 ms, R2 and Dmax at 30 ms. */
const synchronized = { serverDelayUs: 30_000, delaysUs: [20_000, 0] };
const held: Omit<Row, 'role' | 'configuration'>[] = [
  {
    name: "a synchronized release holds each copy, and the server's SYN [312]",
    world: synchronized,
    in: [tagged(syn())],
    out: [copy(R2, tagged(syn()))],
    counts: { 'hold.syn-for-server': 1, 'emit.copy': 1, 'queued.copy': 1, ...GENUINE },
    later: [
      { afterUs: 19_999, out: [] },
      { afterUs: 1, out: [copy(R1, tagged(syn()))] },
      { afterUs: 9_999, out: [] },
      { afterUs: 1, out: [syn()] },
      { afterUs: 1_000_000, out: [] },
    ],
  },
  {
    name: 'a retransmission while copies are held is not copied again',
    world: synchronized,
    given: [[tagged(syn())]],
    in: [tagged(syn())],
    out: [],
    counts: { 'drop.syn-held-already': 1, ...GENUINE },
  },
  {
    name: 'nor is a second copy of the SYN in one batch',
    world: synchronized,
    in: [tagged(syn()), tagged(syn())],
    out: [copy(R2, tagged(syn()))],
    counts: {
      'hold.syn-for-server': 1,
      'emit.copy': 1,
      'queued.copy': 1,
      'drop.syn-held-already': 1,
      'tag.genuine': 2,
    },
    later: [{ afterUs: 30_000, out: [copy(R1, tagged(syn())), syn()] }],
  },
  {
    name: 'another ISN while copies are held is another connection',
    world: synchronized,
    given: [[tagged(syn())]],
    in: [tagged(syn({ seq: 9 }))],
    out: [copy(R2, tagged(syn({ seq: 9 })))],
    counts: { 'hold.syn-for-server': 1, 'emit.copy': 1, 'queued.copy': 1, ...GENUINE },
  },
  {
    name: 'a retransmission after the release is raced again',
    world: synchronized,
    given: [[tagged(syn())]],
    afterMs: 1000,
    in: [tagged(syn())],
    out: [copy(R2, tagged(syn()))],
    counts: { 'hold.syn-for-server': 1, 'emit.copy': 1, 'queued.copy': 1, ...GENUINE },
  },
  {
    name: 'a SYN that is not copied is not held either [MIDDLEBOX 15]',
    world: synchronized,
    in: [syn(), tagged(syn(), { epoch: 0 })],
    out: [syn(), syn()],
    counts: { 'pass.syn-untagged': 1, 'pass.syn-tag-refused': 1, 'tag.stale': 1 },
  },
  {
    name: 'when the queue is full copies are sent at once',
    world: { ...synchronized, holdSlots: 1 },
    given: [[tagged(syn({ sport: 5 }))]],
    in: [tagged(syn())],
    out: [syn(), copy(R1, tagged(syn())), copy(R2, tagged(syn()))],
    counts: { ...AT_ONCE, 'late.hold-queue-full': 2 },
  },
  {
    name: 'and a retransmission of such a SYN does not count as held',
    world: { ...synchronized, holdSlots: 1 },
    given: [[tagged(syn({ sport: 5 }))], [tagged(syn())]],
    in: [tagged(syn())],
    out: [syn(), copy(R1, tagged(syn())), copy(R2, tagged(syn()))],
    counts: { ...AT_ONCE, 'late.hold-queue-full': 2 },
  },
  {
    name: 'SYNs are held even if the table of held SYNs is full',
    world: { ...synchronized, maxFlows: 1 },
    given: [[tagged(syn({ sport: 5 }))]],
    in: [tagged(syn())],
    out: [copy(R2, tagged(syn()))],
    counts: { 'hold.syn-for-server': 1, 'emit.copy': 1, 'queued.copy': 1, ...GENUINE },
  },
];

/** Connections whose server is remote and runs the replica role. */
const remote: Omit<Row, 'role' | 'configuration'>[] = [
  {
    name: 'a tagged SYN of a service that is not replicable goes to its remote server alone [310]',
    world: { remoteServer: true, replicable: false },
    in: [tagged(syn())],
    out: [copy(R2, tagged(syn()))],
    counts: { 'drop.syn-to-remote-server': 1, 'emit.copy': 1, ...GENUINE },
  },
  {
    name: 'a remote server of a replicable service gets one copy, as a replica',
    world: { remoteServer: true },
    in: [tagged(syn())],
    out: [copy(R1, tagged(syn())), copy(R2, tagged(syn()))],
    counts: { 'drop.syn-to-remote-server': 1, 'emit.copy': 2, ...GENUINE },
  },
  {
    name: 'an untagged SYN, and a SYN with payload, go to an adjacent server, because no remote server would decapsulate them',
    world: { remoteServer: true, replicable: false },
    in: [syn(), tagged(syn({ payload: text('GET') }))],
    out: [syn(), syn({ payload: text('GET') })],
    counts: { 'pass.syn-untagged': 1, 'pass.syn-tag-refused': 1, ...GENUINE },
  },
];

/** The origin does the same in every configuration. */
export const origin: Row[] = CONFIGURATIONS.flatMap((configuration) =>
  (configuration === 'A'
    ? [...immediate, ...refusals, ...others, ...held, ...remote]
    : immediate.slice(0, 1)
  ).map((r): Row => ({ role: 'origin', configuration, ...r })),
);
