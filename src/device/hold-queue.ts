/**
 * Holds copies of packets until their due time: for the release schedule of the origin, and for the delays of the WAN
 * emulator. All memory is taken at construction: slots in one arena, so that `writeBatch` can take held packets from
 * their slots, and a binary heap over (due time, order of push) in typed arrays.
 *
 * The life of a slot: `push` → held → `pop` → read or written in its slot → `free`.
 */
import type { Clock } from './clock.js';
import { VNET_HEADER } from './device.js';

/** A size class: `slots` slots for packets of at most `slotBytes` bytes. */
export interface HoldClass {
  slotBytes: number;
  slots: number;
}

/** Free bytes in front of a packet and its virtio header, for an outer header that is prepended in place. */
export const HOLD_HEADROOM = 32;

const FREE = 0;
const HELD = 1;
const POPPED = 2;

export class HoldQueue {
  readonly arena: Uint8Array;
  readonly view: DataView;

  readonly #words: Int32Array;
  readonly #classBytes: Int32Array;
  readonly #freeTop: Int32Array;
  readonly #freeSlots: Int32Array[] = [];

  // Per slot.
  readonly #class: Uint8Array;
  readonly #state: Uint8Array;
  readonly #base: Int32Array;
  readonly #at: Int32Array;
  readonly #length: Int32Array;
  readonly #meta: Int32Array;
  readonly #due: Float64Array;
  readonly #order: Float64Array;

  readonly #heap: Int32Array;
  // [0]: the sequence number of the next push. An array, because a number field past 2^31 is boxed and so makes
  // garbage.
  readonly #sequence = new Float64Array(1);
  #size = 0;

  #sourceBuffer: ArrayBufferLike | undefined;
  #sourceWords: Int32Array = new Int32Array(0);

  /** @param classes in ascending order of `slotBytes` */
  constructor(classes: HoldClass[]) {
    const slots = classes.reduce((sum, c) => sum + c.slots, 0);
    // Up to 3 bytes of alignment in front and 3 behind, because `push` copies by words.
    const stride = (c: HoldClass) => (HOLD_HEADROOM + VNET_HEADER + c.slotBytes + 6 + 7) & ~7;
    const bytes = classes.reduce((sum, c) => sum + c.slots * stride(c), 0);
    const buffer = new ArrayBuffer(bytes);
    this.arena = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.#words = new Int32Array(buffer);
    this.#classBytes = new Int32Array(classes.map((c) => c.slotBytes));
    this.#freeTop = new Int32Array(classes.map((c) => c.slots));
    this.#class = new Uint8Array(slots);
    this.#state = new Uint8Array(slots);
    this.#base = new Int32Array(slots);
    this.#at = new Int32Array(slots);
    this.#length = new Int32Array(slots);
    this.#meta = new Int32Array(slots);
    this.#due = new Float64Array(slots);
    this.#order = new Float64Array(slots);
    this.#heap = new Int32Array(slots);
    let slot = 0;
    let base = 0;
    classes.forEach((c, k) => {
      if (k > 0 && c.slotBytes <= classes[k - 1].slotBytes) throw new RangeError('classes must ascend');
      const free = new Int32Array(c.slots);
      for (let i = 0; i < c.slots; i++, slot++, base += stride(c)) {
        this.#class[slot] = k;
        this.#base[slot] = base;
        free[c.slots - 1 - i] = slot;
      }
      this.#freeSlots.push(free);
    });
  }

  /** The number of packets held, without those that are popped and not yet freed. */
  get size(): number {
    return this.#size;
  }

  /** Due time of the earliest packet; Infinity when the queue is empty. */
  get nextDueUs(): number {
    return this.#size === 0 ? Infinity : this.#due[this.#heap[0]];
  }

  /**
   * Whole µs from now until the earliest packet is due; negative when it is late; 1e9 when the queue is empty. No
   * garbage.
   */
  dueInUs(clock: Clock): number {
    return this.#size === 0 ? 1e9 : (this.#due[this.#heap[0]] - clock.nowUs) | 0;
  }

  /**
   * Copies a packet, with the {@link VNET_HEADER} bytes that stand before it.
   * Allocates one view when `from` lies in another buffer than at the last call, and nothing else.
   * @param at offset of the first IP byte; `at - VNET_HEADER` must lie in `from`
   * @param meta a 32-bit word for the caller's own use
   * @returns the index that the other methods take, or -1 when no free slot is large enough
   */
  push(from: Uint8Array, at: number, length: number, dueUs: number, meta: number): number {
    const i = this.#take(length);
    if (i < 0) return -1;
    this.#due[i] = dueUs;
    this.#place(i, from, at, length, meta);
    return i;
  }

