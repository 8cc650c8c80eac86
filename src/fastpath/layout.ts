/**
 * Keys and values of the maps that every program's hooks share, with the layout of `native/maps.h`; a test compares
 * these offsets with the compiled object's. Addresses and ports are in network order; counters are in the host's byte
 * order, which is little-endian wherever Node runs.
 */
import { type FlowTable, KEY_WORDS } from '../flow/table.js';
import { layoutOf } from '../layout.js';
import type { Address, Prefix } from '../wire/address.js';

/** Layout of `struct flow_key`, in bytes. */
export const flowKey = layoutOf({ client: 16, service: 16, clientPort: 2, servicePort: 2, protocol: 4 });
/** Layout of `struct flow`. In C the last four bytes are also readable as one `word`. */
export const flowValue = layoutOf({
  target: 16,
  packets: 8,
  bytes: 8,
  last: 4,
  askedUs: 4,
  firstByteUs: 4,
  targetPort: 2,
  mode: 1,
  seen: 1,
});
/** Layouts of `struct endpoint_key` and `struct endpoint`. */
export const endpointKey = layoutOf({ address: 16, port: 2, protocol: 2 });
export const endpointValue = layoutOf({ service: 16, port: 2, mode: 1, reserved: 1 });
/** Layout of `struct client_key`: the key of an LPM trie begins with its length in bits. */
export const clientKey = layoutOf({ bits: 4, address: 16 });
/** Layout of `struct settings`. */
export const settings = layoutOf({ flags: 4, mark: 4, mask: 4, tun: 4 });

export const FLOW_KEY = flowKey.stride;
export const FLOW_VALUE = flowValue.stride;
export const ENDPOINT_KEY = endpointKey.stride;
export const ENDPOINT_VALUE = endpointValue.stride;
export const SETTINGS = settings.stride;
/**
 * Bytes of a value of `awake`: until when the TUN's reader is awake, how many `paths` there are, and since when leases are
 * valid.
 */
export const AWAKE = 8;
/** Bytes of the key (an address) and the value (an MTU) of `paths`. */
export const PATH_KEY = 16;
export const PATH_VALUE = 4;
export const CLIENT_KEY = clientKey.stride;
export const CLIENT_VALUE = 4;

/** Bits of a flow's `seen`. */
export const SEEN_CLIENT_FIN = 1;
export const SEEN_SERVER_FIN = 2;
export const SEEN_RST = 4;
export const SEEN_CLIENT_ACK = 8;
export const SEEN_SERVER_DATA = 16;
/** A hook sent the SYN, and it is not answered: `firstByteUs` then has another meaning. */
export const WAITING = 32;
/** With {@link SEEN_RST}: the server sent it. A flow that an older version pinned may have no such bit. */
export const SEEN_SERVER_RST = 64;

/** The hooks' counters: the 64-bit words of one value per processor. */
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
  'left.late',
  'by.slot',
  'drop.given-back',
] as const;

/** Microseconds in one unit of a flow's `last`. */
const LAST_US = 2 ** 20 / 1000;

/** Writes an entry's key, which has the same words as in the flow table. */
export function writeFlowKey(view: DataView, at: number, flows: FlowTable, e: number): void {
  for (let w = 0; w < KEY_WORDS; w++) view.setInt32(at + 4 * w, flows.keyWord(e, w));
}

/** Copies a key into {@link FlowTable.key}, for a lookup. */
export function readFlowKey(view: DataView, at: number, flows: FlowTable): void {
  for (let w = 0; w < KEY_WORDS; w++) flows.key[w] = view.getInt32(at + 4 * w);
}

/** Writes the value of a flow of which the hooks have seen no packet. */
export function writeFlow(
  view: DataView,
  at: number,
  flows: FlowTable,
  e: number,
  mode: number,
  seen: number,
  nowUs: number,
): void {
  for (let w = 0; w < 4; w++) view.setInt32(at + flowValue.target + 4 * w, flows.target[e * 4 + w]);
  for (let w = flowValue.packets; w < flowValue.targetPort; w += 4) view.setInt32(at + w, 0);
  view.setInt32(at + flowValue.last, Math.floor(nowUs / LAST_US) | 0, true);
  view.setUint16(at + flowValue.targetPort, flows.targetPort[e]);
  view.setUint8(at + flowValue.mode, mode);
  view.setUint8(at + flowValue.seen, seen);
}

export const targetWord = (view: DataView, at: number, w: number): number =>
  view.getInt32(at + flowValue.target + 4 * w);
export const targetPort = (view: DataView, at: number): number => view.getUint16(at + flowValue.targetPort);
export const seen = (view: DataView, at: number): number => view.getUint8(at + flowValue.seen);
/** µs from the client's first data to the server's, plus one; 0 while it is not known. */
export const firstByteUs = (view: DataView, at: number): number =>
  view.getUint32(at + flowValue.firstByteUs, true);
/** Whether a hook has seen the client's first data. */
export const wasAsked = (view: DataView, at: number): boolean =>
  view.getInt32(at + flowValue.askedUs, true) !== 0;
/**
 * µs since the client's first data, at a time of the monotonic clock; it wraps after 71 minutes. Negative for data that
 * the hook saw after that time, and from the 36th minute on.
 */
export const sinceAskedUs = (view: DataView, at: number, nowUs: number): number =>
  (Math.floor(nowUs % 2 ** 32) - view.getUint32(at + flowValue.askedUs, true)) | 0;
/** Exact to 2^53. */
export const packets = (view: DataView, at: number): number => word64(view, at + flowValue.packets);
export const bytes = (view: DataView, at: number): number => word64(view, at + flowValue.bytes);

export function word64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

/** µs since the flow's last packet, at a time of the monotonic clock; the count wraps after 52 days. */
export function idleUs(view: DataView, at: number, nowUs: number): number {
  const ago = ((Math.floor(nowUs / LAST_US) | 0) - view.getInt32(at + flowValue.last, true)) | 0;
  return ago > 0 ? ago * LAST_US : 0;
}

/** Writes a time of the monotonic clock, in µs, as the hooks read times: in ns, 64 bits. */
export function writeTimeNs(view: DataView, at: number, us: number): void {
  const ns = us * 1000;
  view.setInt32(at, (ns % 2 ** 32) | 0, true);
  view.setInt32(at + 4, Math.floor(ns / 2 ** 32), true);
}

export function writeAddress(view: DataView, at: number, address: Address): void {
  for (let w = 0; w < 4; w++) view.setInt32(at + 4 * w, address[w]);
}

/** Writes the key of a client prefix. */
export function writeClient(view: DataView, at: number, { address, bits }: Prefix): void {
  view.setUint32(at, bits, true);
  writeAddress(view, at + clientKey.address, address);
}

export interface KernelEndpoint {
  /** The address that packets come from on the WAN (gateway), or go to (replica). */
  address: Address;
  port: number;
  service: Address;
  servicePort: number;
  mode: number;
}

export function writeEndpoint(keys: DataView, values: DataView, n: number, e: KernelEndpoint): void {
  const key = n * ENDPOINT_KEY;
  const value = n * ENDPOINT_VALUE;
  for (let w = 0; w < 4; w++) {
    keys.setInt32(key + 4 * w, e.address[w]);
    values.setInt32(value + 4 * w, e.service[w]);
  }
  keys.setUint16(key + endpointKey.port, e.port);
  keys.setUint16(key + endpointKey.protocol, 0);
  values.setUint16(value + endpointValue.port, e.servicePort);
  values.setUint8(value + endpointValue.mode, e.mode);
  values.setUint8(value + endpointValue.reserved, 0);
}
