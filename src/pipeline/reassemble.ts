/**
 * Puts fragments together (RFC 791, section 3.2), in whatever order they come, so that stages see whole packets. The
 * kernel fragments a packet again where the way out needs it: only packets without DF are fragmented.
 *
 * Memory is capped: {@link DATAGRAMS} datagrams of at most 64 KiB are put together at a time, and the oldest gives way.
 * A datagram with overlapping fragments is refused whole (RFC 5722 has that rule for IPv6), and so is a first fragment
 * that does not contain the transport header (RFC 1858).
 */
import type { Clock } from '../device/clock.js';
import type { At } from '../flow/numbers.js';
import { OVERHEAD } from '../wire/ipip.js';
import * as ipv4 from '../wire/ipv4.js';
import * as tcp from '../wire/tcp.js';
import * as virtio from '../wire/virtio.js';
import { type Batch, DATAGRAMS, datagramAt } from './batch.js';
import { common } from './reasons.js';

/** RFC 791 suggests 15 s. */
const PATIENCE_US = 15e6;
/** A larger datagram leaves no room for a tunnel's header. */
const MOST = 65_535 - OVERHEAD;
/** Payload bytes of one bit in a datagram's map. */
const BLOCK = 8;
const WORDS = Math.ceil(MOST / BLOCK / 32);

export class Reassembler {
  readonly #headerBytes = new Uint8Array(DATAGRAMS);
  /** The batch that a place's whole datagram belongs to: until it is written the place is in use. */
  readonly #doneIn = new Int32Array(DATAGRAMS).fill(-1);
  readonly #saddr = new Int32Array(DATAGRAMS);
  readonly #daddr = new Int32Array(DATAGRAMS);
  /** protocol << 16 | identification; -1 for a free place. */
  readonly #key = new Int32Array(DATAGRAMS).fill(-1);
  readonly #begunUs = new Float64Array(DATAGRAMS).fill(Number.NEGATIVE_INFINITY);
  /** Payload bytes that have come, and those that there are; -1 until the last fragment has come. */
  readonly #have = new Int32Array(DATAGRAMS);
  readonly #whole = new Int32Array(DATAGRAMS);
  readonly #refused = new Uint8Array(DATAGRAMS);
  readonly #map = new Int32Array(DATAGRAMS * WORDS);

  constructor(readonly clock: Clock) {}

