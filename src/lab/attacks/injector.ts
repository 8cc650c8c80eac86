/**
 * Sends packets of any source from the network namespace in which this process is started, as if they came from hosts
 * behind it: they are written to a TUN, and the kernel forwards them.
 */
import { execFileSync } from 'node:child_process';
import { VNET_HEADER } from '../../device/device.js';
import { Tun } from '../../device/tun.js';
import { writeSysctl } from '../../steer/tools.js';
import * as ipv4 from '../../wire/ipv4.js';

const NAME = 'inject0';
const SLOT = 160;
/** Room in front of a packet for an outer header. */
const HEADROOM = 64;

export class Injector {
  readonly #tun = new Tun(NAME);
  readonly #arena: Uint8Array;
  readonly #at: Int32Array;
  readonly #lengths: Int32Array;
  readonly view: DataView;

  /**
   * @param most packets of one write
   * @param slot bytes that each may have, with the room in front of it
   */
  constructor(
    readonly most: number,
    readonly slot = SLOT,
  ) {
    this.#arena = new Uint8Array(most * slot);
    this.view = new DataView(this.#arena.buffer);
    this.#at = new Int32Array(most);
    this.#lengths = new Int32Array(most);
    this.#tun.isUp = true;
    execFileSync('ip', ['address', 'add', '192.0.0.9/32', 'dev', NAME]);
    for (const key of [`net.ipv4.conf.${NAME}.accept_local`, 'net.ipv4.ip_forward']) writeSysctl(key, '1');
    for (const key of [`net.ipv4.conf.${NAME}.rp_filter`, 'net.ipv4.conf.all.rp_filter'])
      writeSysctl(key, '0');
  }

  /** Where packet `i` may begin: {@link HEADROOM} bytes in front of it are free. */
  placeOf(i: number): number {
    return i * this.slot + HEADROOM + VNET_HEADER;
  }

  /** Sends packets 0 … n − 1. @param starts where each begins now */
  send(n: number, starts: (i: number) => number): void {
    for (let i = 0; i < n; i++) {
      this.#at[i] = starts(i);
      this.#lengths[i] = ipv4.totalLength(this.view, this.#at[i]);
    }
    this.#tun.writeBatch(this.#arena, this.#at, this.#lengths, n);
  }

  release(): void {
    this.#tun.release();
  }
}
