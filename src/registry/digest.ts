/** A short digest of each kind of records in a view, so that two roles can be asked whether they see the same. */
import { createHash } from 'node:crypto';
import type { View } from './kinds.js';

/** What two roles must agree on. Loads and distances change all the time, and arrive at different moments. */
const COMPARED = ['v', 'id', 'name', 'address', 'ports', 'prefixes', 'services', 'state', 'configuration'];

/**
 * By kind: the number of records, and eight hexadecimal digits.
 * @param topics the kinds to compare: of those that a role does not follow its view is empty, and tells nothing
 */
export function digestOf(
  view: View,
  topics: readonly string[],
): Record<string, { count: number; hash: string }> {
  return Object.fromEntries(
    [...view.lists]
      .filter(([kind]) => topics.includes(kind))
      .map(([kind, listed]) => {
        const records = listed();
        const hash = createHash('sha256');
        const lines = records.map((r) => JSON.stringify(r, COMPARED)).sort();
        for (const line of lines) hash.update(`${line}\n`);
        return [kind, { count: records.length, hash: hash.digest('hex').slice(0, 8) }];
      }),
  );
}
