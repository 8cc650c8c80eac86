/** MSS clamping (RFC 2923, 2.3): lowers the option of a SYN or SYN-ACK to the size that the tunnel leaves. */
import { update16 } from './checksum.js';
import * as options from './options.js';
import * as tcp from './tcp.js';

/**
 * Lowers the MSS option to `limit`. A SYN without the option means 536 and is not changed.
 * When the option starts at an odd offset, its value is in two words of the sum.
 * @param partial the checksum field holds the pseudo-header sum only, which does not cover the MSS
 * @returns whether the option was lowered
 */
export function clamp(view: DataView, l4: number, limit: number, partial: boolean): boolean {
  const p = options.find(view, l4, tcp.dataOffset(view, l4), options.MSS);
  if (p < 0 || view.getUint8(p + 1) !== 4) return false;
  const from = view.getUint16(p + 2);
  if (from <= limit) return false;
  view.setUint16(p + 2, limit);
  if (!partial) {
    const odd = ((p - l4) & 1) !== 0;
    const check = tcp.check(view, l4);
    tcp.setCheck(view, l4, odd ? update16(check, swap(from), swap(limit)) : update16(check, from, limit));
  }
  return true;
}

function swap(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
