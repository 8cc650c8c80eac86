/**
 * Offsets of named fields in a record that two sides read: words in memory that two threads share, or bytes in a map
 * that hooks and TypeScript share. It replaces offsets written by hand.
 */

/** The offset of each field, and the length of a record. */
export type Layout<Fields> = { readonly [Name in keyof Fields]: number } & { readonly stride: number };

/** @param fields the fields in order, each with its length, in bytes or in words as the record is read */
export function layoutOf<Fields extends Record<string, number>>(fields: Fields): Layout<Fields> {
  const places: Record<string, number> = {};
  let at = 0;
  for (const [name, length] of Object.entries(fields)) {
    places[name] = at;
    at += length;
  }
  return Object.freeze({ ...places, stride: at }) as Layout<Fields>;
}
