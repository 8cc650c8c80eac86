/**
 * The distance probe between origin and replicas, UDP 7417. Request and reply have the same size, so a replica
 * amplifies nothing. It does not answer a request that is not authenticated, so it discloses nothing.
 *
 * ```
 *  0        4        5       6        8               16              24              32          40
 *  +--------+--------+-------+--------+---------------+---------------+---------------+-----------+
 *  | 'FSAP' | ver. 1 | kind  |  seq   | sent (origin) |  received     |  replied      | SipHash   |
 *  +--------+--------+-------+--------+---------------+---------------+---------------+-----------+
 * ```
 * Times are microseconds as doubles, by the clock of the machine that writes them.
 */
import { hash, result, type SipKey } from './siphash.js';

export const LENGTH = 40;
export const PORT = 7417;
export const REQUEST = 1;
export const REPLY = 2;

const MAGIC = 0x46534150;
const VERSION = 1;
const MAC = 32;

export interface Probe {
  kind: typeof REQUEST | typeof REPLY;
  seq: number;
  sentUs: number;
  receivedUs: number;
  repliedUs: number;
}

export function encode(probe: Probe, key: SipKey): Uint8Array {
  const bytes = new Uint8Array(LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint8(4, VERSION);
  view.setUint8(5, probe.kind);
  view.setUint16(6, probe.seq);
  view.setFloat64(8, probe.sentUs);
  view.setFloat64(16, probe.receivedUs);
  view.setFloat64(24, probe.repliedUs);
  hash(key, view, 0, MAC);
  view.setInt32(MAC, result[0]);
  view.setInt32(MAC + 4, result[1]);
  return bytes;
}

/** @returns undefined when the bytes are not a probe of this fleet */
export function decode(bytes: Uint8Array, key: SipKey): Probe | undefined {
  if (bytes.length !== LENGTH) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, LENGTH);
  const kind = view.getUint8(5);
  if (view.getUint32(0) !== MAGIC || view.getUint8(4) !== VERSION || (kind !== REQUEST && kind !== REPLY))
    return undefined;
  hash(key, view, 0, MAC);
  if (view.getInt32(MAC) !== result[0] || view.getInt32(MAC + 4) !== result[1]) return undefined;
  return {
    kind,
    seq: view.getUint16(6),
    sentUs: view.getFloat64(8),
    receivedUs: view.getFloat64(16),
    repliedUs: view.getFloat64(24),
  };
}
