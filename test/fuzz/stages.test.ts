/**
 * Random and mutated packets through whole pipelines: no stage throws, the sums of counters add up, no other bytes
 * are overwritten.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { BATCH, EXTRA_SLOT, EXTRAS, HEADROOM, SLOT } from '../../src/pipeline/batch.js';
import { PACKETS } from '../contract/packets.js';
import { NOW_SECONDS } from '../support/builder.js';
import { MORE, SEED } from '../support/fuzz.js';
import { Harness, sums } from '../support/harness.js';
import { frame, type Packet, parseFrame } from '../support/naive.js';
import { Random } from '../support/random.js';
import type { Configuration, RoleName, World } from '../support/world.js';

const BATCHES = 800 * MORE;
const POISON = 0xa7;

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

/** Seeds: every packet of this role in the packet table, and random frames. */
function seedsOf(role: RoleName, configuration: Configuration): Uint8Array[] {
  const rows = PACKETS.filter((r) => r.role === role && r.configuration === configuration);
  return rows
    .flatMap((r) => [...(r.given ?? []).flat(), ...r.in])
    .map((p) => (p instanceof Uint8Array ? p : frame(p as Packet)))
    .filter((f) => f.length < 2000);
}

/** Bytes with a meaning: versions, lengths, fragments, protocol, offsets, flags, options. */
const TELLING = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 16, 19, 22, 29, 30, 32, 33, 34, 42, 43, 49, 50, 51, 52, 62, 70,
  71, 72,
];

function mutate(seed: Uint8Array, random: Random): Uint8Array {
  const kind = random.below(8);
  if (kind === 0) return seed;
  if (kind === 1) {
    const f = new Uint8Array(10 + random.below(120));
    f.set(random.bytes(f.length - 10), 10);
    if (random.below(2) === 0) f[10] = 0x45;
    return f;
  }
  let f = seed.slice();
  if (kind === 2) f = f.slice(0, 10 + random.below(f.length - 9));
  else if (kind === 3) {
    const longer = new Uint8Array(f.length + random.below(40));
    longer.set(f);
    f = longer;
  }
  const edits = 1 + random.below(3);
  for (let n = 0; n < edits && f.length > 10; n++) {
    const at = random.below(2) === 0 ? random.pick(TELLING) : random.below(f.length);
    if (at < f.length) f[at] = random.pick([0, 1, 4, 0x45, 0x50, 0xf0, 0xff, random.below(256)]);
  }
  return f;
}

/**
 * Bytes that were changed where no packet of this batch may write: a tag and an outer header use 36 bytes of the
 * headroom, and no packet grows towards its end.
 */
function strays(h: Harness, frames: readonly Uint8Array[]): number[] {
  const { arena } = h.batch;
  const found: number[] = [];
  const check = (from: number, to: number): void => {
    for (let b = from; b < to; b++) if (arena[b] !== POISON) found.push(b);
  };
  const stride = HEADROOM + SLOT;
  const untouched = HEADROOM - 10 - 36;
  for (let i = 0; i < BATCH; i++) {
    const slot = i * stride;
    const end = i < frames.length ? slot + HEADROOM + frames[i].length - 10 : slot;
    check(slot, slot + untouched);
    check(end, end + 512);
  }
  for (let k = 0; k < EXTRAS; k++) {
    const slot = BATCH * stride + k * (HEADROOM + EXTRA_SLOT);
    check(slot, slot + untouched);
    check(slot + HEADROOM + 600, slot + HEADROOM + 700);
  }
  return found;
}

const isFragment = (f: Uint8Array): boolean => ((f[16] << 8) & 0x3f00) !== 0 || f[17] !== 0;
const valid = (f: Uint8Array): boolean | undefined => parseFrame(f)?.valid;

describe.each<RoleName>(['gateway', 'origin', 'replica'])('the %s', (role) => {
  const worlds = (['A', 'B', 'C'] as const).flatMap((c): [Configuration, World['race']][] =>
    role === 'gateway'
      ? [
          [c, 0],
          [c, 1],
        ]
      : [[c, 0]],
  );
  it.each(worlds)('takes any packet, in configuration %s, race %i', (configuration, race) => {
    const random = new Random(SEED + role.length * 100 + configuration.charCodeAt(0));
    const seeds = [...seedsOf(role, configuration), ...seedsOf(role, 'A')];
    const h = new Harness(role, {
      configuration,
      race,
      maxFlows: 200,
      serverDelayUs: 5000,
      delaysUs: [2000, 0],
      holdSlots: 32,
    });
    let read = 0;
    let written = 0;
    let invalid = 0;
    for (let n = 0; n < BATCHES; n++) {
      const frames = Array.from({ length: 1 + random.below(BATCH - 1) }, () =>
        mutate(random.pick(seeds), random),
      );
      // In half of the rounds only whole packets with right checksums: then the packets that result must have right
      // checksums too.
      const clean = n % 2 === 0 ? frames.filter((f) => valid(f) === true && !isFragment(f)) : frames;
      if (clean.length === 0) continue;
      h.batch.arena.fill(POISON);
      const before = h.counts()['emit.syn-after-challenge'] ?? 0;
      const out = h.send(clean);
      // A SYN that was stored in an earlier batch may have had a bad checksum, and then keeps it.
      const kept = (h.counts()['emit.syn-after-challenge'] ?? 0) - before;
      read += clean.length;
      written += out.length;
      expect(strays(h, clean)).toEqual([]);
      if (n % 2 === 0) {
        const bad = out.filter((f) => f[10] >> 4 === 4 && valid(f) !== true).length;
        invalid += Math.max(0, bad - kept);
      }
      if (n % 7 === 0) written += h.advance(random.below(4000)).length;
      // Now and then so long that entries expire and all held packets are released.
      if (n % 40 === 0) written += h.advance(random.below(100) * 1e7).length;
      if (n % 11 === 0) h.tick();
      const s = sums(h.counts());
      expect(s.pass + s.drop + s.hold + s.joined).toBe(read);
      expect(s.pass + s.emit + s.release - s.error).toBe(written);
    }
    expect(invalid).toBe(0);
    expect(h.counts()['error.write']).toBeUndefined();
  });
});
