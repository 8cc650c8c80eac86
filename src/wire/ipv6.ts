/**
 * IPv6 headers and their extension headers (RFC 8200): named offsets and accessors over a DataView.
 *
 * {@link checkLength} must have passed before any other function is called, because the others check no bounds.
 */
const PAYLOAD_LENGTH = 4;
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const LABEL = 0xfffff;
export const SADDR = 8;
export const DADDR = 24;

export const HEADER = 40;

/** Next headers that are extension headers. */
const HOP_BY_HOP = 0;
const ROUTING = 43;
export const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;
const HOST_IDENTITY = 139;
const SHIM6 = 140;

export const FRAGMENT_HEADER = 8;
/** More extension headers than this are no packet of ours: each kind comes once, destination options twice. */
const MOST_HEADERS = 8;

/** Whether `length` bytes from `at` contain an IPv6 header and as many bytes as its payload length says. */
export function checkLength(view: DataView, at: number, length: number): boolean {
  if (length < HEADER || view.getUint8(at) >>> 4 !== 6) return false;
  return HEADER + view.getUint16(at + PAYLOAD_LENGTH) <= length;
}

/** Header and payload, in bytes. */
export function totalLength(view: DataView, at: number): number {
  return HEADER + view.getUint16(at + PAYLOAD_LENGTH);
}
export function setTotalLength(view: DataView, at: number, to: number): void {
  view.setUint16(at + PAYLOAD_LENGTH, to - HEADER);
}
/** The first header behind this one. */
export function nextHeader(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_HEADER);
}
/** The two lowest bits of the traffic class. */
export function ecn(view: DataView, at: number): number {
  return (view.getUint8(at + 1) >>> 4) & 3;
}
export function setEcn(view: DataView, at: number, to: number): void {
  view.setUint8(at + 1, (view.getUint8(at + 1) & 0xcf) | (to << 4));
}
export function hopLimit(view: DataView, at: number): number {
  return view.getUint8(at + HOP_LIMIT);
}
/** Counts one hop. @returns false where the packet may go no further; then it is unchanged */
export function hop(view: DataView, at: number): boolean {
  const left = view.getUint8(at + HOP_LIMIT);
  if (left <= 1) return false;
  view.setUint8(at + HOP_LIMIT, left - 1);
  return true;
}
/** The lowest 20 bits of the first word (RFC 6437). */
export function flowLabel(view: DataView, at: number): number {
  return view.getInt32(at) & LABEL;
}
/** Requires a packet whose label is 0. */
export function setFlowLabel(view: DataView, at: number, to: number): void {
  view.setInt32(at, view.getInt32(at) | (to & LABEL));
}
/** Where the extension headers of a packet lead, as {@link walk} found it. Overwritten by each call. */
export const found = {
  /** The transport protocol, or the next header of one that is not known. */
  protocol: 0,
  /** The transport header. */
  l4: 0,
  /** The fragment header, or -1; that of an atomic fragment (RFC 6946) counts as none. */
  fragment: -1,
};

/**
 * Follows the extension headers of the packet at `at` to its transport header, which may begin at the packet's end.
 * @returns false when a header does not lie in the packet, or there are too many
 */
export function walk(view: DataView, at: number): boolean {
  const end = at + totalLength(view, at);
  let next = nextHeader(view, at);
  let p = at + HEADER;
  found.fragment = -1;
  for (let n = 0; isExtension(next); n++) {
    if (n >= MOST_HEADERS || p + 8 > end) return false;
    if (next === FRAGMENT && !isAtomic(view, p)) found.fragment = p;
    const size = extensionLength(view, p, next);
    next = view.getUint8(p);
    p += size;
    if (p > end) return false;
    // What stands behind the header of a later fragment is no header.
    if (found.fragment >= 0 && fragmentOffset(view, found.fragment) > 0) break;
  }
  found.protocol = next;
  found.l4 = p;
  return true;
}

function isExtension(next: number): boolean {
  switch (next) {
    case HOP_BY_HOP:
    case ROUTING:
    case FRAGMENT:
    case AUTHENTICATION:
    case DESTINATION_OPTIONS:
    case MOBILITY:
    case HOST_IDENTITY:
    case SHIM6:
      return true;
    default:
      return false;
  }
}

function extensionLength(view: DataView, p: number, kind: number): number {
  if (kind === FRAGMENT) return FRAGMENT_HEADER;
  const units = view.getUint8(p + 1);
  return kind === AUTHENTICATION ? (units + 2) << 2 : (units + 1) << 3;
}

/** Whether the fragment header at `p` is that of a whole packet. */
export function isAtomic(view: DataView, p: number): boolean {
  return (view.getUint16(p + 2) & 0xfff9) === 0;
}
/** Where the payload behind the fragment header at `p` begins in its datagram's, in bytes. */
export function fragmentOffset(view: DataView, p: number): number {
  return view.getUint16(p + 2) & 0xfff8;
}
/** Writes a 40-byte header; addresses are four words each, in `words` from `source` and `destination`. */
export function write(
  view: DataView,
  at: number,
  trafficClassByte: number,
  total: number,
  hops: number,
  next: number,
  words: Int32Array,
  source: number,
  destination: number,
): void {
  view.setInt32(at, (6 << 28) | (trafficClassByte << 20));
  view.setUint16(at + PAYLOAD_LENGTH, total - HEADER);
  view.setUint8(at + NEXT_HEADER, next);
  view.setUint8(at + HOP_LIMIT, hops);
  for (let w = 0; w < 4; w++) {
    view.setInt32(at + SADDR + 4 * w, words[source + w]);
    view.setInt32(at + DADDR + 4 * w, words[destination + w]);
  }
}
