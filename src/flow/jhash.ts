/**
 * The kernel's hash of a connection, as nftables computes `jhash ip saddr . tcp sport . ip daddr . tcp dport mod M
 * seed S` (linux/jhash.h, Bob Jenkins). With it a program can tell which slot the kernel will choose.
 */

const GOLDEN = 0xdeadbeef;
/** Bytes of two addresses and two ports. Each has a register of four bytes; a port is in the first two bytes. */
const BYTES = 16;

const rol = (x: number, n: number): number => (x << n) | (x >>> (32 - n));
/** A port as the kernel's register holds it: two bytes of network order, read as a little-endian word. */
const portWord = (port: number): number => ((port & 0xff) << 8) | (port >>> 8);
const swap = (word: number): number =>
  ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);

/**
 * @param saddr address as a signed word, the first byte highest; so is `daddr`
 * @returns 0 … slots - 1
 */
export function slotOf(
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  seed: number,
  slots: number,
): number {
  let a = (GOLDEN + BYTES + seed) | 0;
  let b = a;
  let c = a;
  a = (a + swap(saddr)) | 0;
  b = (b + portWord(sport)) | 0;
  c = (c + swap(daddr)) | 0;
  // __jhash_mix
  a = ((a - c) | 0) ^ rol(c, 4);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rol(a, 6);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rol(b, 8);
  b = (b + a) | 0;
  a = ((a - c) | 0) ^ rol(c, 16);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rol(a, 19);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rol(b, 4);
  b = (b + a) | 0;
  a = (a + portWord(dport)) | 0;
  // __jhash_final
  c = ((c ^ b) - rol(b, 14)) | 0;
  a = ((a ^ c) - rol(c, 11)) | 0;
  b = ((b ^ a) - rol(a, 25)) | 0;
  c = ((c ^ b) - rol(b, 16)) | 0;
  a = ((a ^ c) - rol(c, 4)) | 0;
  b = ((b ^ a) - rol(a, 14)) | 0;
  c = ((c ^ b) - rol(b, 24)) | 0;
  // reciprocal_scale: the product's upper word, in two halves that doubles hold exactly.
  const h = c >>> 0;
  const high = (h >>> 16) * slots;
  const low = (h & 0xffff) * slots;
  return Math.floor((high + low / 0x10000) / 0x10000);
}
