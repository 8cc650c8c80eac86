import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VNET_HEADER } from '../../../src/device/device.js';
import type { WanPlan } from '../../../src/lab/emulator.js';
import { ADDRESS, Bench, HOSTS, packet, plan } from './emulator-bench.js';

describe('Emulator', () => {
  it('holds a packet for the delay of its path and writes it back unchanged to the device that it came from', () => {
    const b = new Bench({ 'gateway>r1': { delayMs: 15 }, 'r1>gateway': { delayMs: 20 } });
    const bytes = packet(ADDRESS.r1, 1);
    b.send('gateway', bytes.slice());
    b.send('r1', packet(ADDRESS.gateway, 2));
    b.clock.nowUs += 14_999;
    b.emulator.release();
    expect(b.emulator.statistics().released).toBe(0);
    b.drain();
    expect(b.got.map((g) => [g.host, g.mark, g.atUs])).toEqual([
      ['gateway', 1, 1_015_000],
      ['r1', 2, 1_020_000],
    ]);
    expect(b.got[0].bytes).toEqual(bytes);
  });

  it('finds the longest prefix', () => {
    const b = new Bench({ 'gateway>origin': { delayMs: 10 }, 'gateway>r1': { delayMs: 30 } });
    b.send('gateway', packet('203.0.113.200', 1));
    b.send('gateway', packet('203.0.113.10', 2));
    b.drain();
    expect(b.got.map((g) => [g.mark, g.atUs])).toEqual([
      [2, 1_010_000],
      [1, 1_030_000],
    ]);
  });

  it('finds a path by the ingress device, for any source address', () => {
    const b = new Bench({ 'r1>gateway': { delayMs: 5 }, 'origin>gateway': { delayMs: 50 } });
    const spoofed = packet(ADDRESS.gateway, 1);
    spoofed.set([203, 0, 113, 10], VNET_HEADER + 12);
    b.send('r1', spoofed);
    b.drain();
    expect(b.got[0].atUs).toBe(1_005_000);
  });

  it('writes packets to unknown destinations back at once, and drops packets of no known version', () => {
    const b = new Bench({ 'gateway>origin': { delayMs: 10 } });
    b.send('gateway', packet('10.1.1.1', 1));
    const five = packet('10.1.1.1', 2);
    five[VNET_HEADER] = 0x50;
    b.send('gateway', five);
    b.drain();
    expect(b.got.map((g) => [g.mark, g.atUs])).toEqual([[1, 1_000_000]]);
    expect(b.emulator.statistics()).toMatchObject({ packets: 2, released: 1, unroutable: 1 });
  });

  it('releases in order of due time across paths, and keeps the order within a path despite jitter', () => {
    const sending = fc.array(
      fc.record({
        from: fc.constantFrom('gateway', 'origin', 'r1'),
        to: fc.constantFrom('gateway', 'origin', 'r1'),
        afterUs: fc.nat(4000),
      }),
      { minLength: 2, maxLength: 60 },
    );
    fc.assert(
      fc.property(sending, (all) => {
        const paths: WanPlan['paths'] = {};
        for (const [n, from] of HOSTS.entries()) {
          for (const to of HOSTS) {
            if (to !== from) paths[`${from}>${to}`] = { delayMs: 3 * n + 1, jitterMs: 10 };
          }
        }
        const b = new Bench(paths);
        all.forEach((s, n) => {
          b.clock.nowUs += s.afterUs;
          b.send(s.from, packet(ADDRESS[s.to], n));
        });
        b.drain();
        expect(b.got.map((g) => g.mark).sort((x, y) => x - y)).toEqual(all.map((_, n) => n));
        const times = b.got.map((g) => g.atUs);
        expect(times).toEqual([...times].sort((x, y) => x - y));
        for (const from of HOSTS) {
          for (const to of HOSTS) {
            const marks = b.got.map((g) => g.mark).filter((m) => all[m].from === from && all[m].to === to);
            expect(marks).toEqual([...marks].sort((x, y) => x - y));
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  it('reorders where a path has `reorder`', () => {
    const b = new Bench({ 'gateway>r1': { delayMs: 1, jitterMs: 50, reorder: true } });
    for (let n = 0; n < 50; n++) b.send('gateway', packet(ADDRESS.r1, n));
    b.drain();
    const marks = b.got.map((g) => g.mark);
    expect(marks).toHaveLength(50);
    expect(marks).not.toEqual([...marks].sort((x, y) => x - y));
  });

  it('sends no faster than the rate, and drops packets that would wait too long', () => {
    // 1000 bytes at 8 Mbit/s take 1 ms; the queue holds 3 ms, so the fifth packet finds 4 ms queued before it.
    const b = new Bench({ 'gateway>r1': { delayMs: 10, rateMbit: 8, queueMs: 3 } });
    for (let n = 0; n < 6; n++) b.send('gateway', packet(ADDRESS.r1, n, 1000));
    b.drain();
    expect(b.got.map((g) => g.atUs)).toEqual([1_011_000, 1_012_000, 1_013_000, 1_014_000]);
    expect(b.emulator.statistics()).toMatchObject({ released: 4, queueFull: 2 });
  });

  it('loses the configured share, the same packets for the same seed', () => {
    const lose = () => {
      const b = new Bench({ 'gateway>r1': { delayMs: 0, lossPct: 30 } });
      for (let n = 0; n < 2000; n++) {
        b.send('gateway', packet(ADDRESS.r1, n));
        if (n % 100 === 99) b.drain();
      }
      return b.got.map((g) => g.mark);
    };
    const first = lose();
    expect(first.length).toBeGreaterThan(1300);
    expect(first.length).toBeLessThan(1500);
    expect(lose()).toEqual(first);
  });

  it('drops and counts packets when it cannot hold more', () => {
    const b = new Bench({ 'gateway>r1': { delayMs: 10 } }, [{ slotBytes: 2048, slots: 2 }]);
    for (let n = 0; n < 3; n++) b.send('gateway', packet(ADDRESS.r1, n));
    b.drain();
    expect(b.got.map((g) => g.mark)).toEqual([0, 1]);
    expect(b.emulator.statistics()).toMatchObject({ packets: 3, released: 2, holdFull: 1, held: 0 });
  });

  it('uses a changed plan for later packets', () => {
    const b = new Bench({ 'gateway>r1': { delayMs: 80 } });
    b.send('gateway', packet(ADDRESS.r1, 1));
    b.emulator.apply(plan({ 'gateway>r1': { delayMs: 5 } }));
    b.send('gateway', packet(ADDRESS.r1, 2));
    b.drain();
    expect(b.got.map((g) => [g.mark, g.atUs])).toEqual([
      [2, 1_005_000],
      [1, 1_080_000],
    ]);
  });

  it('reports how late packets were', () => {
    const b = new Bench({ 'gateway>r1': { delayMs: 1 } });
    b.send('gateway', packet(ADDRESS.r1, 1));
    b.clock.nowUs += 1_730;
    b.emulator.release();
    expect(b.emulator.statistics().latenessUs).toEqual({ p50: 740, p95: 740, max: 730 });
  });
});
