/**
 * A TUN interface with virtio headers, read and written in batches (`native/tun.c`).
 * The properties are those of the withdrawn npm package `tuntap2`: `name`, `mtu`, `ipv4`, `ipv6`, `isUp`,
 * `release()`.
 */
import { networkInterfaces } from 'node:os';
import { BATCH_BYTES, type Device, DeviceError, PACKET_GAP, VNET_HEADER } from './device.js';
import { native, OPEN_CSUM, OPEN_TSO, OPEN_VNET } from './native.js';

const NONE_OPENED = new Uint8Array(0);

export interface TunOptions {
  /** The process takes over checksums and segmentation: one read then carries up to 64 KiB of a flow. */
  offload?: boolean;
}

export class Tun implements Device {
  readonly #fd: number;
  #watch = 0;
  #released = false;

  /** @throws an Error with the kernel's `code`: EPERM, EBUSY (the name is taken), ENOENT (no /dev/net/tun) */
  constructor(
    readonly name: string,
    options: TunOptions = {},
  ) {
    this.#fd = native.openTun(name, OPEN_VNET | (options.offload ? OPEN_CSUM | OPEN_TSO : 0));
  }

  get mtu(): number {
    return native.interfaceGet(this.name, 'mtu');
  }
  set mtu(bytes: number) {
    native.interfaceSet(this.name, 'mtu', bytes);
  }
  get isUp(): boolean {
    return native.interfaceGet(this.name, 'up') !== 0;
  }
  set isUp(up: boolean) {
    native.interfaceSet(this.name, 'up', up ? 1 : 0);
  }
  /** The number of packets that the interface queues before it drops; the kernel's default of 500 loses bursts. */
  get queueLength(): number {
    return native.interfaceGet(this.name, 'queueLength');
  }
  set queueLength(packets: number) {
    native.interfaceSet(this.name, 'queueLength', packets);
  }
  /** ADDRESS/PREFIX, or '' where the interface has no address or is down. */
  get ipv4(): string {
    return this.#address('IPv4');
  }
  set ipv4(cidr: string) {
    native.interfaceSet(this.name, 'ipv4', cidr);
  }
  get ipv6(): string {
    return this.#address('IPv6');
  }
  set ipv6(cidr: string) {
    native.interfaceSet(this.name, 'ipv6', cidr);
  }
  #address(family: string): string {
    return networkInterfaces()[this.name]?.find((a) => a.family === family)?.cidr ?? '';
  }

  /** Ends early, with the packet that reaches {@link BATCH_BYTES}. */
  readBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    limit: number,
    slot: number,
    waitUs = 0,
  ): number {
    const n = native.readBatch(
      this.#fd,
      arena,
      at,
      lengths,
      limit,
      slot,
      VNET_HEADER,
      BATCH_BYTES,
      PACKET_GAP,
      waitUs,
    );
    if (n < 0) throw new DeviceError(this.name, -n);
    return n;
  }

  writeBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    count: number,
    opened: Uint8Array = NONE_OPENED,
  ): number {
    return native.writeBatch(this.#fd, arena, at, lengths, count, opened);
  }

  onReadable(callback: () => void): void {
    if (this.#watch !== 0) native.unwatch(this.#watch);
    this.#watch = native.watch(this.#fd, callback);
  }

  /** Closes the device; the kernel removes the interface with it. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (this.#watch !== 0) native.unwatch(this.#watch);
    native.close(this.#fd);
  }
}
