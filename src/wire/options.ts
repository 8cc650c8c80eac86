/**
 * TCP options (RFC 9293, 3.2): finding one, and inserting or removing bytes among them. `tcp.checkLength` must have
 * passed. A truncated or zero-length option, or one that exceeds the header, ends the search.
 */
export const EOL = 0;
export const NOP = 1;
export const MSS = 2;
export const MD5 = 19;
export const AO = 29;
/** RFC 6994: option kinds shared by experiments, which a 16-bit ExID tells apart. */
export const EXPERIMENTAL = 253;

export const NOT_FOUND = -1;
export const MALFORMED = -2;

/**
 * @param exId when ≥ 0, the option must also have this ExID
 * @returns the offset of the option's kind byte, {@link NOT_FOUND}, or {@link MALFORMED} when a malformed option
 * comes before it was found
 */
export function find(view: DataView, at: number, headerBytes: number, kind: number, exId = -1): number {
  const end = at + headerBytes;
  let p = at + 20;
  while (p < end) {
    const k = view.getUint8(p);
    if (k === EOL) return NOT_FOUND;
    if (k === NOP) {
      p++;
      continue;
    }
    if (p + 1 >= end) return MALFORMED;
    const length = view.getUint8(p + 1);
    if (length < 2 || p + length > end) return MALFORMED;
    if (k === kind && (exId < 0 || (length >= 4 && view.getUint16(p + 2) === exId))) return p;
    p += length;
  }
  return NOT_FOUND;
}

/**
 * The offset at which the options end: the first EOL, or else the end of the header; {@link MALFORMED} when an option
 * is malformed.
 */
export function end(view: DataView, at: number, headerBytes: number): number {
  const stop = at + headerBytes;
  let p = at + 20;
  while (p < stop) {
    const k = view.getUint8(p);
    if (k === EOL) return p;
    if (k === NOP) {
      p++;
      continue;
    }
    if (p + 1 >= stop) return MALFORMED;
    const length = view.getUint8(p + 1);
    if (length < 2 || p + length > stop) return MALFORMED;
    p += length;
  }
  return p;
}
