/** Tests the pipelines that run on the TUN with the packet table. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { reasons as gatewayReasons } from '../../gateway/race/reasons.js';
import { reasons as originReasons } from '../../origin/race/reasons.js';
import { reasons as replicaReasons } from '../../replica/race/reasons.js';
import { NOW_SECONDS } from '../support/builder.js';
import { Harness, sums } from '../support/harness.js';
import { frame, type Packet, parseFrame } from '../support/naive.js';
import { PACKETS } from './packets.js';
import type { Given, Row } from './row.js';

// Tags contain the wall clock's epoch.
beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

const frameOf = (p: Given): Uint8Array => (p instanceof Uint8Array ? p : frame(p));
const show = (f: Uint8Array): string =>
  `${Buffer.from(f.subarray(0, 10)).toString('hex')} ${JSON.stringify(parseFrame(f)?.packet ?? null)} ${Buffer.from(f.subarray(10)).toString('hex')}`;

/** Whether it has the checksum with which the rows spoil ICMP messages. */
const isSpoiltIcmp = (bytes: readonly number[]): boolean => bytes[2] === 0x12 && bytes[3] === 0x34;

const spoilt = (p: Given): boolean => {
  if (p instanceof Uint8Array) return true;
  if (p.body.kind === 'ip') return spoilt(p.body);
  if (p.body.kind === 'raw') return p.body.protocol === 1 && isSpoiltIcmp(p.body.bytes);
  return p.body.kind === 'tcp' && p.body.spoil !== 0;
};

function run(r: Row): void {
  const h = new Harness(r.role, { configuration: r.configuration, ...r.world });
  for (const batch of r.given ?? []) {
    h.send(batch.map(frameOf));
    if (r.everyMs === undefined) continue;
    h.advance(r.everyMs * 1000);
    h.tick();
  }
  if (r.change !== undefined) h.change(r.change);
  if (r.afterMs !== undefined) h.advance(r.afterMs * 1000);
  // Expiry takes fifty ticks to look at the whole table.
  for (let i = 0; r.ticks !== false && i < 50; i++) h.tick();
  h.clearCounts();

  const out = h.send(r.in.map(frameOf));
  expect(out.map(show)).toEqual(r.out.map((p) => show(frameOf(p))));
  expect(h.counts()).toEqual(r.counts);
  const s = sums(h.counts());
  expect(s.pass + s.drop + s.hold + s.joined).toBe(r.in.length);
  expect(s.pass + s.emit + s.release - s.error).toBe(out.length);
  expect(h.hold.size).toBeGreaterThanOrEqual(s.hold + s.queued);

  const all = [...out];
  for (const { afterUs, out: expected, counts } of r.later ?? []) {
    h.clearCounts();
    const released = h.advance(afterUs);
    expect(released.map(show)).toEqual(expected.map((p) => show(frameOf(p))));
    if (counts !== undefined) expect(h.counts()).toEqual(counts);
    all.push(...released);
  }
  if (r.in.some(spoilt)) return;
  for (const f of all) {
    const parsed = parseFrame(f);
    if (f[10] >> 4 === 4) expect(parsed?.valid, show(f)).toBe(true);
  }
}

for (const role of ['gateway', 'origin', 'replica'] as const)
  for (const configuration of ['A', 'B', 'C'] as const)
    describe(`${role}, configuration ${configuration}`, () => {
      for (const r of PACKETS.filter((x) => x.role === role && x.configuration === configuration))
        it(r.name, () => run(r));
    });

const shownBy = (r: Row): string[] =>
  [r.counts, ...(r.later ?? []).map((l) => l.counts ?? {})].flatMap((counts) => Object.keys(counts));

describe('the packet table', () => {
  it('has a unique name for each row', () => {
    const names = PACKETS.map((r) => `${r.role} ${r.configuration} ${r.name}`);
    expect(names.filter((n, i) => names.indexOf(n) !== i)).toEqual([]);
  });

  // Reasons of the runner (see `test/unit`), which no row of packets can cause.
  const elsewhere = [
    'pass.unmatched',
    'drop.no-room',
    'release.held',
    'error.write',
    'error.read',
    'kernel.opened',
    // `test/unit/gateway/race/floods.test.ts`
    'evict.half-open',
    'evict.ended',
    'pass.syn-table-full',
    'pass.syn-source-busy',
    'limit.race-of-source',
    'limit.race-when-full',
    // `test/unit/replica/race/floods.test.ts`
    'drop.table-full',
    // `test/contract/ipv6.test.ts`
    'pass.syn-ipv6-in-this-form',
    // `test/unit/gateway/race/path-probes.test.ts`
    'emit.probe',
    // `test/unit/gateway/race/near-probes.test.ts`
    'emit.probe-reset',
    'emit.probe-answer',
    'drop.probe-answer',
    'drop.icmp-about-probe',
    'drop.probe-answer-refused',
    'drop.probe-answered',
    'drop.probe-forged',
  ];
  it.each([
    ['gateway', gatewayReasons.names],
    ['origin', originReasons.names],
    ['replica', replicaReasons.names],
  ] as const)('shows every reason of the %s', (role, names) => {
    const shown = new Set(PACKETS.filter((r) => r.role === role).flatMap(shownBy));
    const missing = names.filter((n) => !shown.has(n) && !elsewhere.includes(n));
    // The origin decapsulates no packet, and puts no fragments together: it alone passes them.
    const fragments = ['joined.fragment', 'drop.fragment', 'drop.fragment-repeated'];
    expect(missing.sort()).toEqual(role === 'origin' ? ['drop.ecn', ...fragments].sort() : ['pass.fragment']);
  });

  it('has every packet encoded with right checksums', () => {
    for (const r of PACKETS)
      for (const p of [...r.in, ...r.out].filter((x): x is Packet => !(x instanceof Uint8Array)))
        if (!spoilt(p)) expect(parseFrame(frame(p))?.valid ?? true, `${r.role}: ${r.name}`).toBe(true);
  });
});
