import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as ipv4 from '../../../src/wire/ipv4.js';
import * as options from '../../../src/wire/options.js';
import { keyFromBytes } from '../../../src/wire/siphash.js';
import * as tag from '../../../src/wire/tag.js';
import * as tcp from '../../../src/wire/tcp.js';
import {
  EPOCH,
  GATEWAY_ID,
  KEY_ID,
  linuxOptions,
  MASTER,
  NOW_SECONDS,
  option,
  syn,
  tagged,
  tcpOf,
} from '../../support/builder.js';
import { frame, gatewayKey, type Packet, parseFrame } from '../../support/naive.js';

const KEY = keyFromBytes(Uint8Array.from(gatewayKey(MASTER, GATEWAY_ID)));
const HEADROOM = 32;

/** A packet in an arena with headroom; the bytes around it are 0xEE. */
class Place {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at = HEADROOM + 10;
  l4: number;
  constructor(readonly frame: Uint8Array) {
    this.bytes = new Uint8Array(HEADROOM + frame.length + 32).fill(0xee);
    this.bytes.set(frame, HEADROOM);
    this.view = new DataView(this.bytes.buffer);
    this.l4 = this.at + ipv4.headerLength(this.view, this.at);
  }
  insert(epoch = EPOCH, version = tag.VERSION): void {
    const end = options.end(this.view, this.l4, tcp.dataOffset(this.view, this.l4));
    this.at = tag.insert(
      this.view,
      this.bytes,
      this.at,
      this.l4,
      end,
      KEY,
      KEY_ID,
      epoch,
      GATEWAY_ID,
      version,
    );
    this.l4 -= tag.LENGTH;
  }
  find(): number {
    return tag.find(this.view, this.l4);
  }
  authentic(epoch = EPOCH): boolean {
    return tag.isAuthentic(this.view, this.at, this.l4, this.find(), KEY, epoch);
  }
  strip(): void {
    this.at = tag.strip(this.view, this.bytes, this.at, this.l4, this.find());
    this.l4 += tag.LENGTH;
  }
  get now(): Uint8Array {
    return this.bytes.slice(this.at - 10, this.at + ipv4.totalLength(this.view, this.at));
  }
}

/** Options of up to 24 bytes, at even and odd offsets, ended by EOL or not. */
const layout = fc
  .array(
    fc.constantFrom(
      option.nop,
      option.mss(1460),
      option.sackPermitted,
      option.timestamps,
      option.windowScale,
      option.mpCapable,
      [77, 3, 9],
      [99, 5, 1, 2, 3],
    ),
    { maxLength: 9 },
  )
  .map((pieces) => {
    const fit: number[] = [];
    for (const p of pieces) if (fit.length + p.length <= 24) fit.push(...p);
    const padding = (4 - (fit.length % 4)) % 4;
    // RFC 9293: padding is zeros behind an EOL; the receiver ignores these bytes.
    return [...fit, ...(padding === 0 ? [] : [0, ...new Array<number>(padding - 1).fill(0x5a)])];
  });
const anySyn: fc.Arbitrary<Packet> = fc
  .record({
    options: layout,
    sport: fc.nat(0xffff),
    seq: fc.nat(0xffffffff),
    spoil: fc.constantFrom(0, 0, 1, 0x8000),
    open: fc.boolean(),
    ipOptions: fc.constantFrom<number[][]>([], [1, 1, 1, 0]),
  })
  .map(({ open, ipOptions, ...t }) => syn(t, { ipOptions, ...(open ? { open: { gsoSize: 0 } } : {}) }));

