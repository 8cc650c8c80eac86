import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ROLES = ['gateway', 'origin', 'replica'];

interface Import {
  from: string;
  to: string;
  dynamic: boolean;
}

/** Every import of a text: of modules by relative path, resolved from `from`, and of packages by name. */
function importsOf(from: string, text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const resolve = (specifier: string): string =>
    specifier.startsWith('.') ? join(dirname(from), specifier) : specifier;
  const found = (pattern: RegExp, dynamic: boolean): Import[] =>
    [...code.matchAll(pattern)].map((m) => ({ from, to: resolve(m[1]), dynamic }));
  return [
    ...found(/\b(?:import|export)\s(?:[^'"();]*?\sfrom\s)?\s*['"]([^'"]+)['"]/g, false),
    ...found(/\bimport\(\s*[`'"]([^`'"]+)[`'"]/g, true),
  ];
}

const files = ['src', ...ROLES].flatMap((folder) =>
  (readdirSync(join(ROOT, folder), { recursive: true }) as string[])
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name}`),
);
const imports = files.flatMap((file) => importsOf(file, readFileSync(join(ROOT, file), 'utf8')));
const roleOf = (path: string): string | undefined =>
  ROLES.find((r) => path === r || path.startsWith(`${r}/`));
const show = (i: Import): string => `${i.from} → ${i.to}${i.dynamic ? ' (dynamic)' : ''}`;

describe('layers', () => {
  it('are read from the files that there are', () => {
    expect(files).toContain('src/wire/tag.ts');
    expect(imports.map(show)).toContain('src/wire/tag.ts → src/wire/checksum.js');
    expect(imports.map(show)).toContain('gateway/carry.ts → src/flow/states.js');
    expect(relative(ROOT, join(ROOT, 'src'))).toBe('src');
  });

  it('see every form of import', () => {
    const text = `import a from './a.js';\nimport './b.js';\nexport * from '../c.js';\nimport {\n  d,\n  type E,\n} from 'd';
export { x } from "./x.js";\nimport type { T } from './t.js';\nawait import('./e.js');\nawait import(\`../gateway/main.js\`);\n// import './no.js'`;
    expect(importsOf('src/w/f.ts', text).map((i) => i.to)).toEqual([
      'src/w/a.js',
      'src/w/b.js',
      'src/c.js',
      'd',
      'src/w/x.js',
      'src/w/t.js',
      'src/w/e.js',
      'src/gateway/main.js',
    ]);
  });

  it('src/wire imports nothing but itself', () => {
    const strays = imports.filter((i) => i.from.startsWith('src/wire/') && !i.to.startsWith('src/wire/'));
    expect(strays.map(show)).toEqual([]);
  });

  it('src never imports a role; only the command line and the laboratory load one, dynamically', () => {
    const strays = imports.filter((i) => i.from.startsWith('src/') && roleOf(i.to) !== undefined);
    const allowed = (i: Import): boolean =>
      i.dynamic && (i.from === 'src/cli.ts' || i.from.startsWith('src/lab/'));
    expect(strays.filter((i) => !allowed(i)).map(show)).toEqual([]);
  });

  it('roles never import each other', () => {
    const strays = imports.filter((i) => roleOf(i.from) && roleOf(i.to) && roleOf(i.from) !== roleOf(i.to));
    expect(strays.map(show)).toEqual([]);
  });

  it('the data plane does not wait for anything: stages import no I/O', () => {
    const io =
      /^node:|^(ioredis|fastify|pino|yaml|ajv)$|^src\/(registry\/(redis|file|registry)|admin|steer|lab|log|config)\b/;
    const stages = imports.filter(
      (i) =>
        /^src\/(wire|flow|race)\/|^(gateway|origin|replica)\/(pipeline|state|reasons)\.ts$/.test(i.from) &&
        io.test(i.to),
    );
    expect(stages.map(show)).toEqual([]);
  });

  // What a thread loads is what its modules import when they run: imports of types are gone by then.
  const runtime = (file: string): string[] => {
    const code = readFileSync(join(ROOT, file), 'utf8')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/^\s*\/\/.*$/gm, '')
      .replace(/\b(?:import|export) type\s[^;]*?;/g, '')
      .replace(/\bimport \{(?:\s*type \w+(?: as \w+)?,?)+\s*\} from [^;]*;/g, '');
    return importsOf(file, code).map((i) => i.to);
  };
  const reached = (...entries: string[]): Set<string> => {
    const seen = new Set<string>();
    const visit = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      const source = file.replace(/\.js$/, '.ts');
      if (files.includes(source)) for (const next of runtime(source)) visit(next);
    };
    for (const entry of entries) visit(entry);
    return seen;
  };

  it("no packet's way leads to the registry: the data plane's thread does not even load it", () => {
    const thread = reached('src/pipeline/worker.js', ...ROLES.map((r) => `${r}/pipeline.js`));
    // The walk is one: it goes through the thread's own modules.
    for (const file of [
      'src/pipeline/batch.js',
      'gateway/send-syn.js',
      'origin/admit-syn.js',
      'replica/crack-syn.js',
    ])
      expect([...thread]).toContain(file);
    expect(
      [...thread].filter((f) => f.startsWith('src/registry/') || /^(ioredis|msgpackr)$/.test(f)),
    ).toEqual([]);
    // And the control plane does go there.
    expect([...reached('src/role.js')]).toContain('ioredis');
  });
});
