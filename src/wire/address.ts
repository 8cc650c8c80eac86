/**
 * In all tables and logic an address is four signed 32-bit words in network order. An IPv4 address is v4-mapped (RFC
 * 4291, 2.5.5.2), so that one body of logic serves both. Only the control plane uses addresses as text.
 */

/** Words of an address; the word at index 3 is the whole of an IPv4 address. */
export type Address = readonly [number, number, number, number];

/** The third word of every v4-mapped address: ::ffff:0:0/96. */
export const V4_MAPPED = 0xffff;

export function fromV4(word: number): Address {
  return [0, 0, V4_MAPPED, word | 0];
}

export function isV4(a: Address): boolean {
  return a[0] === 0 && a[1] === 0 && a[2] === V4_MAPPED;
}

/** {@link isV4} for the four words from `at` on. */
export function isV4At(words: Int32Array, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === V4_MAPPED;
}

export function equal(a: Address, b: Address): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}

/** @returns undefined when the text is neither an IPv4 nor an IPv6 address */
export function parse(text: string): Address | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text);
}

function parseV4(text: string): Address | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let word = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    word = (word << 8) | Number(part);
  }
  return fromV4(word);
}

function parseV6(text: string): Address | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = (half: string): number[] | undefined => {
    const out: number[] = [];
    for (const g of half === '' ? [] : half.split(':')) {
      if (g.includes('.')) {
        const v4 = parseV4(g);
        if (v4 === undefined) return undefined;
        out.push(v4[3] >>> 16, v4[3] & 0xffff);
      } else if (/^[0-9a-f]{1,4}$/i.test(g)) out.push(Number.parseInt(g, 16));
      else return undefined;
    }
    return out;
  };
  const head = groups(halves[0]);
  const tail = halves.length === 2 ? groups(halves[1]) : [];
  if (head === undefined || tail === undefined) return undefined;
  const gap = 8 - head.length - tail.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) return undefined;
  const all = [...head, ...new Array<number>(gap).fill(0), ...tail];
  const word = (i: number): number => (all[i] << 16) | all[i + 1];
  return [word(0), word(2), word(4), word(6)];
}

export function format(a: Address): string {
  if (isV4(a)) return formatV4(a[3]);
  const groups = a.flatMap((w) => [w >>> 16, w & 0xffff]);
  // The longest run of zero groups becomes '::' (RFC 5952, 4.2).
  let best = 0;
  let start = -1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > best && n > 1) [best, start] = [n, i];
  }
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((g) => g.toString(16))
      .join(':');
  return start < 0 ? hex(0, 8) : `${hex(0, start)}::${hex(start + best, 8)}`;
}

/** Whether the text of an address is one of IPv6. */
export const isV6Text = (text: string): boolean => text.includes(':');

/** ADDRESS:PORT, with brackets around an IPv6 address (RFC 5952, 6). */
export function formatEndpoint(a: Address, port: number): string {
  return isV4(a) ? `${format(a)}:${port}` : `[${format(a)}]:${port}`;
}

export function formatV4(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
}

export interface Prefix {
  address: Address;
  /** Prefix length on a scale of 128 bits: an IPv4 /24 is 120. */
  bits: number;
}

/** ADDRESS/BITS; undefined when malformed. Host bits are cleared. */
export function parsePrefix(text: string): Prefix | undefined {
  const [addressText, bitsText, more] = text.split('/');
  const address = parse(addressText);
  if (address === undefined || more !== undefined || !/^\d{1,3}$/.test(bitsText ?? '')) return undefined;
  const v4 = !addressText.includes(':');
  const bits = Number(bitsText) + (v4 ? 96 : 0);
  if (bits > 128) return undefined;
  const masked = address.map((w, i) => w & wordMask(bits, i));
  return { address: masked as unknown as Address, bits };
}

export function formatPrefix(p: Prefix): string {
  const v4 = isV4(p.address) && p.bits >= 96;
  return `${format(p.address)}/${v4 ? p.bits - 96 : p.bits}`;
}

/** The part of a prefix length that falls in word `i`, as a mask. */
export function wordMask(bits: number, i: number): number {
  const n = Math.min(32, Math.max(0, bits - 32 * i));
  return n === 0 ? 0 : -1 << (32 - n);
}

export function contains(p: Prefix, a: Address): boolean {
  for (let i = 0; i < 4; i++) if (((p.address[i] ^ a[i]) & wordMask(p.bits, i)) !== 0) return false;
  return true;
}

/** Unspecified, loopback, link-local, multicast, reserved (RFC 6890): addresses of no server that others reach. */
const SPECIAL = [
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'],
  ...['::/128', '::1/128', 'fe80::/10', 'ff00::/8'],
].map((text) => parsePrefix(text) as Prefix);

export const isSpecial = (a: Address): boolean => SPECIAL.some((p) => contains(p, a));

export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.bits <= b.bits ? contains(a, b.address) : contains(b, a.address);
}
