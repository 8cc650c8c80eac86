/**
 * A batch of packets in one arena, and the decision about each.
 *
 * Packets 0 … count-1 were read; packets count … total-1 were emitted by stages (copies, resets). A stage looks at
 * the undecided packets (`verdict[i] === OPEN`), edits them in place, and decides with {@link Batch.pass}, {@link
 * Batch.drop} or {@link Batch.hold}. It never allocates, awaits, logs or throws.
 *
 * Bounds: `validate.ts` checks a packet once. Stages before it must not read the packet's bytes.
 */
import type { Clock } from '../device/clock.js';
import { PACKET_GAP, VNET_HEADER } from '../device/device.js';
import {
  type At,
  columnOf,
  type EndpointNumber,
  type FlowEntry,
  NO_ENDPOINT,
  NO_FLOW,
  NO_SERVICE,
  type ServiceNumber,
  wordColumn,
} from '../flow/numbers.js';

export const OPEN = 0;
export const PASS = 1;
export const DROP = 2;
/** Kept in the hold queue, to be sent later. */
export const HOLD = 3;
export const EMIT = 4;

/** The most packets that one read takes, and the bytes that each may have: those of a GSO super-packet. */
export const BATCH = 128;
export const SLOT = 65536;
/** Bytes before each packet: a virtio header (10), a tag (16) and an outer header (40) may be put in front. */
export const HEADROOM = PACKET_GAP;
/** The most packets that stages may add before a flush. Stages add only SYNs and resets, so these are small. */
export const EXTRAS = 512;
export const EXTRA_SLOT = 2048;

const READ_STRIDE = HEADROOM + SLOT;
const EXTRA_STRIDE = HEADROOM + EXTRA_SLOT;
const SLOTS = BATCH + EXTRAS;

/** Places in the arena in which fragments are put together (`reassemble.ts`). */
export const DATAGRAMS = 128;
const DATAGRAMS_AT = BATCH * READ_STRIDE + EXTRAS * EXTRA_STRIDE;
/** First byte of the payload of a datagram that is put together: its header may have 60 bytes. */
export const datagramAt = (n: number): number => DATAGRAMS_AT + n * READ_STRIDE + HEADROOM + 60;

export class Batch {
  readonly arena = new Uint8Array(DATAGRAMS_AT + DATAGRAMS * READ_STRIDE + 60);
  readonly view = new DataView(this.arena.buffer);
  count = 0;
  total = 0;
  /** Since when the device has had more packets than were read, µs of the clock; 0 where all were read. */
  behindSinceUs = 0;
  /** Counts the batches, modulo 2^30. */
  number = 0;

  /** First byte of each packet's IP header in the arena. */
  readonly at = wordColumn<At>(SLOTS);
  readonly length = new Int32Array(SLOTS);
  readonly verdict = new Uint8Array(SLOTS);

  // Columns that `validate.ts` decodes. A stage that opens a tunnel or translates a packet keeps them up to date.
  /** First byte of the transport header. */
  readonly l4 = wordColumn<At>(SLOTS);
  /** 4 or 6. */
  readonly family = new Uint8Array(SLOTS);
  readonly protocol = new Uint8Array(SLOTS);
  /** Four words per packet; IPv4 addresses are v4-mapped. */
  readonly saddr = new Int32Array(4 * SLOTS);
  readonly daddr = new Int32Array(4 * SLOTS);
  /** 0 where the protocol has no ports. */
  readonly sport = new Uint16Array(SLOTS);
  readonly dport = new Uint16Array(SLOTS);
  readonly tcpFlags = new Uint8Array(SLOTS);
  /** 1 for a packet that a stage took out of a tunnel; the device may join such segments. */
  readonly opened = new Uint8Array(SLOTS);

  // Columns that a program's lookups fill in; -1 for none.
  readonly flow = columnOf<FlowEntry>(new Int32Array(SLOTS));
  readonly service = columnOf<ServiceNumber>(new Int32Array(SLOTS));
  /** The endpoint that the packet comes from. */
  readonly endpoint = columnOf<EndpointNumber>(new Int32Array(SLOTS));
  /** The side that the packet comes from, numbered by the program; 0 for neither. */
  readonly side = new Uint8Array(SLOTS);

