import { describe, expect, it } from 'vitest';
import * as icmp from '../../../src/wire/icmp.js';
import * as mss from '../../../src/wire/mss.js';
import * as virtio from '../../../src/wire/virtio.js';
import { CLIENT, fromClient, icmpError, ORIGIN, option, syn } from '../../support/builder.js';
import { encode, frame, type Packet } from '../../support/naive.js';

function place(p: Packet): { view: DataView; at: number; l4: number; bytes: Uint8Array } {
  const bytes = frame(p);
  return { view: new DataView(bytes.buffer), at: 10, l4: 30, bytes };
}

describe('MSS clamping', () => {
  it.each([
    [
      'at an even offset',
      [...option.mss(1460), ...option.windowScale, 0],
      [...option.mss(1440), ...option.windowScale, 0],
    ],
    [
      'at an odd offset',
      [1, ...option.mss(1460), ...option.windowScale],
      [1, ...option.mss(1440), ...option.windowScale],
    ],
    ['of the largest value', option.mss(0xffff), option.mss(1440)],
  ])('lowers the option %s', (_, before, after) => {
    const { view, l4, bytes } = place(syn({ options: before }));
    expect(mss.clamp(view, l4, 1440, false)).toBe(true);
    expect(bytes).toEqual(frame(syn({ options: after })));
  });

  it.each([
    ['a smaller option', option.mss(536)],
    ['an option of exactly the limit', option.mss(1440)],
    ['none', []],
    ['an option of the wrong length', [2, 8, 5, 0xb4, 0, 0, 0, 0]],
    ['an option behind EOL', [0, 0, 0, 0, ...option.mss(1460)]],
  ])('leaves %s alone', (_, options) => {
    const { view, l4, bytes } = place(syn({ options }));
    expect(mss.clamp(view, l4, 1440, false)).toBe(false);
    expect(bytes).toEqual(frame(syn({ options })));
  });

  it('leaves the pseudo-header sum of an open checksum alone', () => {
    const open = { open: { gsoSize: 0 } };
    const { view, l4, bytes } = place(syn({ options: option.mss(1460) }, open));
    expect(mss.clamp(view, l4, 1440, true)).toBe(true);
    expect(bytes).toEqual(frame(syn({ options: option.mss(1440) }, open)));
  });

  it('keeps a bad checksum bad', () => {
    const { view, l4, bytes } = place(syn({ options: [1, ...option.mss(1460), 0, 0, 0], spoil: 5 }));
    mss.clamp(view, l4, 1440, false);
    expect(bytes).toEqual(frame(syn({ options: [1, ...option.mss(1440), 0, 0, 0], spoil: 5 })));
  });
});

describe('ICMP errors', () => {
  const at = 30;
  const error = (type: number, quoted: number[]): [DataView, number] => {
    const bytes = frame(icmpError(ORIGIN, CLIENT, type, 4, quoted));
    return [new DataView(bytes.buffer), bytes.length - at];
  };

  it.each([
    [3, true],
    [11, true],
    [12, true],
    [0, false],
    [8, false],
    [5, false],
    [4, false],
  ])('type %i: %s', (type, is) => {
    const [view, length] = error(type, encode(syn()));
    expect(icmp.isError(view, at, length)).toBe(is);
    expect([icmp.type(view, at), icmp.code(view, at)]).toEqual([type, 4]);
  });

  it('quote a header and eight bytes, or are not used', () => {
    const quote = (quoted: number[]): number => {
      const [view, length] = error(3, quoted);
      return icmp.quotedAt(view, at, length);
    };
    expect(quote(encode(syn()))).toBe(at + 8);
    expect(quote(encode(syn()).slice(0, 27))).toBe(-1);
    expect(quote(encode(syn({}, { ipOptions: [1, 1, 1, 0] })))).toBe(-1);
    expect(quote([0x65, ...encode(syn()).slice(1)])).toBe(-1);
    expect(quote([0x44, ...encode(syn()).slice(1)])).toBe(-1);
    expect(quote([])).toBe(-1);
    const [view] = error(3, encode(syn()));
    expect(icmp.isError(view, at, 7)).toBe(false);
  });
});

describe('the virtio header', () => {
  it('tells an open checksum and a super-packet', () => {
    const big = place(
      fromClient('PA', { payload: new Array<number>(99).fill(1) }, { open: { gsoSize: 50 } }),
    );
    expect(virtio.needsCsum(big.view, big.at)).toBe(true);
    expect(virtio.isGso(big.view, big.at)).toBe(true);
    expect(virtio.gsoSize(big.view, big.at)).toBe(50);
    expect(virtio.csumStart(big.view, big.at)).toBe(20);
    virtio.clear(big.view, big.at);
    expect([...big.bytes.subarray(0, 10)]).toEqual(new Array(10).fill(0));
    expect(big.bytes[10]).toBe(0x45);
  });

  it('is sound when its offsets lie in the packet', () => {
    const { view, at, bytes } = place(fromClient('A'));
    const sound = (...header: number[]): boolean => {
      bytes.set(header);
      return virtio.isSound(view, at, 40);
    };
    expect(sound(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)).toBe(true);
    expect(sound(1, 0, 0, 0, 0, 0, 22, 0, 16, 0)).toBe(true);
    expect(sound(1, 0, 0, 0, 0, 0, 23, 0, 16, 0)).toBe(false);
    expect(sound(1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)).toBe(false);
    expect(sound(0, 1, 0, 0, 0, 0, 0, 0, 0, 0)).toBe(false);
  });

  it('is moved with its packet', () => {
    const bytes = new Uint8Array(40);
    bytes.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 20);
    virtio.move(bytes, 30, 26);
    expect([...bytes.subarray(16, 26)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('completes an open checksum to the value of a full sum', () => {
    for (const payload of [[], [7], [7, 8, 9, 10]]) {
      const { view, at, bytes } = place(fromClient('PA', { payload }, { open: { gsoSize: 0 } }));
      virtio.complete(view, at, 40 + payload.length);
      expect(bytes).toEqual(frame(fromClient('PA', { payload })));
      virtio.complete(view, at, 40 + payload.length);
      expect(bytes).toEqual(frame(fromClient('PA', { payload })));
    }
  });
});
