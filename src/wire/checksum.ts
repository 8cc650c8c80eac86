/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * Derivation of the update: let HC be the checksum in the header, m the old and m' the new value of a 16-bit field.
 * ~HC = … + m, so ~HC' = ~HC - m + m' = ~HC + ~m + m', and HC' = ~(~HC + ~m + m') (RFC 1624, eqn. 3; the simpler eqn.
 * 2 gets 0x0000 and 0xFFFF wrong). A 32-bit field is two fields of 16. The payload is never summed again, so a packet
 * that arrived corrupt leaves corrupt.
 *
 * A virtio header with NEEDS_CSUM says that the field holds the *uncomplemented* sum of the pseudo header, H = … + m.
 * Then H' = H + ~m + m': the same terms without the complement. This is why each function has a `partial` twin.
 */

/** Folds a sum of 16-bit words to 16 bits. Requires 0 ≤ sum < 2^32 (as a double or a small integer). */
export function fold(sum: number): number {
  let s = (sum & 0xffff) + (sum >>> 16);
  s = (s & 0xffff) + (s >>> 16);
  return s & 0xffff;
}

/** The checksum after a 16-bit field changed from `from` to `to`. */
export function update16(check: number, from: number, to: number): number {
  return ~fold((~check & 0xffff) + (~from & 0xffff) + (to & 0xffff)) & 0xffff;
}

/** The checksum after a 32-bit field (as a signed word) changed from `from` to `to`. */
export function update32(check: number, from: number, to: number): number {
  return (
    ~fold((~check & 0xffff) + (~from & 0xffff) + (~(from >>> 16) & 0xffff) + (to & 0xffff) + (to >>> 16)) &
    0xffff
  );
}

/** {@link update16} for a field that holds an uncomplemented pseudo-header sum. */
export function updatePartial16(sum: number, from: number, to: number): number {
  return fold((sum & 0xffff) + (~from & 0xffff) + (to & 0xffff));
}

/** {@link update32} for a field that holds an uncomplemented pseudo-header sum. */
export function updatePartial32(sum: number, from: number, to: number): number {
  return fold((sum & 0xffff) + (~from & 0xffff) + (~(from >>> 16) & 0xffff) + (to & 0xffff) + (to >>> 16));
}

/**
 * Adds the sum of `length` bytes from `at` to `initial`, and folds it. Not complemented. Requires `at + length`
 * within the view. An odd last byte counts as the high half of a word.
 */
export function sum(view: DataView, at: number, length: number, initial = 0): number {
  let s = initial;
  const end = at + (length & ~1);
  for (let i = at; i < end; i += 2) s += view.getUint16(i);
  if ((length & 1) !== 0) s += view.getUint8(end) << 8;
  return fold(s);
}

/** The folded sum of the pseudo header of an IPv4 transport segment (RFC 9293, 3.1). */
export function pseudoHeader(saddr: number, daddr: number, protocol: number, length: number): number {
  return fold((saddr >>> 16) + (saddr & 0xffff) + (daddr >>> 16) + (daddr & 0xffff) + protocol + length);
}
