/** Whether a role's own credential covers what it will publish. */
import type { Problem } from '../errors.js';
import type { Credential } from '../trust/credential.js';
import type { RecordKind } from './kinds.js';

/** @param by undefined for a role without an identity: others accept its records, or none of them */
export function scopeProblems<T>(
  by: Credential | undefined,
  kind: RecordKind<T>,
  records: readonly T[],
): Problem[] {
  if (by === undefined) return [];
  return records.flatMap((record) => {
    const why = kind.authority?.(record, by) ?? '';
    return why === ''
      ? []
      : [{ code: 'FSA_SCOPE', message: `identityFile: ${kind.name} ${kind.idOf(record)}: ${why}` }];
  });
}
