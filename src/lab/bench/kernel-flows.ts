/** Flows that the bench writes into a gateway's kernel map itself, and packets of these flows. */
import { FLOW_KEY, FLOW_VALUE, SEEN_CLIENT_ACK } from '../../fastpath/layout.js';
import { bpf } from '../../fastpath/native.js';
import { pinDirectory } from './carriers.js';
import { PORT, replicaAddress, SERVICE, type World } from './world.js';

/** The numbering of `blast.c`: flow i is this address + i / PORTS, FIRST_PORT + i % PORTS. */
export const FIRST_ADDRESS = '192.0.2.10';
export const FIRST_PORT = 10_000;
const PORTS = 50_000;
const CHUNK = 8192;
const V4_MAPPED = 0xffff;

const word = (address: string): number =>
  address.split('.').reduce((sum, part) => (sum << 8) | Number(part) | 0, 0);

/** Pins flows `from` … `to` - 1 of a world, as the gateway would. @returns how many the map accepted */
export function fillFlows(world: World, from: number, to: number): number {
  const fd = bpf.get(`${pinDirectory(world, 'gateway')}/maps/flows`);
  const keys = new Uint8Array(CHUNK * FLOW_KEY);
  const values = new Uint8Array(CHUNK * FLOW_VALUE);
  const [k, v] = [new DataView(keys.buffer), new DataView(values.buffer)];
  const [client, service, target] = [word(FIRST_ADDRESS), word(SERVICE), word(replicaAddress(1))];
  // The unit of a flow's `last`: 2^20 ns of the monotonic clock.
  const last = Number(process.hrtime.bigint() >> 20n) | 0;
  let written = 0;
  try {
    for (let at = from; at < to; at += CHUNK) {
      const count = Math.min(CHUNK, to - at);
      for (let n = 0; n < count; n++) {
        const key = n * FLOW_KEY;
        const value = n * FLOW_VALUE;
        k.setInt32(key + 8, V4_MAPPED);
        k.setInt32(key + 12, client + Math.floor((at + n) / PORTS));
        k.setInt32(key + 24, V4_MAPPED);
        k.setInt32(key + 28, service);
        k.setUint16(key + 32, FIRST_PORT + ((at + n) % PORTS));
        k.setUint16(key + 34, PORT);
        v.setInt32(value + 8, V4_MAPPED);
        v.setInt32(value + 12, target);
        v.setInt32(value + 32, last, true);
        v.setUint16(value + 44, PORT);
        v.setUint8(value + 47, SEEN_CLIENT_ACK);
      }
      written += bpf.update(fd, keys, FLOW_KEY, values, FLOW_VALUE, count);
    }
  } finally {
    bpf.close(fd);
  }
  return written;
}

/** A minimum-size acknowledgement of flow `i`, with its Ethernet header and right checksums. */
export function flowPacket(i: number, out: Uint8Array): void {
  const view = new DataView(out.buffer, out.byteOffset);
  out.fill(0);
  out[0] = out[6] = 2;
  view.setUint16(12, 0x0800);
  view.setUint16(14, 0x4500);
  view.setUint16(16, 40);
  view.setUint16(20, 0x4000);
  view.setUint16(22, 0x4006);
  view.setInt32(26, word(FIRST_ADDRESS) + Math.floor(i / PORTS));
  view.setInt32(30, word(SERVICE));
  view.setUint16(34, FIRST_PORT + (i % PORTS));
  view.setUint16(36, PORT);
  view.setUint16(46, 0x5010);
  view.setUint16(48, 0xffff);
  view.setUint16(24, folded(view, 14, 34, 0));
  view.setUint16(50, folded(view, 26, 54, 6 + 20));
}

function folded(view: DataView, from: number, to: number, sum: number): number {
  for (let at = from; at < to; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
