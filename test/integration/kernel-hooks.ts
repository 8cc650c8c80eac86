// Runs the hooks in the kernel on the test's own packets, by BPF_PROG_TEST_RUN.
import { expect } from 'vitest';
import type { KernelPath } from '../../src/fastpath/kernel.js';
import { FLOW_KEY, FLOW_VALUE } from '../../src/fastpath/layout.js';
import { bpf } from '../../src/fastpath/native.js';

const ETHERNET = Uint8Array.of(2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0);
const ETHERNET6 = Uint8Array.of(2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x86, 0xdd);
const SK_BUFF = 192;
const INGRESS_IFINDEX = 36;
const IFINDEX = 40;
export const REDIRECT = 7;
const OK = 0;
export const SHOT = 2;
export const LEFT = -1;

/** Indexes of the interfaces on which packets arrive. */
export const interfaces: Record<string, number> = {};

export const hex = (b: Uint8Array): string => Buffer.from(b).toString('hex');

export class Kernel {
  readonly #programs = new Map<string, number>();
  /** The last byte of the hardware address to which the last packet was sent. */
  nextHop = 0;
  /** The verdict of the last hook. */
  verdict = LEFT;
  constructor(
    readonly path: KernelPath,
    readonly instance: string,
  ) {}

  /** The packet that a hook makes of a packet (without virtio header), or undefined when it leaves it unchanged. */
  run(program: string, from: string, packet: Uint8Array): Uint8Array | undefined {
    const fd =
      this.#programs.get(program) ??
      bpf.get(`${process.env.FIRSTACK_BPF_DIR}/firstack/${this.instance}/hooks/${program}`);
    this.#programs.set(program, fd);
    const input = Uint8Array.from([...(packet[0] >>> 4 === 6 ? ETHERNET6 : ETHERNET), ...packet]);
    const output = new Uint8Array(input.length + 256);
    const context = new Uint8Array(SK_BUFF);
    const view = new DataView(context.buffer);
    view.setInt32(INGRESS_IFINDEX, interfaces[from], true);
    view.setInt32(IFINDEX, interfaces[from], true);
    const verdict = bpf.testRun(fd, input, output, context, 1);
    const out = output.subarray(ETHERNET.length, view.getUint32(0, true));
    this.nextHop = output[5];
    const same = Buffer.compare(out, packet) === 0;
    if (verdict === LEFT) {
      this.verdict = LEFT;
      expect(hex(out)).toBe(hex(packet));
      return undefined;
    }
    expect([OK, SHOT, REDIRECT]).toContain(verdict);
    this.verdict = verdict;
    // A packet that is redirected to the TUN unchanged is decided there.
    return same ? undefined : out.slice();
  }

  clear(): void {
    const keys = new Uint8Array(FLOW_KEY * 4096);
    const values = new Uint8Array(FLOW_VALUE * 4096);
    const n = bpf.scan(this.path.descriptor('flows'), new Uint8Array(4), 1, keys, values, 4096);
    expect(n).toBeLessThan(0);
    bpf.remove(this.path.descriptor('flows'), keys, FLOW_KEY, -1 - n);
  }

  close(): Promise<void> {
    for (const fd of this.#programs.values()) bpf.close(fd);
    return this.path.remove();
  }
}
