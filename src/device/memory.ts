/** Two devices joined in memory: packets that are written to one are read from the other. For tests and benches. */
import { type Device, VNET_HEADER } from './device.js';

export class MemoryDevice implements Device {
  peer: MemoryDevice | undefined;
  readonly queue: Uint8Array[] = [];
  #callback: (() => void) | undefined;
  #scheduled = false;

  constructor(readonly name: string) {}

  readBatch(arena: Uint8Array, at: Int32Array, lengths: Int32Array, limit: number, slot: number): number {
    let n = 0;
    while (n < limit && this.queue.length > 0) {
      const packet = this.queue.shift() as Uint8Array;
      if (packet.length - VNET_HEADER > slot) continue;
      arena.set(packet, at[n] - VNET_HEADER);
      lengths[n++] = packet.length - VNET_HEADER;
    }
    return n;
  }

  writeBatch(arena: Uint8Array, at: Int32Array, lengths: Int32Array, count: number): number {
    for (let i = 0; i < count; i++) this.peer?.push(arena.slice(at[i] - VNET_HEADER, at[i] + lengths[i]));
    return count;
  }

  /** Queues one packet, virtio header included, to be read from this device. */
  push(packet: Uint8Array): void {
    this.queue.push(packet);
    if (this.#callback === undefined || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#callback?.();
    });
  }

  onReadable(callback: () => void): void {
    this.#callback = callback;
  }

  release(): void {
    this.#callback = undefined;
    this.queue.length = 0;
  }
}

export function memoryPair(): [MemoryDevice, MemoryDevice] {
  const a = new MemoryDevice('memory0');
  const b = new MemoryDevice('memory1');
  a.peer = b;
  b.peer = a;
  return [a, b];
}
