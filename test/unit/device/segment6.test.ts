// Segmenting of super-packets in tunnels of IPv6, in the addon, through `writeMemory`.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VNET_HEADER } from '../../../src/device/device.js';
import { parse } from '../../../src/wire/address.js';
import * as ipip6 from '../../../src/wire/ipip6.js';
import { frame6, tunnel6 } from '../../support/v6.js';
import { bytesOf, EINVAL, hex, refused, write } from '../../support/written.js';

const [CLIENT, SERVICE, R1] = ['2001:db8:1:0:0:0:0:2', '2001:db8:80:0:0:0:0:10', '2001:db8:11:0:0:0:0:2'];
const TUNNEL = Int32Array.from([...parse(SERVICE)!, ...parse(R1)!]);
const OPTIONS = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/** A super-packet with an open checksum, as the kernel writes it to a TUN, in a tunnel made by the code under test. */
function superPacket(
  payload: number[],
  size: number,
  flags: string,
  seq: number,
  options: number[],
): Uint8Array {
  const whole = frame6({ src: CLIENT, dst: SERVICE, flags, seq, payload, options });
  const arena = new Uint8Array(whole.length + 100);
  arena.set(whole, 100);
  const view = new DataView(arena.buffer);
  const [at, header] = [110, 40 + 20 + options.length];
  view.setUint8(at - 10, 1);
  view.setUint8(at - 9, 4);
  view.setUint16(at - 8, header, true);
  view.setUint16(at - 6, size, true);
  view.setUint16(at - 4, 40, true);
  view.setUint16(at - 2, 16, true);
  // The uncomplemented sum of the pseudo header.
  let sum = 6 + whole.length - 10 - 40;
  for (let k = 0; k < 32; k += 2) sum += view.getUint16(at + 8 + k);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(at + 40 + 16, sum);
  const outer = ipip6.encapsulate(view, at, TUNNEL, 0, TUNNEL, 4);
  return arena.slice(outer - VNET_HEADER, at + whole.length - 10);
}

/** The same segments, each made by itself. */
function segments(
  payload: number[],
  size: number,
  flags: string,
  seq: number,
  options: number[],
): Uint8Array[] {
  const count = Math.max(1, Math.ceil(payload.length / size));
  return Array.from({ length: count }, (_, k) => {
    const kept = k === count - 1 ? flags : flags.replace(/[FP]/g, '');
    const part = payload.slice(k * size, (k + 1) * size);
    const inner = {
      src: CLIENT,
      dst: SERVICE,
      flags: kept,
      seq: (seq + k * size) % 2 ** 32,
      payload: part,
      options,
    };
    return tunnel6(frame6(inner), SERVICE, R1);
  });
}

describe('a super-packet in a tunnel of IPv6', () => {
  it('leaves as its segments, headers and checksums included', () => {
    const payloads = fc.integer({ min: 1, max: 3000 });
    fc.assert(
      fc.property(
        payloads,
        fc.integer({ min: 4, max: 1500 }),
        fc.nat(0xffffffff),
        fc.boolean(),
        (n, size, seq, has) => {
          const options = has ? OPTIONS : [];
          const [payload, flags] = [[...bytesOf(n)], n % 2 === 0 ? 'PA' : 'FA'];
          const out = write([superPacket(payload, size, flags, seq, options)]);
          expect(out.map(hex)).toEqual(segments(payload, size, flags, seq, options).map(hex));
          expect(refused()).toEqual([]);
        },
      ),
    );
  });

  it.each<[string, (f: Uint8Array) => Uint8Array | undefined]>([
    ['a segment size of 0', (f) => void f.fill(0, 4, 6)],
    ['a complete checksum', (f) => void (f[0] = 0)],
    ['another kind of super-packet', (f) => void (f[1] = 1)],
    ['a checksum that starts elsewhere', (f) => void (f[6] = 40)],
    ['an extension header inside', (f) => void (f[10 + 40 + 6] = 60)],
    ['IPv4 inside', (f) => void (f[10 + 40] = 0x45)],
    ['a wrong inner length', (f) => void f[10 + 40 + 5]--],
    ['a data offset below 5', (f) => void (f[10 + 80 + 12] = 0x40)],
    ['a data offset beyond the packet', (f) => void (f[10 + 80 + 12] = 0xf0)],
    ['nothing behind the outer header', (f) => f.slice(0, 10 + 40)],
  ])('with %s is not written, and reported', (_, spoil) => {
    const f = superPacket([...bytesOf(25)], 10, 'PA', 1, []);
    expect(write([spoil(f) ?? f])).toEqual([]);
    expect(refused()).toEqual([EINVAL]);
  });
});
