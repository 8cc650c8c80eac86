import { describe, expect, it } from 'vitest';
import { authorsIn } from '../../../src/watch/netlink.js';

/** One netlink message; the lengths and the type are in the host's byte order, attributes' numbers in network order. */
function message(type: number, attributes: readonly [number, Buffer][]): Buffer {
  const parts = attributes.map(([kind, value]) => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(4 + value.length, 0);
    head.writeUInt16LE(kind, 2);
    return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
  });
  const body = Buffer.concat([Buffer.alloc(4), ...parts]);
  const head = Buffer.alloc(16);
  head.writeUInt32LE(16 + body.length, 0);
  head.writeUInt16LE(type, 4);
  return Buffer.concat([head, body]);
}

const pid = (n: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(n);
  return out;
};
const NEW_GENERATION = (10 << 8) | 15;
const NEW_RULE = (10 << 8) | 6;

describe('who changed nftables rules', () => {
  it('is read from the messages of a new generation', () => {
    const bytes = Buffer.concat([
      message(NEW_RULE, [[1, Buffer.from('fsa\0')]]),
      message(NEW_GENERATION, [
        [1, pid(3)],
        [2, pid(4711)],
        [3, Buffer.from('nft\0')],
      ]),
    ]);
    expect(authorsIn(bytes)).toEqual([{ pid: 4711, name: 'nft' }]);
  });

  it('is nobody in other messages, and in what a datagram lacks', () => {
    expect(authorsIn(message(NEW_RULE, []))).toEqual([]);
    const cut = message(NEW_GENERATION, [[2, pid(1)]]);
    for (let n = 0; n < cut.length; n++) expect(authorsIn(cut.subarray(0, n))).toEqual([]);
  });
});
