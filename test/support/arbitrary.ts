/** Arbitrary packets, for fast-check. */
import fc from 'fast-check';
import { ip, tcp } from './builder.js';
import type { Packet } from './naive.js';

export const octet = fc.nat(255);
export const quad = fc.tuple(octet, octet, octet, octet).map((q) => q.join('.'));
export const port = fc.nat(0xffff);
const word32 = fc.nat(0xffffffff);
/** Any well-formed TCP packet. */
export const anyPacket: fc.Arbitrary<Packet> = fc
  .record({
    src: quad,
    dst: quad,
    sport: port,
    dport: port,
    seq: word32,
    ack: word32,
    tos: octet,
    ttl: octet,
    id: port,
    df: fc.boolean(),
    flags: fc.subarray([...'FSRPAUEC']),
    window: port,
    ipOptions: fc.nat(10).chain((n) => fc.array(octet, { minLength: n * 4, maxLength: n * 4 })),
    options: fc.nat(10).chain((n) => fc.array(octet, { minLength: n * 4, maxLength: n * 4 })),
    payload: fc.array(octet, { maxLength: 30 }),
  })
  .map(({ sport, dport, seq, ack, flags, window, options, payload, src, dst, ...more }) =>
    ip(src, dst, tcp(sport, dport, flags.join(''), { seq, ack, window, options, payload }), more),
  );
