/** A device decorator that writes every packet, both ways, to a pcap file (LINKTYPE_RAW). */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Device } from './device.js';

const LINKTYPE_RAW = 101;

export class PcapDevice implements Device {
  readonly #fd: number;
  constructor(
    readonly inner: Device,
    file: string,
  ) {
    this.#fd = openSync(file, 'w');
    const header = Buffer.alloc(24);
    header.writeUInt32LE(0xa1b2c3d4, 0);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(262144, 16);
    header.writeUInt32LE(LINKTYPE_RAW, 20);
    writeSync(this.#fd, header);
  }
  get name(): string {
    return this.inner.name;
  }
  #record(arena: Uint8Array, at: number, length: number): void {
    if (length <= 0) return;
    const now = performance.timeOrigin + performance.now();
    const header = Buffer.alloc(16);
    header.writeUInt32LE(Math.floor(now / 1000), 0);
    header.writeUInt32LE(Math.floor((now % 1000) * 1000), 4);
    header.writeUInt32LE(length, 8);
    header.writeUInt32LE(length, 12);
    writeSync(this.#fd, header);
    writeSync(this.#fd, arena, at, length);
  }
  readBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    limit: number,
    slot: number,
    waitUs?: number,
  ): number {
    const n = this.inner.readBatch(arena, at, lengths, limit, slot, waitUs);
    for (let i = 0; i < n; i++) this.#record(arena, at[i], lengths[i]);
    return n;
  }
  writeBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    count: number,
    opened?: Uint8Array,
  ): number {
    for (let i = 0; i < count; i++) this.#record(arena, at[i], lengths[i]);
    return this.inner.writeBatch(arena, at, lengths, count, opened);
  }
  onReadable(callback: () => void): void {
    this.inner.onReadable(callback);
  }
  release(): void {
    this.inner.release();
    closeSync(this.#fd);
  }
}
