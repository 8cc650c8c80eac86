/** The types of the N-API addon (`native/tun.c`), which is loaded once per thread. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export interface Native {
  openTun(name: string, flags: number): number;
  close(fd: number): void;
  readBatch(
    fd: number,
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    limit: number,
    slot: number,
    header: number,
    bytes: number,
    gap: number,
    waitUs: number,
  ): number;
  writeBatch(
    fd: number,
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    count: number,
    opened: Uint8Array,
  ): number;
  /**
   * Writes to memory what `writeBatch` would write to the kernel, virtio headers included. @returns the number of
   * packets
   */
  writeMemory(
    out: Uint8Array,
    outLengths: Int32Array,
    arena: Uint8Array,
    at: Int32Array,
    lengths: Int32Array,
    count: number,
    opened: Uint8Array,
  ): number;
  watch(fd: number, callback: (status: number) => void): number;
  unwatch(id: number): void;
  timer(callback: () => void): number;
  armTimer(id: number, atUs: number): void;
  clock(out: Float64Array): void;
  interfaceSet(name: string, what: 'mtu' | 'up' | 'queueLength', value: number): void;
  interfaceSet(name: string, what: 'ipv4' | 'ipv6', value: string): void;
  interfaceGet(name: string, what: 'mtu' | 'up' | 'queueLength'): number;
  setns(path: string): void;
  /**
   * Counts the TCP sockets of this network namespace, IPv4 and IPv6, on these local ports.
   * @param states one bit per TCP state, numbered as the kernel does
   * @throws an Error with the kernel's `code`; ENOENT where the kernel cannot list sockets (tcp_diag)
   */
  countSockets(states: number, ports: Uint16Array): number;
  /**
   * Those of such sockets whose client has sent something for which nothing was sent back yet.
   * @param out gets two words of each, as far as there is room: a number of the socket that no other living one has but by
   *   chance, and for how long its client has waited, ms
   * @returns how many it got
   */
  waitingClients(states: number, ports: Uint16Array, out: Int32Array): number;
  /**
   * Opens a netlink socket that hears multicast groups. It does not block; read it with `fs.readSync`.
   * @param groups one bit per group, the first group in bit 0
   * @returns the descriptor
   * @throws an Error with the kernel's `code`
   */
  openNetlink(protocol: number, groups: number): number;
  /**
   * Sends one datagram to a Unix socket; a leading `@` names an abstract one. @throws an Error with the kernel's
   * `code`
   */
  notify(socket: string, text: string): void;
}

export const OPEN_VNET = 1;
export const OPEN_CSUM = 2;
export const OPEN_TSO = 4;

// The addon is in dist/native. This file runs as dist/src/device/native.js, or from src/ in the tests.
const here = fileURLToPath(new URL('.', import.meta.url));
const root = here.includes('/dist/src/')
  ? here.replace(/\/dist\/src\/.*/, '')
  : here.replace(/\/src\/.*/, '');

export const native: Native = createRequire(import.meta.url)(`${root}/dist/native/tun.node`);
