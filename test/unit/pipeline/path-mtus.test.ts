import { describe, expect, it } from 'vitest';
import { PathMtus } from '../../../src/pipeline/path-mtus.js';
import { LEAST_MTU } from '../../../src/wire/icmp.js';

const HOUR = 36_000;

describe('path MTUs', () => {
  it('are known until they are ten minutes old', () => {
    const paths = new PathMtus();
    paths.set(7, 1400, 0);
    expect([paths.to(7), paths.to(8), paths.size]).toEqual([1400, 0, 1]);
    paths.sweep(5999);
    expect(paths.to(7)).toBe(1400);
    for (let k = 0; k < 16; k++) paths.sweep(6001);
    expect([paths.to(7), paths.size]).toEqual([0, 0]);
  });

  it('stay known as long as they are told again, over wrapped ticks too', () => {
    const paths = new PathMtus();
    const start = 2 ** 31 - HOUR;
    for (let tick = start; tick < start + 2 * HOUR; tick += 3000) {
      paths.set(7, 1400, tick | 0);
      for (let k = 0; k < 16; k++) paths.sweep(tick | 0);
      expect(paths.to(7)).toBe(1400);
    }
  });

  it('tell each change once, and never less than the least MTU', () => {
    const paths = new PathMtus();
    const told: [number, number][] = [];
    paths.changed = (address, mtu) => told.push([address, mtu]);
    paths.set(7, 1400, 0);
    paths.set(7, 1400, 10);
    paths.set(7, 68, 20);
    paths.set(9, 0, 20);
    paths.set(7, 0, 30);
    expect(told).toEqual([
      [7, 1400],
      [7, LEAST_MTU],
      [7, 0],
    ]);
    expect(paths.size).toBe(0);
  });

  it('of more destinations than there is room for take the places of older ones', () => {
    const paths = new PathMtus();
    const told = new Map<number, number>();
    paths.changed = (address, mtu) => (mtu === 0 ? told.delete(address) : told.set(address, mtu));
    for (let n = 1; n <= 20_000; n++) paths.set((n * 2_654_435) | 0, 1000 + (n % 400), n);
    expect(paths.size).toBeLessThanOrEqual(4096);
    expect(told.size).toBe(paths.size);
    for (const [address, mtu] of told) expect(paths.to(address)).toBe(mtu);
    expect(paths.to((20_000 * 2_654_435) | 0)).toBe(1000);
  });

  it('of a thousand destinations are all known', () => {
    const paths = new PathMtus();
    for (let n = 0; n < 1000; n++) paths.set(0x0a000000 + n, 1300 + (n % 100), 0);
    for (let n = 0; n < 1000; n++) expect(paths.to(0x0a000000 + n)).toBe(1300 + (n % 100));
  });
});
