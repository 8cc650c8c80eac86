/** Shares of an access link in a router's role file. */
import type { Schema } from '../../src/config.js';
import { explained } from '../../src/explained.js';
import { nameSchema } from '../../src/registry/kinds.js';
import { MOST_CLASSES, MOST_INNER } from '../../src/steer/shares.js';

export interface ShareSettings {
  interface: string;
  rateMbit: number;
  classes: (ShareEntry & { classes: ShareEntry[] })[];
}

export interface ShareEntry {
  name: string;
  share: number;
  /** Names of virtual hosts or subnets. */
  virtual: string[];
}

const share: Schema = explained(
  { type: 'number', exclusiveMinimum: 0, maximum: 100 },
  'Percent of what is above; idle shares are lent.',
  40,
);
const ofClass = {
  name: explained(nameSchema, 'Stands in counters and metrics.', 'gold'),
  share,
  virtual: explained(
    { type: 'array', items: nameSchema, uniqueItems: true, default: [] },
    'Names of virtual hosts or subnets, whose answers these are.',
    ['web'],
  ),
};
export const sharesSchema: Schema = {
  type: 'object',
  description: 'Shares of an access link that answers leave by, for customers and for classes of each (HTB).',
  additionalProperties: false,
  required: ['interface', 'rateMbit', 'classes'],
  properties: {
    interface: explained({ type: 'string', minLength: 1, maxLength: 15 }, 'The link.', 'wan0'),
    rateMbit: explained({ type: 'number', minimum: 0.1, maximum: 400_000 }, 'What it carries.', 1000),
    classes: {
      type: 'array',
      description: 'Customers. What belongs to none gets the rest, and one hundredth at least.',
      minItems: 1,
      maxItems: MOST_CLASSES,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'share'],
        properties: {
          ...ofClass,
          classes: {
            type: 'array',
            description: "Classes of a customer, in the place of 'virtual'.",
            maxItems: MOST_INNER,
            default: [],
            items: {
              type: 'object',
              additionalProperties: false,
              required: ['name', 'share', 'virtual'],
              properties: ofClass,
            },
          },
        },
      },
    },
  },
};

/** What is wrong with shares beyond their schema. @param hosts the names of `virtual` */
export function shareProblems({ classes }: ShareSettings, hosts: readonly string[]): string[] {
  const all = classes.flatMap((c) => [c, ...c.classes]);
  const named = all.flatMap((c) => c.virtual);
  const sum = (of: readonly ShareEntry[]): number => of.reduce((n, c) => n + c.share, 0);
  const twice = (list: readonly string[]): string[] => list.filter((x, i) => list.indexOf(x) !== i);
  return [
    ...(sum(classes) > 100 ? [`the shares add up to ${sum(classes)} percent`] : []),
    ...classes
      .filter((c) => sum(c.classes) > 100)
      .map((c) => `the shares in ${c.name} add up to ${sum(c.classes)} percent`),
    ...classes
      .filter((c) => c.virtual.length > 0 === c.classes.length > 0)
      .map((c) => `${c.name} needs either 'virtual' or 'classes'`),
    ...twice(classes.map((c) => c.name)).map((n) => `${n} is listed twice`),
    ...classes.flatMap((c) =>
      twice(c.classes.map((x) => x.name)).map((n) => `${c.name}/${n} is listed twice`),
    ),
    ...twice(named).map((n) => `${n} is in two classes`),
    ...named.filter((n) => !hosts.includes(n)).map((n) => `${n} is no name of 'virtual'`),
  ];
}
