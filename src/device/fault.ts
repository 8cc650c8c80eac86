/**
 * A device decorator that damages the packets that are read: it drops, duplicates, reorders and corrupts them at
 * random from a seed. For fuzz tests and laboratories: the same seed and the same packets give the same damage.
 */
import { isGso, needsCsum } from '../wire/virtio.js';
import { type Device, VNET_HEADER } from './device.js';

export interface Faults {
  seed: number;
  /** Shares of the packets, 0 … 1; 0 where left out. */
  drop?: number;
  duplicate?: number;
  /** The packet is kept back until the next read. */
  reorder?: number;
  /**
   * One bit of the packet is flipped. A super-packet, or a packet whose checksum the kernel would still fill in, is
   * dropped instead: the kernel would compute a right checksum over the damage.
   */
  corrupt?: number;
}

export interface FaultCounts {
  dropped: number;
  duplicated: number;
  reordered: number;
  corrupted: number;
}

export class FaultDevice implements Device {
  readonly counts: FaultCounts = { dropped: 0, duplicated: 0, reordered: 0, corrupted: 0 };
  readonly #faults: Required<Faults>;
  /** Packets with their virtio headers, to be read next. */
  readonly #pending: Uint8Array[] = [];
  #state: number;

  constructor(
    readonly inner: Device,
    faults: Faults,
  ) {
    this.#faults = { drop: 0, duplicate: 0, reorder: 0, corrupt: 0, ...faults };
    // xorshift32 stays at 0 for ever if it starts there.
    this.#state = faults.seed | 0 || 1;
  }

  get name(): string {
    return this.inner.name;
  }

  /** 0 … 1. */
  #random(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) / 2 ** 32;
  }

  readBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    limit: number,
    slot: number,
    waitUs?: number,
  ): number {
    const late = this.#readPending(arena, at, lengths, limit);
    if (late > 0) return late;
    const n = this.inner.readBatch(arena, at, lengths, limit, slot, waitUs);
    const view = new DataView(arena.buffer, arena.byteOffset, arena.byteLength);
    let kept = 0;
    for (let i = 0; i < n; i++) {
      if (!this.#damage(arena, view, at[i], lengths[i])) continue;
      // Exchanges the two offsets, so that no two packets share one.
      [at[kept], at[i]] = [at[i], at[kept]];
      lengths[kept++] = lengths[i];
    }
    return kept > 0 || this.#pending.length === 0 ? kept : this.#readPending(arena, at, lengths, limit);
  }

  /** Reads the packets that were kept back or duplicated, by themselves, before the device is read again. */
  #readPending(arena: Uint8Array, at: Int32Array, lengths: Int32Array, limit: number): number {
    let n = 0;
    for (; n < limit && this.#pending.length > 0; n++) {
      const packet = this.#pending.shift() as Uint8Array;
      arena.set(packet, at[n] - VNET_HEADER);
      lengths[n] = packet.length - VNET_HEADER;
    }
    return n;
  }

  /** @returns whether the packet is read now */
  #damage(arena: Uint8Array, view: DataView, at: number, length: number): boolean {
    const { drop, duplicate, reorder, corrupt } = this.#faults;
    const copy = (): void => void this.#pending.push(arena.slice(at - VNET_HEADER, at + length));
    if (this.#random() < drop) {
      this.counts.dropped++;
      return false;
    }
    if (this.#random() < corrupt) {
      if (needsCsum(view, at) || isGso(view, at)) {
        this.counts.dropped++;
        return false;
      }
      arena[at + Math.floor(this.#random() * length)] ^= 1 << Math.floor(this.#random() * 8);
      this.counts.corrupted++;
    }
    if (this.#random() < duplicate) {
      copy();
      this.counts.duplicated++;
    }
    if (this.#random() >= reorder) return true;
    copy();
    this.counts.reordered++;
    return false;
  }

  writeBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    count: number,
    opened?: Uint8Array,
  ): number {
    return this.inner.writeBatch(arena, at, lengths, count, opened);
  }

  onReadable(callback: () => void): void {
    this.inner.onReadable(callback);
  }

  release(): void {
    this.inner.release();
  }
}
