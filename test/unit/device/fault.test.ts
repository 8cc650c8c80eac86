import { describe, expect, it } from 'vitest';
import { PACKET_GAP, VNET_HEADER } from '../../../src/device/device.js';
import { FaultDevice, type Faults } from '../../../src/device/fault.js';
import { memoryPair } from '../../../src/device/memory.js';

const SLOT = 256;
const LIMIT = 16;

/** Sends packets of 40 bytes numbered from 0, and reads until there are no more. */
function through(
  faults: Faults,
  count: number,
  header: (frame: Uint8Array) => void = () => {},
): Uint8Array[] {
  const [inside, outside] = memoryPair();
  const device = new FaultDevice(inside, faults);
  const arena = new Uint8Array(LIMIT * (SLOT + PACKET_GAP));
  const at = new Int32Array(LIMIT);
  const lengths = new Int32Array(LIMIT);
  const out: Uint8Array[] = [];
  for (let n = 0; n < count; n++) {
    const frame = new Uint8Array(VNET_HEADER + 40);
    header(frame);
    new DataView(frame.buffer).setUint32(VNET_HEADER + 36, n);
    inside.push(frame);
  }
  for (;;) {
    for (let i = 0; i < LIMIT; i++) at[i] = i * (SLOT + PACKET_GAP) + PACKET_GAP;
    const n = device.readBatch(arena, at, lengths, LIMIT, SLOT);
    if (n === 0) break;
    for (let i = 0; i < n; i++) out.push(arena.slice(at[i], at[i] + lengths[i]));
  }
  outside.release();
  expect(device.counts).toEqual(expect.objectContaining({ dropped: expect.any(Number) }));
  return out;
}
const numberOf = (p: Uint8Array): number => new DataView(p.buffer).getUint32(36);
const numbers = (packets: readonly Uint8Array[]): number[] => packets.map(numberOf);
const inOrder = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

describe('a device with faults', () => {
  it('passes all packets when it has no faults', () => {
    expect(numbers(through({ seed: 1 }, 100))).toEqual(inOrder(100));
  });

  it('drops, duplicates and reorders the configured shares, and changes nothing else', () => {
    const lost = through({ seed: 2, drop: 0.3 }, 1000);
    expect(lost.length).toBeGreaterThan(620);
    expect(lost.length).toBeLessThan(780);
    expect(numbers(lost)).toEqual([...new Set(numbers(lost))].sort((a, b) => a - b));
    const repeated = numbers(through({ seed: 3, duplicate: 0.2 }, 1000));
    expect(repeated.length).toBeGreaterThan(1130);
    expect([...new Set(repeated)].sort((a, b) => a - b)).toEqual(inOrder(1000));
    const reordered = numbers(through({ seed: 4, reorder: 0.2 }, 1000));
    expect(reordered).not.toEqual(inOrder(1000));
    expect([...reordered].sort((a, b) => a - b)).toEqual(inOrder(1000));
  });

  it('flips one bit of a packet that it corrupts', () => {
    const original = through({ seed: 5 }, 200);
    const corrupt = through({ seed: 5, corrupt: 1 }, 200);
    expect(corrupt).toHaveLength(200);
    corrupt.forEach((p, n) => {
      const flipped = p.reduce(
        (bits, byte, i) => bits + (byte ^ original[n][i]).toString(2).replaceAll('0', '').length,
        0,
      );
      expect(flipped).toBe(1);
    });
  });

  it('drops a packet whose damage the kernel would hide, instead of corrupting it', () => {
    const openChecksum = (frame: Uint8Array): void => void (frame[0] = 1);
    expect(through({ seed: 6, corrupt: 1 }, 50, openChecksum)).toEqual([]);
    const superPacket = (frame: Uint8Array): void => void (frame[1] = 1);
    expect(through({ seed: 6, corrupt: 1 }, 50, superPacket)).toEqual([]);
  });

  it('does the same damage for the same seed', () => {
    const faults = { drop: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.1 };
    expect(through({ seed: 7, ...faults }, 500)).toEqual(through({ seed: 7, ...faults }, 500));
    expect(through({ seed: 7, ...faults }, 500)).not.toEqual(through({ seed: 8, ...faults }, 500));
  });
});
