// Coalescing packets that were decapsulated, and segmenting followed by coalescing.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VNET_HEADER } from '../../../src/device/device.js';
import { native } from '../../../src/device/native.js';
import * as ipip from '../../../src/wire/ipip.js';
import { port } from '../../support/arbitrary.js';
import {
  asService,
  CLIENT,
  fromClient,
  ip,
  option,
  R1,
  raw,
  SERVICE,
  tunnel,
  withTcp,
} from '../../support/builder.js';
import { frame, type Packet, parse, type Tcp } from '../../support/naive.js';
import { byFlow, segmentsOf } from '../../support/naive-segments.js';
import { Random } from '../../support/random.js';
import { bytesOf, EINVAL, hex, open, payloadAndSize, refused, words, write } from '../../support/written.js';

describe('decapsulated packets', () => {
  const SIZE = 100;
  const big = (n: number, flags = 'A', more: Partial<Packet> = {}): Packet =>
    asService(
      flags,
      { payload: bytesOf(n), options: [1, 1, ...option.timestamps] },
      { ...more, open: { gsoSize: SIZE } },
    );

  it.each([
    ['whole segments', 300, 'A'],
    ['a shorter segment at the end', 350, 'A'],
    ['PSH at the end', 300, 'PA'],
    ['both', 301, 'PA'],
  ])('segments of one flow leave as one super-packet: %s', (_, n, flags) => {
    const p = big(n, flags);
    expect(open(segmentsOf(p)).map(hex)).toEqual([hex(frame(p))]);
    expect(refused()).toEqual([]);
  });

  it('packets that were not decapsulated are not coalesced', () => {
    const frames = segmentsOf(big(300)).map(frame);
    expect(write(frames)).toEqual(frames);
    expect(write(frames, [false, true, false])).toEqual(frames);
  });

  it('packets with an open checksum of a local kernel are coalesced too', () => {
    const p = big(300);
    const frames = segmentsOf(p).map((s, k) => frame(k === 1 ? { ...s, open: { gsoSize: 0 } } : s));
    expect(write(frames, [true, true, true]).map(hex)).toEqual([hex(frame(p))]);
  });

  const change = (k: number, more: Partial<Tcp>, packet: Partial<Packet> = {}): Packet[] =>
    segmentsOf(big(400)).map((s, n) => (n === k ? withTcp({ ...s, ...packet }, more) : s));
  /** The packets, and the number of packets in each frame that is written. */
  const kept: [string, Packet[], number[]][] = [
    ['PSH ends a run', change(1, { flags: 'PA' }), [2, 2]],
    ['a first segment with PSH is written alone', change(0, { flags: 'PA' }), [1, 3]],
    ['a bad checksum stays bad', change(2, { spoil: 5 }), [2, 1, 1]],
    ['a bad checksum of the first segment too', change(0, { spoil: 5 }), [1, 3]],
    ['another window', change(2, { window: 9 }), [2, 1, 1]],
    ['another acknowledgement', change(2, { ack: 9 }), [2, 1, 1]],
    ['another timestamp', change(2, { options: [1, 1, ...option.timestamps.slice(0, 9), 7] }), [2, 1, 1]],
    ['fewer options', change(2, { options: [] }), [2, 1, 1]],
    ['another TTL', change(2, {}, { ttl: 5 }), [2, 1, 1]],
    ['a congestion mark on one segment', change(2, {}, { tos: 3 }), [2, 1, 1]],
    ['fragmentation allowed for one segment', change(2, {}, { df: false }), [2, 1, 1]],
    ['IP options', change(2, {}, { ipOptions: [1, 1, 1, 0] }), [2, 1, 1]],
    ...[...'FSRUEC'].map((flag): [string, Packet[], number[]] => [
      `the flag ${flag}`,
      change(2, { flags: `A${flag}` }),
      [2, 1, 1],
    ]),
    ['no ACK flag', change(2, { flags: '' }), [2, 1, 1]],
    ['a pure acknowledgement between', change(2, { payload: [] }), [2, 1, 1]],
    ['a shorter segment ends a run', change(1, { payload: bytesOf(50) }), [2, 2]],
    ['a longer segment begins a run', change(1, { payload: bytesOf(101) }), [1, 1, 2]],
    ['a gap', segmentsOf(big(500)).filter((_, k) => k !== 2), [2, 2]],
    ['a retransmission', [0, 1, 0, 1, 2].map((k) => segmentsOf(big(300))[k]), [2, 3]],
    ['the wrong order', [1, 0, 2].map((k) => segmentsOf(big(300))[k]), [1, 1, 1]],
    [
      'identifications that matter and are not those of segmentation',
      segmentsOf(big(400, 'A', { df: false, id: 0xfffe })).map((s, k) => (k === 2 ? { ...s, id: 7 } : s)),
      [2, 1, 1],
    ],
    ['consecutive identifications', segmentsOf(big(400, 'A', { df: false, id: 0xfffe })), [4]],
  ];
  it.each(kept)('%s', (_, packets, counts) => {
    const out = open(packets);
    expect(out.length).toBe(counts.length);
    let next = 0;
    for (const [k, n] of counts.entries()) {
      const part = packets.slice(next, next + n);
      next += n;
      if (n === 1) expect(hex(out[k])).toBe(hex(frame(part[0])));
      else {
        const payload = part.flatMap((p) => (p.body as Tcp).payload);
        const { flags } = part[n - 1].body as Tcp;
        const first = { ...part[0], open: { gsoSize: (part[0].body as Tcp).payload.length } };
        expect(hex(out[k])).toBe(hex(frame(withTcp(first, { payload, flags }))));
      }
    }
  });

  it('an inner header whose checksum is bad stays bad', () => {
    const frames = segmentsOf(big(300)).map(frame);
    frames[1][10 + 10] ^= 0x40;
    const before = frames.map((f) => f.slice());
    expect(write(frames, [true, true, true])).toEqual(before);
  });

  it('a super-packet has no more than 65,535 bytes', () => {
    const p = (seq: number, n: number) => asService('A', { seq, payload: bytesOf(n) });
    const out = open([p(0, 30_000), p(30_000, 30_000), p(60_000, 30_000), p(90_000, 1)]);
    expect(out.map((f) => f.length - VNET_HEADER)).toEqual([60_040, 30_041]);
  });

  it('no packet of a flow overtakes another: a packet that was not decapsulated, or a fragment, ends a run', () => {
    const [a, b, c] = segmentsOf(big(300)).map(frame);
    const fragment = frame(ip(SERVICE, CLIENT, raw(6, bytesOf(40)), { fragmentOffset: 5, df: false }));
    const other = frame(fromClient('A'));
    const order = (frames: Uint8Array[], opened: boolean[]): string[] => write(frames, opened).map(hex);
    expect(order([a, fragment, b], [true, false, true])).toEqual([a, fragment, b].map(hex));
    expect(order([a, b, c], [true, false, true])).toEqual([a, b, c].map(hex));
    // Packets in the other direction may overtake.
    expect(order([a, other, b, c], [true, false, true, true])).toEqual([hex(other), hex(frame(big(300)))]);
  });

  it('more flows at the same time than runs', () => {
    const flows = Array.from({ length: 60 }, (_, n) => segmentsOf(withTcp(big(200), { dport: 1000 + n })));
    const mixed = [0, 1].flatMap((k) => flows.map((f) => f[k]));
    const out = open(mixed).flatMap((f) => segmentsOf(superOf(f)));
    expect(byFlow(out)).toEqual(byFlow(mixed));
  });
});

