/** An emulator between devices in memory, for the tests: packets go in, and come out with their times. */
import { ManualClock } from '../../../src/device/clock.js';
import { VNET_HEADER } from '../../../src/device/device.js';
import { type MemoryDevice, memoryPair } from '../../../src/device/memory.js';
import { Emulator, type WanPlan } from '../../../src/lab/emulator.js';

export const HOSTS = ['gateway', 'origin', 'r1'];
const PREFIXES: Record<string, string[]> = {
  gateway: ['198.18.1.0/24', '192.0.2.0/24'],
  origin: ['198.18.2.0/24', '203.0.113.0/24'],
  r1: ['198.18.11.0/24', '203.0.113.128/25'],
};
export const ADDRESS: Record<string, string> = {
  gateway: '192.0.2.2',
  origin: '203.0.113.10',
  r1: '198.18.11.2',
};

export function plan(paths: WanPlan['paths']): WanPlan {
  const hosts = HOSTS.map((name) => ({ name, prefixes: PREFIXES[name] }));
  return { generation: 0, seed: 7, hosts, paths };
}

/** Virtio header and IPv4 packet, both recognizable by `mark`. */
export function packet(daddr: string, mark: number, length = 40): Uint8Array {
  const bytes = new Uint8Array(VNET_HEADER + length);
  const view = new DataView(bytes.buffer);
  bytes[1] = mark & 255;
  bytes[VNET_HEADER] = 0x45;
  view.setUint16(VNET_HEADER + 2, length);
  daddr.split('.').forEach((n, i) => {
    bytes[VNET_HEADER + 16 + i] = Number(n);
  });
  view.setUint32(VNET_HEADER + 20, mark);
  return bytes;
}
const markOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(VNET_HEADER + 20);

export class Bench {
  readonly clock = new ManualClock(1_000_000);
  readonly emulator: Emulator;
  /** The packets written back to each host's device, with the time. */
  readonly got: { host: string; mark: number; atUs: number; bytes: Uint8Array }[] = [];
  readonly #kernels: Record<string, MemoryDevice> = {};

  /** @param hosts the devices, in the plan's order */
  constructor(
    paths: WanPlan['paths'] | WanPlan,
    classes = [{ slotBytes: 2048, slots: 256 }],
    readonly hosts = HOSTS,
  ) {
    const devices = hosts.map((host) => {
      const [device, kernel] = memoryPair();
      this.#kernels[host] = kernel;
      return device;
    });
    this.emulator = new Emulator(devices, isPlan(paths) ? paths : plan(paths), this.clock, classes);
  }

  send(from: string, bytes: Uint8Array): void {
    const n = this.hosts.indexOf(from);
    (this.emulator.devices[n] as MemoryDevice).queue.push(bytes);
    this.emulator.receive(n);
    this.#collect();
  }

  /** Advances the clock from one due time to the next until no packet is held. */
  drain(): void {
    while (this.emulator.nextDueUs !== Infinity) {
      this.clock.nowUs = Math.max(this.clock.nowUs, this.emulator.nextDueUs);
      this.emulator.release();
      this.#collect();
    }
  }

  #collect(): void {
    for (const host of this.hosts) {
      for (const bytes of this.#kernels[host].queue.splice(0)) {
        this.got.push({ host, mark: markOf(bytes), atUs: this.clock.nowUs, bytes });
      }
    }
  }
}

const isPlan = (p: WanPlan['paths'] | WanPlan): p is WanPlan => Array.isArray(p.hosts);
