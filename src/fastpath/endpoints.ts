/** Which addresses and ports speak for which service, in the kernel. */
import { KernelSet } from './kernel-set.js';
import { ENDPOINT_KEY, ENDPOINT_VALUE, type KernelEndpoint, writeEndpoint } from './layout.js';

export interface EndpointHandles {
  /** The map's descriptor. */
  endpoints: number;
}

export class KernelEndpoints {
  readonly #set: KernelSet;

  constructor({ endpoints }: EndpointHandles) {
    this.#set = new KernelSet(endpoints, ENDPOINT_KEY, ENDPOINT_VALUE);
  }

  /**
   * A program lists each endpoint as long as flows need it.
   * @param mayForgetOthers as in {@link KernelSet.load}
   */
  load(list: readonly KernelEndpoint[], mayForgetOthers: boolean): void {
    const keys = new Uint8Array(list.length * ENDPOINT_KEY);
    const values = new Uint8Array(list.length * ENDPOINT_VALUE);
    const [k, v] = [new DataView(keys.buffer), new DataView(values.buffer)];
    list.forEach((e, n) => {
      writeEndpoint(k, v, n, e);
    });
    this.#set.load(keys, values, mayForgetOthers);
  }
}
