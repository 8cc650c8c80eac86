/** Tells the hooks which paths are narrow: they leave larger packets of pinned flows to the TUN, which answers them. */
import { V4_MAPPED } from '../wire/address.js';
import { AWAKE, PATH_KEY, PATH_VALUE } from './layout.js';
import { bpf } from './native.js';

/** Descriptors of the maps of these names. */
export interface PathHandles {
  paths: number;
  awake: number;
}

/** The second element of `awake`: how many narrow paths there are. */
const NARROW = 1;

export class NarrowPaths {
  readonly #key = new DataView(new ArrayBuffer(PATH_KEY));
  readonly #value = new DataView(new ArrayBuffer(PATH_VALUE));
  readonly #place = new DataView(new ArrayBuffer(4));
  readonly #count = new DataView(new ArrayBuffer(AWAKE));

  constructor(readonly fds: PathHandles) {
    this.#key.setInt32(8, V4_MAPPED);
    this.#place.setUint32(0, NARROW, true);
  }

  /**
   * @param address of an IPv4 target, as a word
   * @param mtu 0 where the path is not known to be narrow
   * @param count how many narrow paths there are now
   */
  set(address: number, mtu: number, count: number): void {
    this.#key.setInt32(12, address);
    this.#value.setUint32(0, mtu, true);
    this.#count.setUint32(0, count, true);
    const bytes = (view: DataView): Uint8Array => new Uint8Array(view.buffer);
    const { paths, awake } = this.fds;
    if (mtu === 0) bpf.remove(paths, bytes(this.#key), PATH_KEY, 1);
    else bpf.update(paths, bytes(this.#key), PATH_KEY, bytes(this.#value), PATH_VALUE, 1);
    bpf.update(awake, bytes(this.#place), 4, bytes(this.#count), AWAKE, 1);
  }
}
