/** A kind of registry record: what one gateway has learned, for the other gateways of its site. */
import { nameSchema, type RecordKind, recordSchema } from '../registry/kinds.js';
import { coversHolder, coversNames } from '../trust/scope.js';

export interface ProximityRecord {
  v: 1;
  /** The gateway's id. */
  id: number;
  site: string;
  /** From the site to each replica (or to `origin`): round trip and its variation, in µs. */
  entries: { service: string; candidate: string; rttUs: number; variationUs: number }[];
}

const schema = recordSchema(
  1,
  {
    id: { type: 'integer', minimum: 0, maximum: 65535 },
    site: nameSchema,
    entries: {
      type: 'array',
      maxItems: 4096,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['service', 'candidate', 'rttUs', 'variationUs'],
        properties: {
          service: nameSchema,
          candidate: nameSchema,
          rttUs: { type: 'number', minimum: 0 },
          variationUs: { type: 'number', minimum: 0 },
        },
      },
    },
  },
  ['id', 'site', 'entries'],
);

export const proximityKind: RecordKind<ProximityRecord> = {
  name: 'proximity',
  isUnswept: true,
  laterMs: 5000,
  schemaOf: () => schema,
  idOf: (p) => String(p.id),
  authority: (p, by) => coversHolder(by, 'gateway', p.id) || coversNames(by, 'sites', [p.site]),
  // A gateway follows the records of its own site only.
  topicOf: (p) => proximityTopic(p.site),
  newsOf: (told, now) => {
    // A newly measured machine is published; a change of a few microseconds is not.
    const known = (p: ProximityRecord): string =>
      JSON.stringify(p.entries.map((e) => `${e.service}/${e.candidate}`).sort());
    if (known(told) !== known(now)) return 'now';
    return JSON.stringify(told) === JSON.stringify(now) ? 'none' : 'later';
  },
};

export const proximityTopic = (site: string): string => `proximity:${site}`;
