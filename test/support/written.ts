// Frames that the addon writes as one batch, to memory instead of a TUN.
import fc from 'fast-check';
import { VNET_HEADER } from '../../src/device/device.js';
import { native } from '../../src/device/native.js';
import { octet } from './arbitrary.js';
import { frame, type Packet } from './naive.js';

const POISON = 0xa7;
const GAP = 64;

/** Writes frames as one batch. Only headers of the given packets may be changed. */
export function write(frames: readonly Uint8Array[], opened: readonly boolean[] = []): Uint8Array[] {
  const arena = new Uint8Array(frames.reduce((n, f) => n + f.length + GAP, GAP)).fill(POISON);
  const at = new Int32Array(frames.length);
  const lengths = new Int32Array(frames.length);
  let next = GAP;
  frames.forEach((f, i) => {
    arena.set(f, next);
    at[i] = next + VNET_HEADER;
    lengths[i] = f.length - VNET_HEADER;
    next += f.length + GAP;
  });
  const out = new Uint8Array(frames.length * 200_000);
  const outLengths = new Int32Array(65_536);
  const flags = Uint8Array.from(opened, Number);
  const n = native.writeMemory(out, outLengths, arena, at, lengths, frames.length, flags);
  for (let b = 0, i = 0; b < arena.length; b++) {
    if (i < frames.length && b === at[i] - VNET_HEADER) b += frames[i++].length;
    if (b < arena.length && arena[b] !== POISON) throw new Error(`byte ${b} was overwritten`);
  }
  failed = [...lengths].filter((l) => l < 0);
  let end = 0;
  return Array.from(outLengths.subarray(0, n), (length) => {
    end += length;
    return out.slice(end - length, end);
  });
}
let failed: number[] = [];
/** The results of the last {@link write} for packets that it did not accept. */
export const refused = (): number[] => failed;

export const EINVAL = -22;
export const hex = (f: Uint8Array): string => Buffer.from(f).toString('hex');
export const open = (packets: readonly Packet[]): Uint8Array[] =>
  write(
    packets.map((p) => frame(p)),
    packets.map(() => true),
  );
export const bytesOf = (n: number, from = 0): number[] =>
  Array.from({ length: n }, (_, i) => (i * 7 + from) & 255);

export const words = (max: number) =>
  fc.nat(max).chain((n) => fc.array(octet, { minLength: n * 4, maxLength: n * 4 }));
export const payloadAndSize = fc
  .tuple(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 40 }), fc.nat(299), octet)
  .map(([size, whole, rest, from]) => ({ size, payload: bytesOf(size * whole + (rest % size), from) }));
