/**
 * Whole connections through each role's pipeline while packets are lost, repeated, reordered and corrupted by a seed: nothing
 * throws, sums add up, and no bad checksum becomes a good one.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PACKETS } from '../contract/packets.js';
import { NOW_SECONDS } from '../support/builder.js';
import { MORE, SEED } from '../support/fuzz.js';
import { Harness, sums } from '../support/harness.js';
import { frame, type Packet, parseFrame } from '../support/naive.js';
import type { Configuration, RoleName } from '../support/world.js';

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

/** Frames of which every checksum is right, in the order of a connection's life. */
function conversations(role: RoleName, configuration: Configuration): Uint8Array[][] {
  return PACKETS.filter((r) => r.role === role && r.configuration === configuration)
    .map((r) => [...(r.given ?? []).flat(), ...r.in])
    .map((packets) =>
      packets
        .filter((p): p is Packet => !(p instanceof Uint8Array))
        .map((p) => frame(p))
        .filter((f) => f.length < 2000 && parseFrame(f)?.valid === true),
    )
    .filter((frames) => frames.length > 0);
}

const SEEDS = Array.from({ length: 5 * MORE }, (_, n) => SEED + n + 1);
const FAULTS = { drop: 0.05, duplicate: 0.1, reorder: 0.1, corrupt: 0.05 };
const worlds = (['gateway', 'origin', 'replica'] as const).flatMap((role) =>
  (['A', 'B', 'C'] as const).map((configuration) => [role, configuration] as const),
);

describe.each(worlds)('the %s under %s', (role, configuration) => {
  it('stands what a path does to packets', () => {
    let damaged = 0;
    for (const seed of SEEDS) {
      const world = { configuration, maxFlows: 64, serverDelayUs: 3000, delaysUs: [1000, 0], holdSlots: 16 };
      const h = new Harness(role, world, undefined, { seed, ...FAULTS });
      let bad = 0;
      const look = (out: readonly Uint8Array[]): void => {
        for (const f of out) if (f[10] >> 4 === 4 && parseFrame(f)?.valid !== true) bad++;
      };
      for (const frames of [...conversations(role, configuration), ...conversations(role, 'A')]) {
        for (const f of frames) look(h.send([f]));
        look(h.advance(5000));
        h.tick();
      }
      const s = sums(h.counts());
      expect(s.pass + s.drop + s.hold).toBeGreaterThan(50);
      expect(h.counts()['error.write']).toBeUndefined();
      // What leaves with a bad checksum is what came with one: never more than was corrupted, in all its copies.
      damaged += bad;
      expect(bad).toBeLessThan(0.25 * (s.pass + s.emit + s.release));
    }
    // A corrupt packet that is passed on leaves corrupt: were they all made good, this would be 0.
    expect(damaged).toBeGreaterThan(0);
  });
});
