/** Sequence numbers modulo 2^32, as signed 32-bit words (RFC 9293, 3.4). */

/** a + n, modulo 2^32. */
export function add(a: number, n: number): number {
  return (a + n) | 0;
}

/** a < b in sequence space. */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** low ≤ a ≤ high in sequence space; requires high - low < 2^31. */
export function within(a: number, low: number, high: number): boolean {
  return ((a - low) | 0) >= 0 && ((high - a) | 0) >= 0;
}