describe('the tag', () => {
  it("becomes an origin's own for a replica, with a right checksum where it was right", () => {
    const other = keyFromBytes(Uint8Array.from(gatewayKey(MASTER, 77)));
    fc.assert(
      fc.property(anySyn, fc.nat(15), fc.nat(2 ** 31 - 1), (p, id, epoch) => {
        const place = new Place(frame(p));
        place.insert(epoch, tag.PAIRED);
        const at = place.find();
        tag.relay(place.view, place.at, place.l4, at, other, id, epoch);
        expect([tag.version(place.view, at), tag.isRelayed(place.view, at)]).toEqual([3, true]);
        expect([tag.keyId(place.view, at), tag.gatewayId(place.view, at)]).toEqual([id, GATEWAY_ID]);
        expect(tag.isAuthentic(place.view, place.at, place.l4, at, other, epoch)).toBe(true);
        expect(place.authentic(epoch)).toBe(false);
        // Stripped, it is the client's SYN again, with its checksum.
        place.strip();
        expect(place.now).toEqual(frame(p));
      }),
      { numRuns: 500 },
    );
  });

  it('leaves every byte unchanged when it is inserted and stripped, with any options', () => {
    const offsets = new Set<number>();
    fc.assert(
      fc.property(anySyn, (p) => {
        const before = frame(p);
        const place = new Place(before);
        place.insert();
        offsets.add((place.find() - place.l4) & 3);
        place.strip();
        expect(place.at).toBe(HEADROOM + 10);
        expect(place.now).toEqual(before);
        // No byte behind the packet was changed.
        expect([...place.bytes.subarray(HEADROOM + before.length)]).toEqual(new Array(32).fill(0xee));
      }),
      { numRuns: 1000 },
    );
    expect([...offsets].sort()).toEqual([0, 1, 2, 3]);
  });

  it('leaves the other options byte-identical and in order, and the checksum as valid as it was', () => {
    fc.assert(
      fc.property(anySyn, (p) => {
        const place = new Place(frame(p));
        const own = tcpOf(p).options;
        const end = options.end(place.view, place.l4, tcp.dataOffset(place.view, place.l4)) - place.l4 - 20;
        place.insert();
        const parsed = parseFrame(place.now)!;
        const got = tcpOf(parsed.packet).options;
        expect(got.length).toBe(own.length + 16);
        expect(got.slice(0, end)).toEqual(own.slice(0, end));
        expect(got.slice(end + 16)).toEqual(own.slice(end));
        expect(parsed.valid).toBe(tcpOf(p).spoil === 0);
        expect(place.authentic()).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('is as specified, bit by bit', () => {
    const place = new Place(frame(syn()));
    place.insert();
    expect(place.now).toEqual(frame(tagged(syn())));
    const p = place.find();
    expect([tag.version(place.view, p), tag.keyId(place.view, p), tag.gatewayId(place.view, p)]).toEqual([
      1,
      KEY_ID,
      GATEWAY_ID,
    ]);
    expect(tag.redirectionPermitted(place.view, p)).toBe(true);
  });

  it('fits up to 24 bytes of options', () => {
    const fits = (n: number): boolean => {
      const place = new Place(frame(syn({ options: new Array<number>(n).fill(1) })));
      return tag.fits(place.view, place.l4);
    };
    expect([20, 24, 28, 40].map(fits)).toEqual([true, true, false, false]);
  });

  it('is not authentic once any covered bit is flipped', () => {
    const original = frame(tagged(syn()));
    const start = 10 + 20 + 20 + linuxOptions().length;
    // Addresses, ports, sequence number, and the tag's bytes behind kind, length and ExID.
    const covered = [
      ...Array.from({ length: 8 }, (_, i) => 10 + 12 + i),
      ...Array.from({ length: 8 }, (_, i) => 10 + 20 + i),
      ...Array.from({ length: 12 }, (_, i) => start + 4 + i),
    ];
    const accepted: string[] = [];
    for (const i of covered)
      for (let bit = 0; bit < 8; bit++) {
        const bytes = original.slice();
        bytes[i] ^= 1 << bit;
        if (new Place(bytes).authentic()) accepted.push(`byte ${i}, bit ${bit}`);
      }
    expect(accepted).toEqual([]);
    expect(new Place(original).authentic()).toBe(true);
  });

  it('is authentic for its own key only', () => {
    const place = new Place(frame(tagged(syn(), {}, 'ee'.repeat(16))));
    expect(place.authentic()).toBe(false);
  });

  it('is found by kind and ExID and length', () => {
    const find = (bytes: number[]): number => new Place(frame(syn({ options: bytes }))).find();
    expect(find([254, 16, 0xfa, 0x57, ...new Array<number>(12).fill(0)])).toBe(options.NOT_FOUND);
    expect(find([253, 16, 0xfa, 0x58, ...new Array<number>(12).fill(0)])).toBe(options.NOT_FOUND);
    expect(find([253, 12, 0xfa, 0x57, ...new Array<number>(8).fill(0)])).toBe(options.MALFORMED);
    expect(find([253, 16, 0xfa, 0x57, ...new Array<number>(12).fill(0)])).toBe(HEADROOM + 10 + 40);
  });

  it('is fresh in its epoch and its neighbours, across the wrap', () => {
    for (let own = 0; own < 16; own++) {
      const place = new Place(frame(tagged(syn(), { epoch: own })));
      for (let now = 0; now < 16; now++) {
        const apart = Math.min((own - now + 16) % 16, (now - own + 16) % 16);
        expect(tag.isFresh(place.view, place.find(), now)).toBe(apart <= 1);
      }
    }
    expect(tag.epochOf(NOW_SECONDS) & 15).toBe(EPOCH);
    expect([64 * 16 - 1, 64 * 16].map(tag.epochOf)).toEqual([15, 16]);
  });

  it('of version 2 is as specified, and genuine for three epochs only; one of version 1 is again sixteen later', () => {
    const whole = tag.epochOf(NOW_SECONDS);
    const made = frame(tagged(syn(), { version: 2, epoch: whole }));
    const place = new Place(frame(syn()));
    place.insert(whole, tag.WHOLE_EPOCH);
    expect(place.now).toEqual(made);
    const around = Array.from({ length: 40 }, (_, k) => whole - 20 + k);
    const genuine = (bytes: Uint8Array): number[] => {
      const p = new Place(bytes);
      return around
        .filter((now) => tag.isFresh(p.view, p.find(), now) && p.authentic(now))
        .map((now) => now - whole);
    };
    expect(genuine(made)).toEqual([-1, 0, 1]);
    expect(genuine(frame(tagged(syn(), { epoch: whole })))).toEqual([-17, -16, -15, -1, 0, 1, 15, 16, 17]);
  });
});
