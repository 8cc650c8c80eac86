// Segmenting in the addon, through `writeMemory`: the same code as `writeBatch`, with memory instead of a TUN.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VNET_HEADER } from '../../../src/device/device.js';
import * as ipip from '../../../src/wire/ipip.js';
import * as ipv4 from '../../../src/wire/ipv4.js';
import { octet, port, quad } from '../../support/arbitrary.js';
import { CLIENT, fromClient, ip, R1, raw, SERVICE, tcp, tcpOf, tunnel } from '../../support/builder.js';
import { frame, type Packet, parseFrame, type Tcp } from '../../support/naive.js';
import { segmentsOf } from '../../support/naive-segments.js';
import { bytesOf, EINVAL, hex, payloadAndSize, refused, words, write } from '../../support/written.js';

/** Any TCP super-packet. */
const anySuper: fc.Arbitrary<Packet> = fc
  .record({
    src: quad,
    dst: quad,
    ports: fc.tuple(port, port),
    seq: fc.nat(0xffffffff),
    ack: fc.nat(0xffffffff),
    ttl: octet,
    tos: octet,
    id: port,
    df: fc.boolean(),
    flags: fc.subarray([...'FSRPAUEC']),
    window: port,
    ipOptions: words(10),
    options: words(10),
    body: payloadAndSize,
    spoil: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 0xfffe })),
  })
  .map(({ src, dst, ports, seq, ack, flags, window, options, body, spoil, ...more }) => {
    const t = tcp(ports[0], ports[1], flags.join(''), {
      seq,
      ack,
      window,
      options,
      spoil,
      payload: body.payload,
    });
    return ip(src, dst, t, { ...more, open: { gsoSize: body.size } });
  });

describe('an encapsulated super-packet', () => {
  it('leaves as the segments of the naive codec, headers and checksums included', () => {
    fc.assert(
      fc.property(anySuper, port, (p, id) => {
        const inTunnel = tunnel('1.2.3.4', '5.6.7.8', p, { id: p.df ? 0 : id });
        const out = write([frame(inTunnel)]);
        expect(out.map(hex)).toEqual(segmentsOf(inTunnel).map((s) => hex(frame(s))));
        const whole = (p.body as Tcp).spoil === 0;
        for (const f of out) expect(parseFrame(f)?.valid).toBe(whole);
        expect(refused()).toEqual([]);
      }),
    );
  });

  it('of 65,535 bytes, which with its outer header fit no total length', () => {
    const p = fromClient('PA', { payload: bytesOf(65_535 - 40) }, { open: { gsoSize: 1420 } });
    const arena = new Uint8Array(70_000);
    arena.set(frame(p), 100);
    const view = new DataView(arena.buffer);
    const outer = ipip.encapsulate(view, 110, 0x01020304, 0x05060708, 0);
    expect(ipv4.totalLength(view, outer)).toBe(0);
    const out = write([arena.slice(outer - VNET_HEADER, 110 + 65_535)]);
    const expected = segmentsOf(tunnel('1.2.3.4', '5.6.7.8', p));
    expect(out.map(hex)).toEqual(expected.map((s) => hex(frame(s))));
  });

  it('with an ECN mark of the sender (GSO_ECN): only the first segment has CWR', () => {
    const p = tunnel(
      CLIENT,
      R1.address,
      fromClient('PAC', { payload: bytesOf(25) }, { open: { gsoSize: 10 } }),
    );
    const f = frame(p);
    f[1] |= 0x80;
    const flags = write([f]).map((s) => tcpOf(parseFrame(s)!.packet).flags);
    expect(flags).toEqual(['AC', 'A', 'PA']);
  });

  const sound = tunnel(
    CLIENT,
    R1.address,
    fromClient('PA', { payload: bytesOf(25) }, { open: { gsoSize: 10 } }),
  );
  it.each<[string, (f: Uint8Array) => Uint8Array | undefined]>([
    ['a segment size of 0', (f) => void f.fill(0, 4, 6)],
    ['a complete checksum', (f) => void (f[0] = 0)],
    ['another kind of super-packet', (f) => void (f[1] = 4)],
    ['a checksum that starts elsewhere', (f) => void (f[6] = 20)],
    ['a checksum field at another offset', (f) => void (f[8] = 6)],
    ['UDP inside', (f) => void (f[10 + 20 + 9] = 17)],
    ['a fragment inside', (f) => void (f[10 + 20 + 6] = 0x20)],
    ['IPv6 inside', (f) => void (f[10 + 20] = 0x65)],
    ['an inner header below 20 bytes', (f) => void (f[10 + 20] = 0x44)],
    ['an inner header beyond the packet', (f) => f.slice(0, 10 + 20 + 20)],
    ['a data offset below 5', (f) => void (f[10 + 40 + 12] = 0x40)],
    ['a data offset beyond the packet', (f) => void (f[10 + 40 + 12] = 0xf0)],
    ['a wrong inner total length', (f) => void f[10 + 20 + 3]--],
    ['nothing behind the outer header', (f) => f.slice(0, 10 + 20)],
  ])('with %s is not written, and reported', (_, spoil) => {
    const f = frame(sound);
    expect(write([spoil(f) ?? f])).toEqual([]);
    expect(refused()).toEqual([EINVAL]);
  });

  it('that is not encapsulated stays whole, and other packets stay unchanged', () => {
    const others = [
      frame(fromClient('PA', { payload: bytesOf(25) }, { open: { gsoSize: 10 } })),
      frame(tunnel(CLIENT, R1.address, fromClient('PA', { payload: bytesOf(25) }))),
      frame(ip(CLIENT, SERVICE, raw(17, bytesOf(9)))),
      Uint8Array.from([...new Array<number>(10).fill(0), 0x60]),
    ];
    expect(write(others)).toEqual(others);
  });
});