/** The packet of a frame; a super-packet where its virtio header says so. */
function superOf(f: Uint8Array): Packet {
  const parsed = parse(f.subarray(VNET_HEADER), f[1] !== 0)!;
  if (f[1] === 0) return reread(f);
  expect(parsed.valid).toBe(true);
  return { ...parsed.packet, open: { gsoSize: f[4] + 256 * f[5] } };
}
/** The naive codec does not read `spoil`, so it is computed from the right checksum. */
function reread(f: Uint8Array): Packet {
  const { packet } = parse(f.subarray(VNET_HEADER))!;
  const right = frame(packet);
  const header = VNET_HEADER + 20 + packet.ipOptions.length;
  const check = (b: Uint8Array): number => b[header + 16] * 256 + b[header + 17];
  return withTcp(packet, { spoil: (check(f) - check(right) + 0xffff) % 0xffff });
}

/** Segments of several flows; some are changed, lost or duplicated. */
function traffic(random: Random): Packet[] {
  const flows = Array.from({ length: 1 + random.below(4) }, (_, n) => {
    const size = 1 + random.below(200);
    const payload = bytesOf(size * (1 + random.below(12)) + random.below(size), n);
    const options = random.below(2) === 0 ? [] : [1, 1, ...option.timestamps];
    const more = { dport: 1000 + n, seq: random.below(0xffffffff), payload, options };
    const df = random.below(3) > 0;
    return segmentsOf(
      asService(random.pick(['A', 'PA', 'FPA']), more, {
        df,
        id: random.below(0xffff),
        open: { gsoSize: size },
      }),
    );
  });
  const out: Packet[] = [];
  while (flows.some((f) => f.length > 0)) {
    const p = random.pick(flows).shift();
    if (p === undefined) continue;
    const t = p.body as Tcp;
    const kind = random.below(40);
    if (kind === 0) continue;
    if (kind === 1) out.push(p);
    if (kind === 2) out.push(withTcp(p, { spoil: 1 + random.below(0xfffd) }));
    else if (kind === 3) out.push(withTcp(p, { flags: random.pick(['PA', 'EA', 'FA', 'RA', 'S']) }));
    else if (kind === 4) out.push(withTcp(p, { payload: [] }));
    else if (kind === 5) out.push(withTcp(p, { window: t.window + 1 }));
    else if (kind === 6) out.push({ ...p, tos: 3 });
    else if (kind === 7) out.push({ ...p, ttl: 9 });
    else out.push(p);
  }
  return out;
}

