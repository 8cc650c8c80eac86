/**
 * A service-level router's pipeline under packets of every kind, whole, damaged and made up: nothing throws, every packet has
 * one verdict, and what it writes is well-formed where what it read was.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip, raw, tcp, tunnel } from '../support/builder.js';
import { MORE, SEED } from '../support/fuzz.js';
import { sums } from '../support/harness.js';
import { checksum, frame, type Packet, parseFrame } from '../support/naive.js';
import {
  BESIDE,
  CLIENT,
  CLIENT6,
  MEMBERS,
  MEMBERS6,
  neighbours,
  OWN,
  OWN6,
  SlrHarness,
  snapshot,
  snapshot6,
  UPPER,
  UPPER6,
  VIRTUAL,
  VIRTUAL6,
} from '../support/slr.js';
import { error6, frame6, isSound6, tunnel6, udp6, withHops } from '../support/v6.js';

const port = fc.integer({ min: 1000, max: 1010 });
const flags = fc.constantFrom('S', 'SA', 'A', 'PA', 'FA', 'R', 'RA', '');
const payload = fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 40 });
const end = fc.constantFrom(CLIENT, VIRTUAL, OWN, UPPER, BESIDE, ...MEMBERS, '192.0.2.77');

const ofTcp = fc
  .tuple(end, end, port, flags, payload, fc.integer({ min: 1, max: 64 }))
  .map(
    ([src, dst, p, f, bytes, ttl]): Packet =>
      ip(src, dst, tcp(p, 80, f, { payload: bytes, ack: 9 }), { ttl }),
  );
/** UDP with any ports, among them those of shortcuts and news. */
const ofUdp = fc
  .tuple(end, end, fc.constantFrom(53, 7418, 7419), payload)
  .map(([src, dst, p, bytes]): Packet => {
    const length = 8 + bytes.length;
    return ip(src, dst, raw(17, [p >> 8, p & 255, p >> 8, p & 255, 0, length, 0, 0, ...bytes]));
  });
const ofIcmp = fc
  .tuple(end, end, fc.constantFrom(0, 3, 8, 11, 12), payload)
  .map(([src, dst, type, bytes]): Packet => {
    const sum = checksum([type, 4, 0, 0, 0, 0, 5, 0, ...bytes]);
    return ip(src, dst, raw(1, [type, 4, sum >> 8, sum & 255, 0, 0, 5, 0, ...bytes]));
  });
const plain = fc.oneof({ weight: 3, arbitrary: ofTcp }, ofUdp, ofIcmp);
const any = fc.oneof(
  { weight: 2, arbitrary: plain },
  fc.tuple(end, plain).map(([from, inner]) => tunnel(from, OWN, inner)),
);

const settings = { numRuns: 300 * MORE, seed: SEED };

describe('a service-level router', () => {
  it('gives each packet one verdict, and writes well-formed packets', () => {
    fc.assert(
      fc.property(fc.array(any, { minLength: 1, maxLength: 30 }), (packets) => {
        const h = new SlrHarness(snapshot([0, 1], { neighbours: neighbours(BESIDE) }), 64);
        const out = h.sendFrames(packets.map(frame));
        const s = sums(h.counts());
        expect(s.pass + s.drop + s.joined).toBe(packets.length);
        for (const f of out) expect(parseFrame(f)?.valid, Buffer.from(f).toString('hex')).toBe(true);
        h.advance(100_000);
      }),
      settings,
    );
  });

  it('stands packets of which bytes were changed or are missing', () => {
    const damaged = fc
      .tuple(any, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat())
      .map(([p, at, by, cut]) => {
        const bytes = frame(p);
        bytes[10 + (at % (bytes.length - 10))] ^= by;
        return cut % 3 === 0 ? bytes.subarray(0, 10 + 1 + (cut % (bytes.length - 11))) : bytes;
      });
    fc.assert(
      fc.property(fc.array(damaged, { minLength: 1, maxLength: 30 }), (frames) => {
        const h = new SlrHarness(snapshot([0, 1], { neighbours: neighbours(BESIDE) }), 64);
        h.sendFrames(frames);
        const s = sums(h.counts());
        expect(s.pass + s.drop + s.joined).toBe(frames.length);
      }),
      settings,
    );
  });
});

describe('a service-level router with IPv6', () => {
  const end6 = fc.constantFrom(CLIENT6, VIRTUAL6, OWN6, UPPER6, ...MEMBERS6, '2001:db8:99::1');
  const hops = fc.integer({ min: 1, max: 64 });
  const tcp6 = fc
    .tuple(end6, end6, port, flags, payload, hops)
    .map(([src, dst, sport, f, bytes, left]) =>
      withHops(frame6({ src, dst, sport, flags: f, payload: bytes, ack: 9 }), left),
    );
  const datagram6 = fc
    .tuple(end6, end6, port, payload)
    .map(([src, dst, sport, bytes]) => udp6(src, dst, sport, 53, bytes));
  const carried6 = fc.oneof(tcp6, datagram6);
  const tunnelled6 = (inner: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
    fc.tuple(end6, inner).map(([from, f]) => tunnel6(f, from, OWN6));
  const ownTunnel6 = fc
    .tuple(fc.constantFrom(...MEMBERS6), carried6)
    .map(([member, f]) => tunnel6(f, OWN6, member));
  const icmp6 = fc
    .tuple(end6, end6, fc.constantFrom(1, 2, 3, 4, 128), fc.oneof(carried6, ownTunnel6))
    .map(([src, dst, type, quotes]) => error6({ src, dst, type, mtu: 1400, quotes }));
  const plain6 = fc.oneof({ weight: 3, arbitrary: carried6 }, icmp6);
  const any6 = fc.oneof({ weight: 2, arbitrary: plain6 }, tunnelled6(plain6), tunnelled6(tunnelled6(plain6)));
  const router = (): SlrHarness =>
    new SlrHarness(snapshot6([0, 1], [0, 1], { neighbours: neighbours(BESIDE) }), 64);

  it('gives each packet of both families one verdict, and writes well-formed packets', () => {
    const both = fc.oneof(any6, any.map(frame));
    fc.assert(
      fc.property(fc.array(both, { minLength: 1, maxLength: 30 }), (frames) => {
        const h = router();
        const out = h.sendFrames(frames);
        const s = sums(h.counts());
        expect(s.pass + s.drop + s.joined).toBe(frames.length);
        const isSound = (f: Uint8Array): boolean =>
          f[10] >>> 4 === 6 ? isSound6(f) : parseFrame(f)?.valid === true;
        for (const f of out) expect(isSound(f), Buffer.from(f).toString('hex')).toBe(true);
        h.advance(100_000);
      }),
      settings,
    );
  });

  it('stands packets of which bytes were changed or are missing', () => {
    const damaged = fc
      .tuple(any6, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat())
      .map(([f, at, by, cut]) => {
        const bytes = f.slice();
        bytes[10 + (at % (bytes.length - 10))] ^= by;
        return cut % 3 === 0 ? bytes.subarray(0, 10 + 1 + (cut % (bytes.length - 11))) : bytes;
      });
    fc.assert(
      fc.property(fc.array(damaged, { minLength: 1, maxLength: 30 }), (frames) => {
        const h = router();
        h.sendFrames(frames);
        const s = sums(h.counts());
        expect(s.pass + s.drop + s.joined).toBe(frames.length);
      }),
      settings,
    );
  });
});
