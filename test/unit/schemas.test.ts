// A role compiles its schemas without the meta-schema, which takes long at its start. They are held against it here.
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { programs as gateway } from '../../gateway/programs.js';
import { programs as origin } from '../../origin/programs.js';
import { programs as replica } from '../../replica/programs.js';
import { schemaOf } from '../../src/cli/manual.js';
import { addFormats, type Schema } from '../../src/config.js';
import type { RecordKind } from '../../src/registry/kinds.js';
import { revocationKind } from '../../src/registry/revocation.js';
import { serviceKindFor } from '../../src/registry/service.js';
import { scopeSchema } from '../../src/trust/credential.js';

const ajv = new Ajv({ allErrors: true, allowUnionTypes: true });
addFormats(ajv);
const problems = (schema: Schema): unknown => (ajv.validateSchema(schema) ? [] : ajv.errors);

const entries = [...gateway, ...origin, ...replica];
const loaded = await Promise.all(entries.map(async (entry) => (await entry.program()).program));
const kinds = loaded.flatMap((program): RecordKind[] => [...program.kinds]);

describe('the schemas of this project', () => {
  it.each(['gateway', 'origin', 'replica'])('of the file of role %s obey the meta-schema', async (role) => {
    expect(problems(await schemaOf(role, 'race'))).toEqual([]);
  });

  it.each([...new Set([...kinds, revocationKind as RecordKind])])('of records $name obey it', (kind) => {
    expect(problems(kind.schemaOf({ v: 1 }))).toEqual([]);
  });

  it('of services of both versions, and of what a credential covers, obey it', () => {
    const services = serviceKindFor({
      race: { properties: { width: { type: 'integer' } }, required: ['width'] },
    });
    for (const value of [{ v: 1 }, { v: 2, program: 'race' }, { v: 2, program: 'unknown' }])
      expect(problems(services.schemaOf(value))).toEqual([]);
    expect(problems(scopeSchema)).toEqual([]);
  });

  it('would be told apart from one that does not', () => {
    expect(problems({ type: 'text' })).not.toEqual([]);
    expect(problems({ type: 'object', properties: { a: { minItems: -1 } } })).not.toEqual([]);
  });
});
