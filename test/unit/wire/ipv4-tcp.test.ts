import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as ipv4 from '../../../src/wire/ipv4.js';
import * as tcp from '../../../src/wire/tcp.js';
import { anyPacket, octet, port, quad } from '../../support/arbitrary.js';
import { asService, fromClient, ip, tcp as segment, syn } from '../../support/builder.js';
import { encode, type Packet, parse } from '../../support/naive.js';

const word = (text: string): number => text.split('.').reduce((w, part) => (w << 8) | Number(part), 0);
const viewOf = (bytes: ArrayLike<number>): DataView =>
  new DataView(Uint8Array.from([9, 9, ...Array.from(bytes)]).buffer);
const bytesOf = (view: DataView): number[] => [...new Uint8Array(view.buffer)].slice(2);

describe('IPv4 and TCP headers', () => {
  it('read what the naive codec wrote', () => {
    fc.assert(
      fc.property(anyPacket, (p) => {
        const bytes = encode(p);
        const view = viewOf(bytes);
        const t = parse(bytes)!.packet.body as Packet['body'] & { kind: 'tcp' };
        expect(ipv4.checkLength(view, 2, bytes.length)).toBe(true);
        expect(ipv4.checkChecksum(view, 2)).toBe(true);
        expect(ipv4.saddr(view, 2)).toBe(word(p.src));
        expect(ipv4.daddr(view, 2)).toBe(word(p.dst));
        expect(ipv4.totalLength(view, 2)).toBe(bytes.length);
        expect(ipv4.headerLength(view, 2)).toBe(20 + p.ipOptions.length);
        expect([ipv4.ttl(view, 2), ipv4.tos(view, 2), ipv4.id(view, 2)]).toEqual([p.ttl, p.tos, p.id]);
        expect(ipv4.ecn(view, 2)).toBe(p.tos & 3);
        expect(ipv4.dontFragment(view, 2)).toBe(p.df);
        expect(ipv4.isFragment(view, 2)).toBe(false);
        const l4 = 2 + ipv4.headerLength(view, 2);
        expect(tcp.checkLength(view, l4, bytes.length - 20 - p.ipOptions.length)).toBe(true);
        expect([tcp.sport(view, l4), tcp.dport(view, l4)]).toEqual([t.sport, t.dport]);
        expect([tcp.seq(view, l4) >>> 0, tcp.ackSeq(view, l4) >>> 0]).toEqual([t.seq, t.ack]);
        expect(tcp.dataOffset(view, l4)).toBe(20 + t.options.length);
        expect(tcp.isSyn(tcp.flags(view, l4))).toBe(/^[^RA]*S[^RA]*$/.test(t.flags));
        expect(tcp.isSynAck(tcp.flags(view, l4))).toBe(
          t.flags.includes('S') && t.flags.includes('A') && !t.flags.includes('R'),
        );
      }),
    );
  });

  it('agree with the naive codec on which bytes are a packet', () => {
    const mutated = fc
      .tuple(anyPacket, fc.array(fc.tuple(fc.nat(45), octet), { maxLength: 3 }), fc.nat(300))
      .map(([p, edits, cut]) => {
        const bytes = encode(p);
        for (const [i, value] of edits) if (i < bytes.length) bytes[i] = value;
        return cut < bytes.length ? bytes.slice(0, cut) : bytes;
      });
    let whole = 0;
    fc.assert(
      fc.property(fc.oneof(mutated, fc.array(octet, { maxLength: 60 })), (bytes) => {
        const view = viewOf(bytes);
        let sound = ipv4.checkLength(view, 2, bytes.length);
        if (sound && ipv4.protocol(view, 2) === ipv4.PROTO_TCP && !ipv4.isFragment(view, 2)) {
          const header = ipv4.headerLength(view, 2);
          sound = tcp.checkLength(view, 2 + header, ipv4.totalLength(view, 2) - header);
        } else if (sound && ipv4.protocol(view, 2) === ipv4.PROTO_IPIP) return;
        expect(sound).toBe(parse(bytes) !== undefined);
        if (sound) whole++;
      }),
      { numRuns: 3000 },
    );
    expect(whole).toBeGreaterThan(300);
  });

  it('rewrite addresses and ports to the bytes of a packet that was made with them', () => {
    fc.assert(
      fc.property(anyPacket, quad, port, fc.boolean(), (p, to, toPort, source) => {
        const view = viewOf(encode(p));
        const l4 = 2 + ipv4.headerLength(view, 2);
        const from = source ? p.src : p.dst;
        ipv4.setAddress(view, 2, source ? ipv4.SADDR : ipv4.DADDR, word(to));
        tcp.updateForAddress(view, l4, word(from), word(to), false);
        (source ? tcp.setSport : tcp.setDport)(view, l4, toPort, false);
        const body = { ...p.body, ...(source ? { sport: toPort } : { dport: toPort }) } as Packet['body'];
        expect(bytesOf(view)).toEqual(encode({ ...p, ...(source ? { src: to } : { dst: to }), body }));
      }),
    );
  });

  it('change the total length and the ECN field with the checksum', () => {
    const view = viewOf(encode(fromClient('A', {}, { tos: 0xb9 })));
    ipv4.setEcn(view, 2, 3);
    expect(ipv4.tos(view, 2)).toBe(0xbb);
    expect(ipv4.checkChecksum(view, 2)).toBe(true);
    ipv4.setTotalLength(view, 2, 0x1234);
    expect(ipv4.totalLength(view, 2)).toBe(0x1234);
    expect(ipv4.checkChecksum(view, 2)).toBe(true);
    ipv4.setAddress(view, 2, ipv4.DADDR, 0);
    view.setUint8(3, 0);
    expect(ipv4.checkChecksum(view, 2)).toBe(false);
  });

  it('write the same headers as the naive codec', () => {
    const p = ip('10.1.0.7', '203.0.113.10', segment(1, 65535, 'R', { seq: 0xffffffff, window: 0 }), {
      ttl: 64,
      tos: 3,
    });
    const view = viewOf(new Array<number>(40).fill(0xee));
    ipv4.write(view, 2, 3, 40, 0, true, 64, 6, word('10.1.0.7'), word('203.0.113.10'));
    tcp.write(view, 22, 1, 65535, -1, 0, tcp.RST);
    tcp.setCheck(view, 22, (encode(p)[36] << 8) | encode(p)[37]);
    expect(bytesOf(view)).toEqual(encode(p));
  });

  it('tell a SYN without ACK from all other packets', () => {
    const flagsOf = (p: Packet): number => encode(p)[33];
    expect(tcp.isSyn(flagsOf(syn()))).toBe(true);
    expect(tcp.isSyn(flagsOf(syn({ flags: 'SEC' })))).toBe(true);
    for (const flags of ['SA', 'SR', 'A', 'R', 'F', ''])
      expect(tcp.isSyn(flagsOf(syn({ flags })))).toBe(false);
    expect(tcp.isSynAck(flagsOf(asService('SA')))).toBe(true);
    for (const flags of ['S', 'SRA', 'A', 'RA']) expect(tcp.isSynAck(flagsOf(asService(flags)))).toBe(false);
  });
});
