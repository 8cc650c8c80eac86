import { describe, expect, it } from 'vitest';
import * as checksum from '../../../src/wire/checksum.js';
import * as naive from '../../support/naive.js';
import { Random } from '../../support/random.js';

/** A message of eight words; its checksum is word 8. */
const WORDS = 8;
const sumOf = (w: Int32Array): number => {
  let s = 0;
  for (let i = 0; i < WORDS; i++) s += w[i];
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return s;
};
const EDGES = [0x0000, 0xffff, 0x0001, 0xfffe, 0x8000, 0x7fff];

describe('sum and fold', () => {
  it('agree with the naive codec on any bytes, an odd number of them too', () => {
    const random = new Random(1);
    for (let n = 0; n < 2000; n++) {
      const bytes = random.bytes(n % 65);
      if (n % 3 === 0) bytes.fill(0xff);
      const view = new DataView(Uint8Array.from([0, ...bytes, 0xee]).buffer);
      expect(checksum.sum(view, 1, bytes.length)).toBe(naive.sum(bytes));
    }
  });

  it('take a sum of any 32 bits', () => {
    expect(checksum.fold(0xffffffff)).toBe(0xffff);
    expect(checksum.fold(0xffff0001)).toBe(1);
    expect(checksum.fold(0x1fffe)).toBe(0xffff);
    expect(checksum.fold(0)).toBe(0);
  });

  it('know the pseudo header', () => {
    const bytes = [10, 1, 0, 7, 203, 0, 113, 10, 0, 6, 0x05, 0xdc];
    expect(checksum.pseudoHeader(0x0a010007, 0xcb00710a | 0, 6, 1500)).toBe(naive.sum(bytes));
    expect(checksum.pseudoHeader(-1, -1, 255, 0xffff)).toBe(
      naive.sum([...new Array(8).fill(255), 0, 255, 255, 255]),
    );
  });
});

describe('the incremental update (RFC 1624)', () => {
  // Plain loops and one comparison at the end, because ten million calls of `expect` take minutes.
  it('equals full recomputation over ten million edits, 0x0000 and 0xFFFF included', () => {
    const random = new Random(2);
    const w = new Int32Array(WORDS);
    for (let i = 0; i < WORDS; i++) w[i] = random.below(0x10000);
    let check = ~sumOf(w) & 0xffff;
    let wrong = 0;
    let zeroResults = 0;
    let allOnesFields = 0;
    for (let n = 0; n < 10_000_000; n++) {
      const i = random.below(WORDS);
      const from = w[i];
      let to = (n & 7) === 0 ? EDGES[random.below(EDGES.length)] : random.below(0x10000);
      // Now and then the value that makes the checksum 0x0000 (a sum of 0xFFFF), for which eqn. 2 is wrong.
      if ((n & 15) === 1) to = checksum.fold(from + check);
      if ((i & 1) === 0 && (n & 3) === 0) {
        // A 32-bit field: this word and the next.
        const next = random.below(0x10000);
        check = checksum.update32(check, (from << 16) | w[i + 1], (to << 16) | next);
        w[i + 1] = next;
      } else check = checksum.update16(check, from, to);
      w[i] = to;
      const full = ~sumOf(w) & 0xffff;
      // For a message of zeros the sum has only one form; such a message is not sent in TCP or IPv4.
      if (check !== full && sumOf(w) !== 0) wrong++;
      if (full === 0) zeroResults++;
      if (to === 0xffff) allOnesFields++;
    }
    expect(wrong).toBe(0);
    expect(zeroResults).toBeGreaterThan(100_000);
    expect(allOnesFields).toBeGreaterThan(100_000);
  });

  it('keeps an error as it is: a bad checksum never becomes valid (rule 29 of test/conformance)', () => {
    const random = new Random(3);
    let mended = 0;
    for (let n = 0; n < 500_000; n++) {
      const w = new Int32Array(WORDS);
      for (let i = 0; i < WORDS; i++) w[i] = random.below(0x10000);
      const right = ~sumOf(w) & 0xffff;
      let check = (right + 1 + random.below(0xfffe)) % 0xffff;
      for (let k = 0; k < 4; k++) {
        const i = random.below(WORDS);
        const to = k === 0 ? EDGES[n % EDGES.length] : random.below(0x10000);
        check = checksum.update16(check, w[i], to);
        w[i] = to;
        if (checksum.fold(sumOf(w) + check) === 0xffff) mended++;
      }
    }
    expect(mended).toBe(0);
  });

  it('has twins for an uncomplemented pseudo-header sum (NEEDS_CSUM)', () => {
    const random = new Random(4);
    let wrong = 0;
    for (let n = 0; n < 500_000; n++) {
      const w = new Int32Array(WORDS);
      for (let i = 0; i < WORDS; i++)
        w[i] = n % 3 === 0 ? EDGES[random.below(EDGES.length)] : random.below(0x10000);
      let partial = sumOf(w);
      const i = random.below(WORDS - 1);
      const to = EDGES[n % EDGES.length];
      if (n % 2 === 0) partial = checksum.updatePartial16(partial, w[i], to);
      else {
        partial = checksum.updatePartial32(partial, (w[i] << 16) | w[i + 1], (to << 16) | 0xabcd);
        w[i + 1] = 0xabcd;
      }
      w[i] = to;
      // 0x0000 and 0xFFFF mean the same here, because a term other than 0 is added when the checksum is completed.
      if (partial % 0xffff !== sumOf(w) % 0xffff) wrong++;
    }
    expect(wrong).toBe(0);
  });
});
