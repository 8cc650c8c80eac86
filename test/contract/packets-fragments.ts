/**
 * The packet table, fragments: gateway and replica put them together, and then treat the packet as any other.
 * MIDDLEBOX: rules of `test/conformance/README.md`, here 30.
 */
import {
  asReplica,
  asService,
  CLIENT,
  fragmentsOf,
  fromClient,
  ip,
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
} from '../support/builder.js';
import type { Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import { answerOnWan, CONFIGURATIONS, clientOnWan, dataOnWan, type Row, synAck } from './row.js';

const data = text('0123456789abcdef'.repeat(20));
const loose = { df: false, id: 0x1234 };

function atGateway(c: Configuration): Row[] {
  const row = (r: Omit<Row, 'role' | 'configuration'>): Row => ({ role: 'gateway', configuration: c, ...r });
  const won = [[syn()], [answerOnWan(c, R1, synAck())], [fromClient('A')]];
  const sent = fromClient('PA', { payload: data }, loose);
  // The outer header of a packet that may be fragmented has an identification of its own.
  const out = { ...clientOnWan(c, R1, sent), id: c === 'C' ? 1 : loose.id };
  const pieces = fragmentsOf(sent, 128);
  const page = asService('PA', { payload: data }, loose);
  const onWan = { ...dataOnWan(c, R1, page), id: 0x777 };
  const joined = (n: number): Record<string, number> => ({ 'joined.fragment': n });
  const refused = (name: string, given: Packet[], p: Packet, reason: string): Row =>
    row({ name, given: [...won, given], in: [p], out: [], counts: { [reason]: 1 } });
  return [
    row({
      name: "a client's fragments are put together [rule 30]",
      ...{ given: won, in: pieces, out: [out], counts: { 'pass.to-replica': 1, ...joined(2) } },
    }),
    row({
      name: 'fragments in another order are put together [rule 30]',
      given: won,
      in: [pieces[2], pieces[0], pieces[1]],
      out: [out],
      counts: { 'pass.to-replica': 1, ...joined(2) },
    }),
    row({
      name: 'fragments of another batch are put together, and DF is not kept [rule 30]',
      given: [
        ...won,
        [
          { ...pieces[1], df: true },
          { ...pieces[2], df: true },
        ],
      ],
      in: [{ ...pieces[0], df: true }],
      out: [out],
      counts: { 'pass.to-replica': 1 },
    }),
    row({
      name: "a server's fragments are put together [rule 30]",
      given: won,
      in: fragmentsOf(onWan, 128),
      out: [c === 'C' ? page : { ...page, id: 0x777 }],
      counts: { 'pass.from-replica': 1, ...joined(2) },
    }),
    row({
      name: 'fragments of a packet that is not ours leave as one packet',
      in: fragmentsOf({ ...sent, dst: STRANGER }, 256),
      out: [{ ...sent, dst: STRANGER }],
      counts: { 'pass.not-ours': 1, ...joined(1) },
    }),
    refused(
      'a fragment that the network repeated is dropped',
      [pieces[0]],
      pieces[0],
      'drop.fragment-repeated',
    ),
    refused(
      'a fragment that overlaps another one is dropped [rule 30]',
      [pieces[0]],
      {
        ...pieces[0],
        body: raw(6, [
          ...(pieces[0].body as { bytes: number[] }).bytes.slice(0, 120),
          9,
          9,
          9,
          9,
          9,
          9,
          9,
          9,
        ]),
      },
      'drop.fragment',
    ),
    refused(
      'after an overlap the whole datagram is dropped [rule 30]',
      [pieces[0], { ...pieces[1], fragmentOffset: 8 }, pieces[1]],
      pieces[2],
      'drop.fragment',
    ),
    refused(
      'a first fragment without the whole TCP header is dropped [rule 30]',
      [],
      ip(CLIENT, SERVICE, raw(6, [0, 80, 0, 80, 1, 2, 3, 4]), { mf: true, ...loose }),
      'drop.fragment',
    ),
    refused(
      'a fragment that begins in the TCP header is dropped [rule 30]',
      [],
      ip(CLIENT, SERVICE, raw(6, [1, 2, 3, 4, 5, 6, 7, 8]), { mf: true, fragmentOffset: 1, ...loose }),
      'drop.fragment',
    ),
    refused(
      'a fragment behind the last one is dropped',
      [pieces[0], pieces[2]],
      { ...pieces[1], fragmentOffset: 100 },
      'drop.fragment',
    ),
    refused(
      'a fragment with an odd length that is not the last is malformed',
      [],
      ip(CLIENT, SERVICE, raw(6, new Array<number>(33).fill(1)), { mf: true, ...loose }),
      'drop.malformed',
    ),
    refused(
      'a fragment that ends beyond the largest packet is malformed',
      [],
      ip(CLIENT, SERVICE, raw(6, new Array<number>(40).fill(1)), { fragmentOffset: 8190, ...loose }),
      'drop.malformed',
    ),
    row({
      name: 'fragments that come too late are of no use',
      given: [...won, [pieces[0], pieces[1]]],
      everyMs: 15_100,
      in: [pieces[2]],
      out: [],
      counts: joined(1),
    }),
  ];
}

function atReplica(c: Configuration): Row[] {
  const row = (r: Omit<Row, 'role' | 'configuration'>): Row => ({ role: 'replica', configuration: c, ...r });
  const begun = [[tunnel(ORIGIN, R1.address, tagged(syn()))]];
  const sent = fromClient('PA', { payload: data }, loose);
  const counts = (reason: string, n = 2): Record<string, number> => ({ [reason]: 1, 'joined.fragment': n });
  if (c === 'A')
    return [
      row({
        name: 'fragments to the replica itself leave as one packet',
        in: fragmentsOf(toReplica(R1, sent), 128),
        out: [toReplica(R1, sent)],
        counts: counts('pass.not-ours'),
      }),
      row({
        name: 'a fragment that the network repeated is dropped, one that overlaps too',
        given: [[fragmentsOf(toReplica(R1, sent), 128)[0]]],
        in: [fragmentsOf(toReplica(R1, sent), 128)[0], fragmentsOf(toReplica(R1, sent), 64)[1]],
        out: [],
        counts: { 'drop.fragment-repeated': 2 },
      }),
    ];
  const onWan = c === 'B' ? toReplica(R1, sent) : tunnel(CLIENT, R1.address, sent, { id: 0x777 });
  const page = asService('PA', { payload: data }, loose);
  return [
    row({
      name: "a client's fragments are put together [rule 30]",
      given: begun,
      in: fragmentsOf(onWan, 128),
      out: [sent],
      counts: counts(c === 'B' ? 'pass.delivered' : 'pass.opened'),
    }),
    row({
      name: "the local server's fragments are put together [rule 30]",
      given: begun,
      in: fragmentsOf(page, 128),
      out: [c === 'B' ? page : tunnel(R1.address, CLIENT, page)],
      counts: counts(c === 'B' ? 'pass.answer-bare' : 'pass.answer-tunnelled'),
    }),
    row({
      name: 'a first fragment without the whole TCP header is dropped [rule 30]',
      given: begun,
      in: [ip(CLIENT, R1.address, raw(6, [0, 80, 0, 80, 1, 2, 3, 4]), { mf: true, ...loose })],
      out: [],
      counts: { 'drop.fragment': 1 },
    }),
    row({
      name: "fragments of the replica's own connections leave as one packet",
      in: fragmentsOf(asReplica(R1, page), 128),
      out: [asReplica(R1, page)],
      counts: counts('pass.not-ours'),
    }),
  ];
}

export const fragments: Row[] = CONFIGURATIONS.flatMap((c) => [...atGateway(c), ...atReplica(c)]);