  /**
   * {@link push} of a packet that is due `delayUs` from now. A due time passed as an argument would be boxed, which
   * is garbage for each packet; the clock and a whole number of microseconds are not boxed.
   */
  pushIn(from: Uint8Array, at: number, length: number, clock: Clock, delayUs: number, meta: number): number {
    const i = this.#take(length);
    if (i < 0) return -1;
    this.#due[i] = clock.nowUs + delayUs;
    this.#place(i, from, at, length, meta);
    return i;
  }

  /**
   * Takes the earliest packet with a due time ≤ nowUs out of the heap; packets that are due at the same time come in
   * the order of push. The slot belongs to the caller until {@link free}.
   * @returns the packet's index, or -1 when none is due
   */
  pop(nowUs: number): number {
    if (this.#size === 0 || this.#due[this.#heap[0]] > nowUs) return -1;
    return this.#popFirst();
  }

  /** {@link pop} of a packet that is due now, without garbage. */
  popDue(clock: Clock): number {
    if (this.#size === 0 || this.#due[this.#heap[0]] > clock.nowUs) return -1;
    return this.#popFirst();
  }

  #popFirst(): number {
    const i = this.#heap[0];
    this.#state[i] = POPPED;
    const last = this.#heap[--this.#size];
    if (this.#size > 0) this.#sink(last);
    return i;
  }

  /** Offset in the arena of the first IP byte of packet i; its virtio header stands before it. */
  at(i: number): number {
    return this.#at[i];
  }
  lengthOf(i: number): number {
    return this.#length[i];
  }
  metaOf(i: number): number {
    return this.#meta[i];
  }
  dueUs(i: number): number {
    return this.#due[i];
  }

  /** @throws RangeError for a slot that was not popped: a slot that is freed twice would be used for two packets */
  free(i: number): void {
    if (this.#state[i] !== POPPED) throw new RangeError(`hold queue: slot ${i} was not popped`);
    this.#state[i] = FREE;
    const k = this.#class[i];
    this.#freeSlots[k][this.#freeTop[k]++] = i;
  }

  #place(i: number, from: Uint8Array, at: number, length: number, meta: number): void {
    this.#copy(i, from, at - VNET_HEADER, VNET_HEADER + length);
    this.#length[i] = length;
    this.#meta[i] = meta;
    this.#order[i] = this.#sequence[0]++;
    this.#state[i] = HELD;
    this.#rise(this.#size++, i);
  }

  #take(length: number): number {
    for (let k = 0; k < this.#classBytes.length; k++) {
      if (this.#classBytes[k] >= length && this.#freeTop[k] > 0)
        return this.#freeSlots[k][--this.#freeTop[k]];
    }
    return -1;
  }

  // Copies by words, and places the packet at the alignment that it has in its source. `set(subarray())` would be as
  // quick, but makes an object per packet.
  #copy(i: number, from: Uint8Array, start: number, bytes: number): void {
    if (from.buffer !== this.#sourceBuffer) {
      this.#sourceBuffer = from.buffer;
      this.#sourceWords = new Int32Array(from.buffer, 0, from.buffer.byteLength >> 2);
    }
    const source = from.byteOffset + start;
    const target = this.#base[i] + HOLD_HEADROOM + (source & 3);
    this.#at[i] = target + VNET_HEADER;
    const words = this.#words;
    const sourceWords = this.#sourceWords;
    const first = source >> 2;
    const end = Math.min((source + bytes + 3) >> 2, sourceWords.length);
    const shift = (target >> 2) - first;
    for (let w = first; w < end; w++) words[w + shift] = sourceWords[w];
    // The last bytes of a buffer whose length is not a multiple of four.
    for (let b = Math.max(end * 4 - source, 0); b < bytes; b++) this.arena[target + b] = from[start + b];
  }

  #before(i: number, j: number): boolean {
    const due = this.#due;
    return due[i] < due[j] || (due[i] === due[j] && this.#order[i] < this.#order[j]);
  }

  #rise(hole: number, i: number): void {
    const heap = this.#heap;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (!this.#before(i, heap[parent])) break;
      heap[hole] = heap[parent];
      hole = parent;
    }
    heap[hole] = i;
  }

  #sink(i: number): void {
    const heap = this.#heap;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && this.#before(heap[child + 1], heap[child])) child++;
      if (!this.#before(heap[child], i)) break;
      heap[hole] = heap[child];
      hole = child;
    }
    heap[hole] = i;
  }
}
