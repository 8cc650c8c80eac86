/**
 * A source and sink of IP packets, in batches. The data plane and the WAN emulator are written against
 * this; `tun.ts` is the real one, `memory.ts` the one of the tests, and `pcap.ts` and `fault.ts` wrap
 * any of them.
 *
 * Packets live in the caller's arena. Packet `i` has its first IP byte at `arena[at[i]]`; the
 * {@link VNET_HEADER} bytes before it hold its virtio header (`src/wire/virtio.ts`), on both ways.
 */
/** So many bytes are read at the most before they are written again: a part of a processor's second cache. */
export const BATCH_BYTES = 128 * 1024;

/** Bytes at least between packets that were read: each may have headers put in front. */
export const PACKET_GAP = 64;

export interface Device {
  readonly name: string;
  /**
   * Reads up to `limit` packets and sets `lengths[i]`. `at[i]` says where each may go; a device may
   * move those behind the first, {@link PACKET_GAP} bytes from each other at least.
   * @param slot the most bytes one packet may have
   * @param waitUs to wait for the first at the most; 0 by default
   * @returns how many were read; 0 when none is there
   * @throws DeviceError when the device is gone
   */
  readBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    limit: number,
    slot: number,
    waitUs?: number,
  ): number;
  /**
   * Writes `count` packets. One that the kernel refuses has its length replaced by -errno. Super-packets
   * in a tunnel are segmented on the way, since no virtio header can say what they are.
   * @param opened not 0 for packets that have just come out of a tunnel: segments of one flow that follow
   * each other may be written as one super-packet. Their headers may be changed.
   * @returns how many were accepted
   */
  writeBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    count: number,
    opened?: Uint8Array,
  ): number;
  /** Calls back each time that packets can be read. One callback at most. */
  onReadable(callback: () => void): void;
  release(): void;
}

/** Bytes of the virtio network header that stand before each packet. */
export const VNET_HEADER = 10;

export class DeviceError extends Error {
  constructor(
    readonly device: string,
    readonly errno: number,
  ) {
    super(`device ${device}: error ${errno}`);
  }
}
