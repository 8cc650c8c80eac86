/**
 * Path MTUs by destination, as ICMP errors and probes tell them. An entry is believed for ten minutes (RFC 1191,
 * section 6.3), then a larger packet tries again. Fixed size: a new destination takes the place of an old one with the
 * same hash.
 */
import { isFragmentationNeeded, LEAST_MTU, nextHopMtu } from '../wire/icmp.js';

const SLOTS = 4096;
/** In ticks of a tenth of a second (`flow/table.ts`). */
const AGE = 6000;

export class PathMtus {
  readonly #addresses = new Int32Array(SLOTS);
  readonly #mtus = new Uint16Array(SLOTS);
  readonly #until = new Int32Array(SLOTS);
  /** Entries that may still be believed: 0 makes {@link to} free. */
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
    const s = slotOf(address);
    const believed = this.#addresses[s] === address ? this.#mtus[s] : 0;
    const told = mtu === 0 ? 0 : Math.max(mtu, LEAST_MTU);
    this.#until[s] = nowTick + AGE;
    if (told === believed) return;
    if (told !== 0 && believed === 0) this.#forget(s);
    this.#addresses[s] = address;
    this.#mtus[s] = told;
    this.size += told === 0 ? -1 : believed === 0 ? 1 : 0;
    this.changed(address, told);
  }

  /** Frees a slot for another address. */
  #forget(s: number): void {
    if (this.#mtus[s] === 0) return;
    this.#mtus[s] = 0;
    this.size--;
    this.changed(this.#addresses[s], 0);
  }

  /** The path MTU to an address; 0 where nothing is known. */
  to(address: number): number {
    if (this.size === 0) return 0;
    const s = slotOf(address);
    return this.#addresses[s] === address ? this.#mtus[s] : 0;
  }

  /** Forgets what has become too old; looks at a part of the entries. */
  sweep(nowTick: number): void {
    for (let k = 0; this.size > 0 && k < SLOTS / 16; k++) {
      const s = this.#hand;
      this.#hand = (s + 1) % SLOTS;
      if (this.#mtus[s] === 0 || ((nowTick - this.#until[s]) | 0) <= 0) continue;
      this.#forget(s);
    }
  }
}

function slotOf(address: number): number {
  const h = Math.imul(address ^ (address >>> 15), 0x9e3779b1);
  return (h >>> 20) & (SLOTS - 1);
}