  /**
   * Takes fragment `i`. Requires `ipv4.checkLength`.
   * @returns whether packet `i` is the whole datagram now; else the packet is decided
   */
  take(batch: Batch, i: number): boolean {
    const { view } = batch;
    const at = batch.at[i];
    const header = ipv4.headerLength(view, at);
    const from = ipv4.fragmentOffset(view, at);
    const bytes = ipv4.totalLength(view, at) - header;
    const isLast = !ipv4.moreFragments(view, at);
    const isOdd = !isLast && bytes % BLOCK !== 0;
    if (virtio.needsCsum(view, at) || bytes === 0 || isOdd || from + bytes + header > MOST)
      return this.#drop(batch, i, common.dropMalformed);
    const isTcp = ipv4.protocol(view, at) === ipv4.PROTO_TCP;
    const d = this.#place(batch, at);
    if (d < 0) return this.#drop(batch, i, common.dropFragment);
    if (isTcp && from < tcp.MIN_HEADER && (from > 0 || bytes < tcp.MIN_HEADER)) this.#refused[d] = 1;
    if (this.#refused[d] !== 0) return this.#drop(batch, i, common.dropFragment);
    if (this.#isRepeated(d, batch, at + header, from, bytes))
      return this.#drop(batch, i, common.dropFragmentRepeated);
    const end = this.#whole[d];
    const disagrees = end >= 0 && (isLast ? end !== from + bytes : from + bytes > end);
    if (disagrees || this.#overlaps(d, from, bytes)) {
      this.#refused[d] = 1;
      return this.#drop(batch, i, common.dropFragment);
    }
    this.#keep(d, batch, at, header, from, bytes);
    if (isLast) this.#whole[d] = from + bytes;
    if (this.#have[d] !== this.#whole[d]) return this.#drop(batch, i, common.joinedFragment);
    this.#finish(d, batch, i);
    return true;
  }

  #drop(batch: Batch, i: number, reason: number): false {
    batch.drop(i, reason);
    return false;
  }

  /** The place of a fragment's datagram: its own, a free one, or that of the oldest; -1 for none. */
  #place(batch: Batch, at: number): number {
    const { view } = batch;
    const saddr = ipv4.saddr(view, at);
    const daddr = ipv4.daddr(view, at);
    const key = (ipv4.protocol(view, at) << 16) | ipv4.id(view, at);
    const { nowUs } = this.clock;
    let free = -1;
    for (let d = 0; d < DATAGRAMS; d++) {
      if (nowUs - this.#begunUs[d] > PATIENCE_US) this.#release(d);
      if (this.#key[d] === key && this.#saddr[d] === saddr && this.#daddr[d] === daddr) return d;
      if (this.#doneIn[d] !== batch.number && (free < 0 || this.#begunUs[d] < this.#begunUs[free])) free = d;
    }
    if (free < 0) return -1;
    this.#key[free] = key;
    this.#saddr[free] = saddr;
    this.#daddr[free] = daddr;
    this.#begunUs[free] = nowUs;
    this.#have[free] = 0;
    this.#whole[free] = -1;
    this.#refused[free] = 0;
    this.#headerBytes[free] = 0;
    this.#map.fill(0, free * WORDS, (free + 1) * WORDS);
    return free;
  }

  #keep(d: number, batch: Batch, at: number, header: number, from: number, bytes: number): void {
    // Loops, because `set(subarray())` makes an object per fragment.
    const { arena } = batch;
    const to = datagramAt(d);
    for (let b = 0; b < bytes; b++) arena[to + from + b] = arena[at + header + b];
    if (from === 0) {
      for (let b = 0; b < header; b++) arena[to - header + b] = arena[at + b];
      this.#headerBytes[d] = header;
    }
    for (let b = Math.floor(from / BLOCK); b * BLOCK < from + bytes; b++)
      this.#map[d * WORDS + (b >>> 5)] |= 1 << (b & 31);
    this.#have[d] += bytes;
  }

  /** Whether all these bytes have come already: a network may repeat a packet. */
  #isRepeated(d: number, batch: Batch, at: number, from: number, bytes: number): boolean {
    const to = datagramAt(d) + from;
    for (let b = Math.floor(from / BLOCK); b * BLOCK < from + bytes; b++)
      if ((this.#map[d * WORDS + (b >>> 5)] & (1 << (b & 31))) === 0) return false;
    for (let b = 0; b < bytes; b++) if (batch.arena[to + b] !== batch.arena[at + b]) return false;
    return true;
  }

  #overlaps(d: number, from: number, bytes: number): boolean {
    for (let b = Math.floor(from / BLOCK); b * BLOCK < from + bytes; b++)
      if ((this.#map[d * WORDS + (b >>> 5)] & (1 << (b & 31))) !== 0) return true;
    return false;
  }

  /** Packet `i` becomes the whole datagram, where it was put together. */
  #finish(d: number, batch: Batch, i: number): void {
    const { view } = batch;
    const header = this.#headerBytes[d];
    const at = (datagramAt(d) - header) as At;
    virtio.clear(view, at);
    ipv4.setWhole(view, at, header + this.#whole[d]);
    batch.at[i] = at;
    batch.length[i] = header + this.#whole[d];
    this.#doneIn[d] = batch.number;
    this.#release(d);
  }

  /** Makes a place the first to be used again. */
  #release(d: number): void {
    this.#key[d] = -1;
    this.#begunUs[d] = Number.NEGATIVE_INFINITY;
  }
}
