/** The list of revoked credentials: one record, which the fleet's key signs. */

import { coversHolder } from '../trust/scope.js';
import { type RecordKind, recordSchema } from './kinds.js';

export interface RevocationRecord {
  v: 1;
  id: 'list';
  /** Numbers of credentials. */
  serials: string[];
}

export const MOST_REVOKED = 10_000;

const schema = recordSchema(
  1,
  {
    id: { const: 'list' },
    serials: {
      type: 'array',
      maxItems: MOST_REVOKED,
      items: { type: 'string', pattern: '^[0-9a-f]{16}$' },
    },
  },
  ['id', 'serials'],
);

export const revocationKind: RecordKind<RevocationRecord> = {
  name: 'revocation',
  isLasting: true,
  isUnswept: true,
  schemaOf: () => schema,
  idOf: (r) => r.id,
  authority: (_, by) => coversHolder(by, 'fleet', 'key'),
};
