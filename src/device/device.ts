/**
 * A source and sink of IP packets, in batches. The data plane and the WAN emulator use this interface. `tun.ts` is
 * the device of a running role, `memory.ts` the device of the tests; `pcap.ts` and `fault.ts` wrap any device.
 *
 * Packets live in the caller's arena. Packet `i` has its first IP byte at `arena[at[i]]`. The {@link VNET_HEADER}
 * bytes before it hold its virtio header (`src/wire/virtio.ts`), both when it is read and when it is written.
 */
/**
 * The most bytes that one read takes, so that a batch is written while it is still in the processor's second-level
 * cache.
 */
export const BATCH_BYTES = 128 * 1024;

/** The least number of bytes between two packets that were read: headers may be put in front of each. */
export const PACKET_GAP = 80;

export interface Device {
  readonly name: string;
  /**
   * Reads up to `limit` packets and sets `lengths[i]`. `at[i]` is the caller's proposal where packet `i` goes. A
   * device may move all packets but the first; they stay at least {@link PACKET_GAP} bytes apart.
   * @param slot the most bytes that one packet may have
   * @param waitUs how long to wait for the first packet at the most; 0 by default
   * @returns the number of packets read; 0 when there is none
   * @throws DeviceError when the device no longer exists
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
   * Writes `count` packets. Where the kernel refuses a packet, -errno replaces its length. Encapsulated super-packets
   * are segmented before they are written, because no virtio header can describe them.
   * @param opened not 0 for packets that have just been decapsulated: consecutive segments of one flow may be written
   * as one super-packet. Their headers may be changed.
   * @returns the number of packets that were accepted
   */
  writeBatch(
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    count: number,
    opened?: Uint8Array,
  ): number;
  /** Sets the one callback, which is called each time that packets can be read. */
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