  /** Called when the extra slots are used up: writes the extra packets and makes room. */
  flush: () => void = () => {};

  /** @param counters one per reason, in shared memory: this thread adds, the control plane reads */
  constructor(
    readonly clock: Clock,
    readonly counters: Float64Array,
  ) {
    this.reset();
  }

  /** Makes every read slot empty and puts it back at its place. */
  reset(): void {
    this.count = 0;
    this.total = 0;
    for (let i = 0; i < BATCH; i++) this.at[i] = (i * READ_STRIDE + HEADROOM) as At;
  }

  /** Begins a batch of `count` packets that were read to `at`/`length`. */
  begin(count: number): void {
    this.number = (this.number + 1) & 0x3fffffff;
    this.count = count;
    this.total = count;
    this.verdict.fill(OPEN, 0, count);
    this.flow.fill(NO_FLOW, 0, count);
    this.service.fill(NO_SERVICE, 0, count);
    this.endpoint.fill(NO_ENDPOINT, 0, count);
    this.side.fill(0, 0, count);
    this.opened.fill(0, 0, count);
  }

  pass(i: number, reason: number): void {
    this.verdict[i] = PASS;
    this.counters[reason]++;
  }

  drop(i: number, reason: number): void {
    this.verdict[i] = DROP;
    this.counters[reason]++;
  }

  hold(i: number, reason: number): void {
    this.verdict[i] = HOLD;
    this.counters[reason]++;
  }

  /**
   * Adds a packet of at most {@link EXTRA_SLOT} bytes. The caller must write it to `at[…]` before it calls this
   * again. Its virtio header is clear.
   */
  emit(length: number, reason: number): number {
    if (this.total - this.count >= EXTRAS) this.flush();
    const i = this.total++;
    const at = (BATCH * READ_STRIDE + (i - this.count) * EXTRA_STRIDE + HEADROOM) as At;
    this.at[i] = at;
    this.length[i] = length;
    this.verdict[i] = EMIT;
    this.arena.fill(0, at - VNET_HEADER, at);
    this.counters[reason]++;
    return i;
  }

  /** Adds a copy of packet `i`, with its virtio header and columns. The packet must fit into {@link EXTRA_SLOT}. */
  emitCopy(i: number, reason: number): number {
    const k = this.emit(this.length[i], reason);
    const from = this.at[i];
    const to = this.at[k];
    this.arena.copyWithin(to - VNET_HEADER, from - VNET_HEADER, from + this.length[i]);
    this.l4[k] = (to + this.l4[i] - from) as At;
    this.service[k] = this.service[i];
    this.family[k] = this.family[i];
    this.protocol[k] = this.protocol[i];
    this.sport[k] = this.sport[i];
    this.dport[k] = this.dport[i];
    for (let w = 0; w < 4; w++) {
      this.saddr[4 * k + w] = this.saddr[4 * i + w];
      this.daddr[4 * k + w] = this.daddr[4 * i + w];
    }
    return k;
  }

  /** The source of packet `i` as the word of an IPv4 address. */
  saddrV4(i: number): number {
    return this.saddr[4 * i + 3];
  }

  /** The destination of packet `i` as the word of an IPv4 address. */
  daddrV4(i: number): number {
    return this.daddr[4 * i + 3];
  }

  /**
   * Removes the packet that {@link emit} made last, without counting it; for a packet that goes into the hold queue.
   */
  takeBack(i: number, reason: number): void {
    this.total = i;
    this.counters[reason]--;
  }
}

/** One step of a program's work. */
export type Stage = (batch: Batch) => void;

/** Packets of a batch that were found to belong to a flow that was removed since belong to none. */
export function forgetFlow(batch: Batch, removed: FlowEntry): void {
  moveFlow(batch, removed, NO_FLOW);
}

/** Packets of a batch that belong to one flow belong to another one. */
export function moveFlow(batch: Batch, from: FlowEntry, to: FlowEntry): void {
  for (let i = 0; i < batch.count; i++) if (batch.flow[i] === from) batch.flow[i] = to;
}
