/**
 * SipHash-2-4 (Aumasson, Bernstein 2012) over 32-bit halves, without garbage: 0.5 µs for a tag. State and result are
 * module variables, so a thread can hash only one message at a time.
 */

/** A 128-bit key as four little-endian 32-bit words. */
export type SipKey = Int32Array;

export function keyFromBytes(bytes: Uint8Array): SipKey {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  return Int32Array.of(
    view.getInt32(0, true),
    view.getInt32(4, true),
    view.getInt32(8, true),
    view.getInt32(12, true),
  );
}

let v0l = 0;
let v0h = 0;
let v1l = 0;
let v1h = 0;
let v2l = 0;
let v2h = 0;
let v3l = 0;
let v3h = 0;

/** Low and high word of the last {@link hash}. */
export const result = new Int32Array(2);

/** Hashes `length` bytes from `at` into {@link result}. */
export function hash(key: SipKey, view: DataView, at: number, length: number): void {
  v0l = key[0] ^ 0x70736575;
  v0h = key[1] ^ 0x736f6d65;
  v1l = key[2] ^ 0x6e646f6d;
  v1h = key[3] ^ 0x646f7261;
  v2l = key[0] ^ 0x6e657261;
  v2h = key[1] ^ 0x6c796765;
  v3l = key[2] ^ 0x79746573;
  v3h = key[3] ^ 0x74656462;
  const whole = at + (length & ~7);
  for (let p = at; p < whole; p += 8) absorb(view.getInt32(p, true), view.getInt32(p + 4, true));
  let low = 0;
  let high = length << 24;
  for (let i = 0; i < (length & 7); i++) {
    if (i < 4) low |= view.getUint8(whole + i) << (8 * i);
    else high |= view.getUint8(whole + i) << (8 * (i - 4));
  }
  absorb(low, high);
  v2l ^= 0xff;
  round();
  round();
  round();
  round();
  result[0] = v0l ^ v1l ^ v2l ^ v3l;
  result[1] = v0h ^ v1h ^ v2h ^ v3h;
}

function absorb(low: number, high: number): void {
  v3l ^= low;
  v3h ^= high;
  round();
  round();
  v0l ^= low;
  v0h ^= high;
}

/** The carry of the 32-bit addition with the wrapped result `total`; `term` is one of its terms. */
function carry(total: number, term: number): number {
  return total >>> 0 < term >>> 0 ? 1 : 0;
}

function round(): void {
  let l: number;
  let h: number;
  // v0 += v1; v1 <<<= 13; v1 ^= v0; v0 <<<= 32
  l = (v0l + v1l) | 0;
  v0h = (v0h + v1h + carry(l, v0l)) | 0;
  v0l = l;
  h = (v1h << 13) | (v1l >>> 19);
  l = (v1l << 13) | (v1h >>> 19);
  v1l = l ^ v0l;
  v1h = h ^ v0h;
  l = v0l;
  v0l = v0h;
  v0h = l;
  // v2 += v3; v3 <<<= 16; v3 ^= v2
  l = (v2l + v3l) | 0;
  v2h = (v2h + v3h + carry(l, v2l)) | 0;
  v2l = l;
  h = (v3h << 16) | (v3l >>> 16);
  l = (v3l << 16) | (v3h >>> 16);
  v3l = l ^ v2l;
  v3h = h ^ v2h;
  // v0 += v3; v3 <<<= 21; v3 ^= v0
  l = (v0l + v3l) | 0;
  v0h = (v0h + v3h + carry(l, v0l)) | 0;
  v0l = l;
  h = (v3h << 21) | (v3l >>> 11);
  l = (v3l << 21) | (v3h >>> 11);
  v3l = l ^ v0l;
  v3h = h ^ v0h;
  // v2 += v1; v1 <<<= 17; v1 ^= v2; v2 <<<= 32
  l = (v2l + v1l) | 0;
  v2h = (v2h + v1h + carry(l, v2l)) | 0;
  v2l = l;
  h = (v1h << 17) | (v1l >>> 15);
  l = (v1l << 17) | (v1h >>> 15);
  v1l = l ^ v2l;
  v1h = h ^ v2h;
  l = v2l;
  v2l = v2h;
  v2h = l;
}
