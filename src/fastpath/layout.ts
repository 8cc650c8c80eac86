/**
 * Keys and values of the kernel's maps, as `native/firstack.bpf.c` has them. Addresses and ports are in
 * network order; counters in the machine's own, which is little-endian wherever Node runs.
 */
import type { FlowTable } from '../flow/table.js';
import type { Mode } from '../race/modes.js';
import type { Address, Prefix } from '../wire/address.js';

export const FLOW_KEY = 40;
export const FLOW_VALUE = 48;
export const ENDPOINT_KEY = 20;
export const ENDPOINT_VALUE = 20;
export const SETTINGS = 16;
export const CLIENT_KEY = 20;
export const CLIENT_VALUE = 4;
export const WINNER = 32;
export const OPENING = 152;
/** Slots for connections that the kernel opened. */
export const OPENINGS = 4096;
export const TICKETS = 16;

/** Bits of a flow's `seen`. */
export const SEEN_CLIENT_FIN = 1;
export const SEEN_SERVER_FIN = 2;
export const SEEN_RST = 4;
export const SEEN_CLIENT_ACK = 8;
/** The kernel sent the SYN, and nothing has come back: `first_byte_us` means something else. */
export const WAITING = 32;

const TARGET = 0;
const PACKETS = 16;
const BYTES = 24;
const LAST = 32;
const FIRST_BYTE = 40;
const TARGET_PORT = 44;
const MODE = 46;
const SEEN = 47;

/** What the programs count, in one value per processor: its 64-bit words. */
export const TOTALS = [
  'out.packets',
  'out.bytes',
  'in.packets',
  'in.bytes',
  'left.ttl',
  'left.route',
  'left.mtu',
  'left.ecn',
  'to.tun',
  'from.tun',
] as const;

/** Microseconds of one unit of a flow's `last`. */
const LAST_US = 2 ** 20 / 1000;

/** Writes an entry's key. The flow table keeps it in the same words. */
export function writeFlowKey(view: DataView, at: number, flows: FlowTable, e: number): void {
  for (let w = 0; w < 9; w++) view.setInt32(at + 4 * w, flows.keyWord(e, w));
  view.setInt32(at + 36, 0);
}

/** Puts a key into the flow table's own, to look it up. */
export function readFlowKey(view: DataView, at: number, flows: FlowTable): void {
  for (let w = 0; w < 9; w++) flows.key[w] = view.getInt32(at + 4 * w);
}

/** The value of a flow that nothing has been seen of. */
export function writeFlow(
  view: DataView,
  at: number,
  flows: FlowTable,
  e: number,
  mode: Mode,
  seen: number,
  nowUs: number,
): void {
  for (let w = 0; w < 4; w++) view.setInt32(at + TARGET + 4 * w, flows.target[e * 4 + w]);
  for (let w = PACKETS; w < TARGET_PORT; w += 4) view.setInt32(at + w, 0);
  view.setInt32(at + LAST, Math.floor(nowUs / LAST_US) | 0, true);
  view.setUint16(at + TARGET_PORT, flows.targetPort[e]);
  view.setUint8(at + MODE, mode);
  view.setUint8(at + SEEN, seen);
}

export const targetWord = (view: DataView, at: number, w: number): number =>
  view.getInt32(at + TARGET + 4 * w);
export const targetPort = (view: DataView, at: number): number => view.getUint16(at + TARGET_PORT);
export const seen = (view: DataView, at: number): number => view.getUint8(at + SEEN);
/** µs from the client's first data to the server's, plus one; 0 while that is not known. */
export const firstByteUs = (view: DataView, at: number): number => view.getUint32(at + FIRST_BYTE, true);
/** Exact to 2^53. */
export const packets = (view: DataView, at: number): number => word64(view, at + PACKETS);
export const bytes = (view: DataView, at: number): number => word64(view, at + BYTES);

export function word64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

/** µs since the flow's last packet, at a time of the monotonic clock; the count wraps after 52 days. */
export function idleUs(view: DataView, at: number, nowUs: number): number {
  const ago = ((Math.floor(nowUs / LAST_US) | 0) - view.getInt32(at + LAST, true)) | 0;
  return ago > 0 ? ago * LAST_US : 0;
}

/** Writes the key of a prefix of clients. */
export function writeClient(view: DataView, at: number, { address, bits }: Prefix): void {
  view.setUint32(at, bits, true);
  for (let w = 0; w < 4; w++) view.setInt32(at + 4 + 4 * w, address[w]);
}

export interface KernelEndpoint {
  /** Where packets come from on the WAN (gateway), or go to (replica). */
  address: Address;
  port: number;
  service: Address;
  servicePort: number;
  mode: Mode;
}

export function writeEndpoint(keys: DataView, values: DataView, n: number, e: KernelEndpoint): void {
  const key = n * ENDPOINT_KEY;
  const value = n * ENDPOINT_VALUE;
  for (let w = 0; w < 4; w++) {
    keys.setInt32(key + 4 * w, e.address[w]);
    values.setInt32(value + 4 * w, e.service[w]);
  }
  keys.setUint16(key + 16, e.port);
  keys.setUint16(key + 18, 0);
  values.setUint16(value + 16, e.servicePort);
  values.setUint8(value + 18, e.mode);
  values.setUint8(value + 19, 0);
}
