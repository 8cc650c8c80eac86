/**
 * Random and mutated IPv6 packets through the gateway's pipeline, by a seed: nothing throws, sums add up, and what came
 * with right checksums leaves with right ones.
 */
import { expect, it } from 'vitest';
import { MORE, SEED } from '../support/fuzz.js';
import {
  answer,
  CLIENT,
  Gateway6,
  LEARNED,
  R1,
  R2,
  R2_PORT,
  SERVICE,
  SYN,
  TUNNELLED,
} from '../support/gateway6.js';
import { sums } from '../support/harness.js';
import { Random } from '../support/random.js';
import { Replica6 } from '../support/replica6.js';
import { error6, frame6, isSound6, tunnel6 } from '../support/v6.js';

const ROUNDS = 3000 * MORE;
const up = { src: CLIENT, dst: SERVICE, seq: 1001, ack: 7001, flags: 'PA', payload: [1, 2, 3] };
const down = { ...answer(R2, R2_PORT), flags: 'PA', seq: 7001, payload: [4, 5] };
const options: [number, number[]] = [60, [0, 0, 1, 4, 0, 0, 0, 0]];
const SEEDS = [
  ...[SYN, up, { ...up, flags: 'FA' }, { ...SYN, payload: [1] }, { ...up, headers: [options] }],
  ...[answer(R1, 80), answer(R2, R2_PORT), answer(SERVICE, 80), { ...answer(R1, 80), ack: 5 }],
  ...[down, { ...down, headers: [options, options] }, { ...answer(R2, R2_PORT), flags: 'R' }],
]
  .map((p) => frame6(p))
  .concat(
    [R1, R2, SERVICE].map((dst) =>
      error6({ src: '2001:db8:99::1', dst: CLIENT, type: 2, mtu: 1300, quotes: frame6({ ...up, dst }) }),
    ),
    error6({
      src: '2001:db8:99::1',
      dst: SERVICE,
      type: 1,
      quotes: frame6({ ...down, src: SERVICE, sport: 80 }),
    }),
  );
/** Bytes with a meaning: version, length, next header, hop limit, addresses, extension headers, TCP. */
const TELLING = [0, 1, 2, 3, 4, 5, 6, 10, 14, 15, 16, 17, 18, 33, 34, 49, 50, 51, 52, 53, 54, 58, 62, 63];

function mutate(seed: Uint8Array, random: Random): Uint8Array {
  const kind = random.below(6);
  if (kind === 0) return seed.slice();
  let f = seed.slice();
  if (kind === 1) f = f.slice(0, 11 + random.below(f.length - 11));
  else if (kind === 2) f = Uint8Array.from([...f, ...random.bytes(random.below(40))]);
  for (let n = 1 + random.below(3); n > 0; n--) {
    const at = random.below(2) === 0 ? random.pick(TELLING) : random.below(f.length);
    if (at < f.length) f[at] = random.pick([0, 1, 6, 44, 58, 60, 0x60, 0xff, random.below(256)]);
  }
  return f;
}

it.each([
  ['gateway', 1],
  ['learned', LEARNED],
] as const)('the gateway takes any IPv6 packet, race %s', (_name, race) => {
  const random = new Random(SEED + race);
  const g = new Gateway6(race);
  let [read, written, invalid] = [0, 0, 0];
  for (let n = 0; n < ROUNDS; n++) {
    const all = Array.from({ length: 1 + random.below(40) }, () => mutate(random.pick(SEEDS), random));
    // In half of the rounds only packets with right checksums: then what results must have right ones too.
    const frames = n % 2 === 0 ? all.filter((f) => isSound6(f)) : all;
    if (frames.length === 0) continue;
    const before = g.count('emit.syn-after-challenge');
    const out = g.frames(...frames);
    // A SYN that was stored in an earlier round may have had a bad checksum, and then keeps it.
    const kept = g.count('emit.syn-after-challenge') - before;
    read += frames.length;
    written += out.length;
    if (n % 2 === 0) invalid += Math.max(0, out.filter((f) => !isSound6(f)).length - kept);
    if (n % 9 === 0) g.pass(1e5);
    if (n % 50 === 0) {
      // Whatever is held for a hedge is released, or settled.
      written += g.advance(3e5).length;
      g.pass(random.below(300) * 1e6);
    }
  }
  const s = sums(g.counts());
  const carried = g.count('pass.to-replica') + g.count('pass.from-replica');
  expect(s.pass + s.drop + s.hold + s.joined).toBe(read);
  expect(s.pass + s.emit + s.release - s.error).toBe(written);
  expect(invalid).toBe(0);
  expect(carried).toBeGreaterThan(ROUNDS / 4);
  expect(g.count('pass.icmp-relayed')).toBeGreaterThan(100);
});

