/**
 * Path MTUs by destination, as ICMP errors and probes tell them. An entry is believed for ten minutes (RFC 1191,
 * section 6.3), then a larger packet tries again. Fixed size: where all places for an address are taken, the one that
 * was told first gives way.
 */
import { isFragmentationNeeded, LEAST_MTU, nextHopMtu } from '../wire/icmp.js';

const SLOTS = 4096;
/** The places in which an address may be: the next ones from its hash on. */
const PLACES = 8;
/** In ticks of a tenth of a second (`flow/table.ts`). */
const AGE = 6000;

export class PathMtus {
  readonly #addresses = new Int32Array(SLOTS);
  /** 0 in a free place. */
  readonly #mtus = new Uint16Array(SLOTS);
  readonly #until = new Int32Array(SLOTS);
  /** Destinations whose path MTU is known: where it is 0, {@link to} costs nothing. */
  size = 0;
  #hand = 0;
  /** Called when an entry changes; `mtu` is 0 when it is forgotten. */
  changed: (address: number, mtu: number) => void = () => {};

  /** Takes over what the ICMP error at `l4` tells about the path to an address; other errors tell nothing. */
  learn(address: number, view: DataView, l4: number, nowTick: number): void {
    if (isFragmentationNeeded(view, l4)) this.set(address, nextHopMtu(view, l4), nowTick);
  }

  /** @param mtu of the whole packet, a tunnel's outer header included; 0 forgets */
  set(address: number, mtu: number, nowTick: number): void {
    const known = this.#find(address);
    if (mtu === 0) {
      if (known >= 0) this.#forget(known);
      return;
    }
    const told = Math.max(mtu, LEAST_MTU);
    const s = known >= 0 ? known : this.#place(address, nowTick);
    const before = this.#mtus[s];
    this.#until[s] = nowTick + AGE;
    if (known >= 0 && before === told) return;
    if (known < 0) {
      if (before !== 0) this.#forget(s);
      this.size++;
    }
    this.#addresses[s] = address;
    this.#mtus[s] = told;
    this.changed(address, told);
  }

  /** The path MTU to an address; 0 where nothing is known. */
  to(address: number): number {
    if (this.size === 0) return 0;
    const s = this.#find(address);
    return s < 0 ? 0 : this.#mtus[s];
  }

  /** Forgets what has become too old; looks at a part of the entries. */
  sweep(nowTick: number): void {
    for (let k = 0; this.size > 0 && k < SLOTS / 16; k++) {
      const s = this.#hand;
      this.#hand = (s + 1) % SLOTS;
      if (this.#mtus[s] !== 0 && ((nowTick - this.#until[s]) | 0) > 0) this.#forget(s);
    }
  }

  /** The place of an address, or -1. */
  #find(address: number): number {
    const first = slotOf(address);
    for (let k = 0; k < PLACES; k++) {
      const s = (first + k) % SLOTS;
      if (this.#mtus[s] !== 0 && this.#addresses[s] === address) return s;
    }
    return -1;
  }

  /** The place for an address that has none: a free one, or that of the entry that was told first. */
  #place(address: number, nowTick: number): number {
    const first = slotOf(address);
    let oldest = first;
    for (let k = 0; k < PLACES; k++) {
      const s = (first + k) % SLOTS;
      if (this.#mtus[s] === 0) return s;
      if (((nowTick - this.#until[s]) | 0) > ((nowTick - this.#until[oldest]) | 0)) oldest = s;
    }
    return oldest;
  }

  #forget(s: number): void {
    this.#mtus[s] = 0;
    this.size--;
    this.changed(this.#addresses[s], 0);
  }
}

function slotOf(address: number): number {
  const h = Math.imul(address ^ (address >>> 15), 0x9e3779b1);
  return (h >>> 20) & (SLOTS - 1);
}
