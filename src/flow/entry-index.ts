/**
 * A hash index over the entries of a table: open addressing with linear probing, backward-shift deletion, never more
 * than half full. It holds entry numbers; the table holds each entry's hash and compares keys.
 */
export const EMPTY = -1;

export class EntryIndex {
  readonly slots: Int32Array;
  readonly mask: number;

  /**
   * @param capacity the most entries
   * @param hashes the hash of each entry that is in the index
   */
  constructor(
    capacity: number,
    readonly hashes: Int32Array,
  ) {
    let slots = 16;
    while (slots < capacity * 2) slots *= 2;
    this.slots = new Int32Array(slots).fill(EMPTY);
    this.mask = slots - 1;
  }

  /** Adds an entry. Its hash must already be in {@link hashes}. */
  insert(entry: number): void {
    let i = this.hashes[entry] & this.mask;
    while (this.slots[i] !== EMPTY) i = (i + 1) & this.mask;
    this.slots[i] = entry;
  }

  /** Removes an entry, which must be in the index. */
  remove(entry: number): void {
    const { slots, mask, hashes } = this;
    let i = hashes[entry] & mask;
    while (slots[i] !== entry) i = (i + 1) & mask;
    // Backward-shift deletion keeps probe sequences unbroken without tombstones.
    let hole = i;
    for (let j = (i + 1) & mask; slots[j] !== EMPTY; j = (j + 1) & mask) {
      const home = hashes[slots[j]] & mask;
      if (((j - home) & mask) >= ((j - hole) & mask)) {
        slots[hole] = slots[j];
        hole = j;
      }
    }
    slots[hole] = EMPTY;
  }
}