describe('segmenting and coalescing', () => {
  it('a super-packet that was segmented and decapsulated is the same after coalescing', () => {
    fc.assert(
      fc.property(
        payloadAndSize,
        fc.boolean(),
        fc.boolean(),
        port,
        words(10),
        (body, push, df, id, options) => {
          const p = fromClient(
            push ? 'PA' : 'A',
            { payload: body.payload, options },
            { df, id, open: { gsoSize: body.size } },
          );
          const segments = write([frame(tunnel(CLIENT, R1.address, p))]);
          const opened = segments.map((f) => {
            const inner = ipip.decapsulate(new DataView(f.buffer), VNET_HEADER);
            return f.slice(inner - VNET_HEADER);
          });
          const out = write(
            opened,
            opened.map(() => true),
          );
          const expected = segments.length === 1 ? { ...p, open: undefined } : p;
          // A run has at most 128 segments; a super-packet of this test has at most 41.
          expect(out.map(hex)).toEqual([hex(frame(expected))]);
        },
      ),
    );
  });

  it('each flow has the same packets in the same order, for any decapsulated packets', () => {
    const random = new Random(7);
    let joined = 0;
    for (let n = 0; n < 1500; n++) {
      const packets = traffic(random);
      const out = open(packets);
      joined += packets.length - out.length;
      expect(byFlow(out.flatMap((f) => segmentsOf(superOf(f))))).toEqual(byFlow(packets));
    }
    expect(joined).toBeGreaterThan(5000);
  });

  it('accepts any bytes, and reads and writes nothing beyond a packet', () => {
    const random = new Random(11);
    const telling = [0, 1, 4, 5, 6, 7, 8, 10, 12, 13, 16, 19, 22, 30, 32, 33, 36, 39, 42, 43, 52, 62, 63];
    for (let n = 0; n < 4000; n++) {
      const frames = traffic(random)
        .slice(0, 8)
        .map((p) => (random.below(2) === 0 ? p : { ...p, open: { gsoSize: 1 + random.below(50) } }))
        .map((p) => frame(random.below(2) === 0 ? p : tunnel(CLIENT, R1.address, p)))
        .map((f) => f.slice(0, random.below(4) === 0 ? VNET_HEADER + 1 + random.below(40) : f.length));
      for (const f of frames)
        for (let e = random.below(3); e > 0; e--) {
          const b = random.below(2) === 0 ? random.pick(telling) : random.below(f.length);
          if (b < f.length) f[b] = random.pick([0, 1, 4, 0x45, 0x50, 0xf0, 0xff, random.below(256)]);
        }
      write(
        frames,
        frames.map(() => random.below(2) === 0),
      );
      for (const error of refused()) expect(error).toBe(EINVAL);
    }
  });

  it('refuses packets outside the arena', () => {
    const arena = new Uint8Array(100);
    const lengths = Int32Array.of(10, 91, -3, 0, 2 ** 31 - 1);
    const at = Int32Array.of(9, 10, 20, 20, 20);
    const out = new Uint8Array(500);
    const n = native.writeMemory(out, new Int32Array(9), arena, at, lengths, 5, new Uint8Array(5).fill(1));
    expect(n).toBe(0);
    expect([...lengths]).toEqual(new Array(5).fill(-14));
  });
});
