// Annotated role files: every key of every role's schema is there, is explained, and is valid as it stands.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exampleOf } from '../../../src/cli/example.js';
import { schemaOf } from '../../../src/cli/manual.js';
import { parseYaml, type Schema } from '../../../src/config.js';
import type { RoleSchema } from '../../../src/role-config.js';
import { readRoleFile } from '../../../src/role-file.js';
import { ROLES } from '../../../src/steer/marks.js';

/** Every key of a schema, with its path. */
function keys(schema: Schema, path: string[] = []): { path: string; schema: Schema }[] {
  const inner = schema.type === 'array' ? (schema.items as Schema) : schema;
  return Object.entries((inner.properties ?? {}) as Record<string, Schema>).flatMap(([key, part]) => [
    { path: [...path, key].join('.'), schema: part },
    ...keys(part, [...path, key]),
  ]);
}

describe.each(ROLES)('the annotated file of the role %s', (role) => {
  it('explains every key', async () => {
    const all = keys(await schemaOf(role, 'race'));
    expect(all.length).toBeGreaterThan(30);
    expect(all.filter((k) => !/[.,]$/.test(String(k.schema.description))).map((k) => k.path)).toEqual([]);
  });

  it('has every key, each with a value that is valid', async () => {
    const schema = await schemaOf(role, 'race');
    const text = exampleOf(schema);
    const whole = text.replace(/^#(?!#)/gm, '');
    const { value } = parseYaml<Record<string, unknown>>('example.yaml', whole, schema);
    for (const { path } of keys(schema)) {
      let at: unknown = value;
      for (const key of path.split('.')) {
        if (Array.isArray(at)) [at] = at;
        at = (at as Record<string, unknown>)[key];
      }
      expect(at, path).toBeDefined();
    }
  });

  it('is a valid role file as it is printed', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'fs-example-'));
    try {
      const file = join(directory, 'role.yaml');
      writeFileSync(file, exampleOf(await schemaOf(role, 'race')));
      const { schema } = (await import(`../../../${role}/config.ts`)) as { schema: RoleSchema };
      const { programs } = await import(`../../../${role}/programs.ts`);
      const { program } = await programs[0].program();
      const read = readRoleFile({ configFile: file, configuration: 'A' }, role, schema, [program]);
      expect(read.programs[0].program.name).toBe('race');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