/** Rounds of mutated frames; in half of them only those with right checksums: then what results must have right ones too. */
function throwAt(
  at: Pick<Gateway6, 'frames' | 'count'>,
  seeds: readonly Uint8Array[],
  random: Random,
  after: (n: number) => void,
): { read: number; written: number; invalid: number } {
  let [read, written, invalid] = [0, 0, 0];
  // A SYN that was stored in an earlier round may have had a bad checksum, and then keeps it.
  const kept = (): number => at.count('emit.syn-after-challenge') || 0;
  for (let n = 0; n < ROUNDS; n++) {
    const all = Array.from({ length: 1 + random.below(40) }, () => mutate(random.pick(seeds), random));
    const frames = n % 2 === 0 ? all.filter((f) => isSound6(f)) : all;
    if (frames.length === 0) continue;
    const before = kept();
    const out = at.frames(...frames);
    read += frames.length;
    written += out.length;
    if (n % 2 === 0) invalid += Math.max(0, out.filter((f) => !isSound6(f)).length - (kept() - before));
    after(n);
  }
  return { read, written, invalid };
}

const served = (p: object): Uint8Array => frame6({ ...answer(SERVICE, 80), ...p });
const data = frame6({ ...up, payload: [1, 2, 3, 4] });

it('the gateway takes any packet in a tunnel of IPv6', () => {
  const random = new Random(SEED + 7);
  const g = new Gateway6(1, TUNNELLED);
  const seeds = [
    ...[frame6(SYN), data, frame6({ ...up, headers: [options] }), served({})],
    ...[R1, R2].flatMap((r) => [
      tunnel6(served({}), r, CLIENT),
      tunnel6(served({ flags: 'PA', seq: 7001, payload: [4] }), r, CLIENT, 0x60300000),
      tunnel6(served({ flags: 'R' }), r, CLIENT),
      error6({ src: '2001:db8:99::1', dst: CLIENT, type: 2, mtu: 1400, quotes: tunnel6(data, CLIENT, r) }),
      error6({ src: '2001:db8:99::1', dst: CLIENT, type: 3, quotes: tunnel6(frame6(SYN), CLIENT, r) }),
    ]),
    error6({ src: '2001:db8:99::1', dst: SERVICE, type: 2, mtu: 1300, quotes: served({ flags: 'A' }) }),
  ];
  const { read, written, invalid } = throwAt(g, seeds, random, (n) => {
    if (n % 9 === 0) g.pass(1e5);
    if (n % 50 === 0) g.pass(random.below(300) * 1e6);
  });
  const s = sums(g.counts());
  expect(s.pass + s.drop + s.hold + s.joined).toBe(read);
  expect(s.pass + s.emit + s.release - s.error).toBe(written);
  expect(invalid).toBe(0);
  expect(g.count('pass.from-replica')).toBeGreaterThan(50);
  expect(g.count('pass.icmp-relayed')).toBeGreaterThan(100);
});

it('the replica takes any packet in a tunnel of IPv6', () => {
  const random = new Random(SEED + 8);
  const asking = new Gateway6(1, TUNNELLED);
  const tagged = asking.frames(frame6(SYN)).find((f) => f[10 + 6] === 41 && f[10 + 24 + 5] === 0x12)!;
  const r = new Replica6(R2);
  const seeds = [
    ...[tagged, tagged, tunnel6(data, CLIENT, R2), tunnel6(data, CLIENT, R2, 0x60300000)],
    ...[
      tunnel6(frame6(SYN), CLIENT, R2),
      tunnel6(data, R1, R2),
      served({}),
      served({ flags: 'PA', payload: [1] }),
    ],
    error6({ src: '2001:db8:99::1', dst: R2, type: 2, mtu: 1400, quotes: tunnel6(served({}), R2, CLIENT) }),
    tunnel6(
      error6({ src: '2001:db8:99::1', dst: SERVICE, type: 2, mtu: 1300, quotes: served({}) }),
      CLIENT,
      R2,
    ),
  ];
  const { read, written, invalid } = throwAt(r, seeds, random, () => {});
  const s = sums(r.counts());
  expect(s.pass + s.drop + s.hold + s.joined).toBe(read);
  expect(s.pass + s.emit + s.release - s.error).toBe(written);
  expect(invalid).toBe(0);
  for (const name of ['pass.syn-cracked', 'pass.opened', 'pass.answer-tunnelled', 'pass.icmp-relayed'])
    expect(r.count(name), name).toBeGreaterThan(100);
  expect(r.count('drop.tag-forged')).toBeGreaterThan(10);
});
