/**
 * Which room may import which. Each rule is a function over a tree of files. To prove that a rule can fail, a list of
 * violations is planted, one at a time, into the present tree.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { programs as gateway } from '../../gateway/programs.js';
import { programs as origin } from '../../origin/programs.js';
import { programs as replica } from '../../replica/programs.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ROLES = ['gateway', 'origin', 'replica'];
const PROGRAMS = [...new Set([...gateway, ...origin, ...replica].map((p) => p.name))];
/** Rooms of `src/` that know no program, and the files that host programs. */
const GENERIC = [
  'wire',
  'device',
  'flow',
  'pipeline',
  'fastpath',
  'steer',
  'registry',
  'admin',
  'health',
  'trust',
  'events',
];
const HOST = [
  'program',
  'role',
  'role-config',
  'role-file',
  'duties',
  'inner',
  'hosted',
  'notify',
  'config',
  'layout',
];

type Tree = ReadonlyMap<string, string>;
interface Import {
  from: string;
  to: string;
  dynamic: boolean;
}

/** Every import in a text: modules by relative path, resolved from `from`, and packages by name. */
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

/** The modules that a thread loads at run time; imports of types do not exist then. */
const withoutTypes = (text: string): string =>
  text
    .replace(/\b(?:import|export) type\s[^;]*?;/g, '')
    .replace(/\bimport \{(?:\s*type \w+(?: as \w+)?,?)+\s*\} from [^;]*;/g, '');

const importsIn = (tree: Tree): Import[] => [...tree].flatMap(([file, text]) => importsOf(file, text));
const show = (i: Import): string => `${i.from} → ${i.to}${i.dynamic ? ' (dynamic)' : ''}`;
const roleOf = (path: string): string | undefined =>
  ROLES.find((r) => path === r || path.startsWith(`${r}/`));
/** Whether a file belongs to a program: `gateway/race/carry.ts` belongs to the race. */
const programOf = (path: string): string | undefined => {
  const [role, program, file] = path.split('/');
  return ROLES.includes(role) && file !== undefined ? program : undefined;
};
/** A folder of `src/`, a program's room, or a single file in `src/` or in a role. */
const roomOf = (path: string): string => {
  const parts = path.replace(/\.(js|ts)$/, '').split('/');
  return parts.slice(0, 2).join('/');
};

const RULES: Record<string, (tree: Tree) => string[]> = {
  'src/wire imports nothing but itself': (tree) =>
    importsIn(tree)
      .filter((i) => i.from.startsWith('src/wire/') && !i.to.startsWith('src/wire/'))
      .map(show),

  'src imports no role; the command line and the laboratory load one, dynamically': (tree) =>
    importsIn(tree)
      .filter((i) => i.from.startsWith('src/') && roleOf(i.to) !== undefined)
      .filter((i) => !(i.dynamic && /^src\/(cli\.ts|cli\/|lab\/)/.test(i.from)))
      .map(show),

  'roles do not import each other': (tree) =>
    importsIn(tree)
      .filter((i) => roleOf(i.from) && roleOf(i.to) && roleOf(i.from) !== roleOf(i.to))
      .map(show),

  "a program imports no other program, and programs.ts alone loads a role's": (tree) =>
    importsIn(tree)
      .filter((i) => programOf(i.to) !== undefined && programOf(i.from) !== programOf(i.to))
      .filter((i) => !(i.dynamic && /^\w+\/programs\.ts$/.test(i.from)))
      .map(show),

  'what several programs use, and their host, knows none of them': (tree) => {
    const isGeneric = (file: string): boolean =>
      GENERIC.some((room) => file.startsWith(`src/${room}/`)) || HOST.some((h) => file === `src/${h}.ts`);
    return importsIn(tree)
      .filter((i) => isGeneric(i.from) && PROGRAMS.some((p) => i.to.startsWith(`src/${p}/`)))
      .map(show);
  },

  'the pipeline knows neither the registry nor the kernel path': (tree) =>
    importsIn(tree)
      .filter(
        (i) => i.from.startsWith('src/pipeline/') && /^src\/(registry|fastpath|steer|admin)\//.test(i.to),
      )
      .map(show),

  "nothing that a packet passes does I/O, nor loads the registry's client": (tree) => {
    const io =
      /^node:|^(ioredis|msgpackr|fastify|pino|yaml|ajv|commander)$|^src\/(registry\/(redis|file|connect|follow|open)|admin|steer|lab|log|config|keys)\b/;
    // The modules that load the addons do no other I/O.
    const faces = /^src\/(device|fastpath)\/native\.js$/;
    const isFace = (from: string, to: string): boolean => faces.test(from) && /^node:(module|url)$/.test(to);
    const seen = new Set<string>();
    const bad: string[] = [];
    const visit = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      const text = tree.get(file.replace(/\.js$/, '.ts'));
      if (text === undefined) return;
      for (const { to } of importsOf(file, withoutTypes(text))) {
        if (io.test(to) && !isFace(file, to)) bad.push(`${file} → ${to}`);
        visit(to);
      }
    };
    for (const file of tree.keys())
      if (/^\w+\/\w+\/pipeline\.ts$/.test(file) && roleOf(file)) visit(file.replace(/\.ts$/, '.js'));
    return bad;
  },

  'rooms import each other in no circle': (tree) => {
    const to = new Map<string, Set<string>>();
    for (const i of importsIn(tree)) {
      const [a, b] = [roomOf(i.from), roomOf(i.to)];
      if (i.dynamic || a === b || (!b.startsWith('src/') && roleOf(i.to) === undefined)) continue;
      if (!to.has(a)) to.set(a, new Set());
      to.get(a)!.add(b);
    }
    const state = new Map<string, 'open' | 'done'>();
    const circles: string[] = [];
    const visit = (room: string, way: string[]): void => {
      if (state.get(room) === 'done') return;
      if (state.get(room) === 'open') {
        circles.push([...way.slice(way.indexOf(room)), room].join(' → '));
        return;
      }
      state.set(room, 'open');
      for (const next of to.get(room) ?? []) visit(next, [...way, room]);
      state.set(room, 'done');
    };
    for (const room of to.keys()) visit(room, []);
    return circles;
  },
};

const tree: Tree = new Map(
  ['src', ...ROLES]
    .flatMap((folder) =>
      (readdirSync(join(ROOT, folder), { recursive: true }) as string[])
        .filter((name) => name.endsWith('.ts'))
        .map((name) => `${folder}/${name}`),
    )
    .map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]),
);

/** By rule: a file, a line in it that breaks the rule, and the reported violation. */
const PLANTED: [rule: string, file: string, line: string, said: string][] = [
  [
    'src/wire imports nothing but itself',
    'src/wire/tcp.ts',
    "import { OPEN } from '../pipeline/batch.js';",
    'src/wire/tcp.ts → src/pipeline/batch.js',
  ],
  [
    'src imports no role; the command line and the laboratory load one, dynamically',
    'src/role.ts',
    "import { carry } from '../gateway/race/carry.js';",
    'src/role.ts → gateway/race/carry.js',
  ],
  [
    'src imports no role; the command line and the laboratory load one, dynamically',
    'src/cli/roles.ts',
    "import { programs } from '../../gateway/programs.js';",
    'src/cli/roles.ts → gateway/programs.js',
  ],
  [
    'roles do not import each other',
    'origin/race/state.ts',
    "import { RaceFlows } from '../../gateway/race/flows.js';",
    'origin/race/state.ts → gateway/race/flows.js',
  ],
  [
    "a program imports no other program, and programs.ts alone loads a role's",
    'gateway/echo/pipeline.ts',
    "import { carry } from '../race/carry.js';",
    'gateway/echo/pipeline.ts → gateway/race/carry.js',
  ],
  [
    "a program imports no other program, and programs.ts alone loads a role's",
    'gateway/main.ts',
    "import { program } from './race/program.js';",
    'gateway/main.ts → gateway/race/program.js',
  ],
  ...GENERIC.filter((room) => room !== 'wire').map((room): [string, string, string, string] => [
    'what several programs use, and their host, knows none of them',
    `src/${room}/planted.ts`,
    "import type { RaceRecord } from '../race/record.js';",
    `src/${room}/planted.ts → src/race/record.js`,
  ]),
  [
    'what several programs use, and their host, knows none of them',
    'src/inner.ts',
    "import { MODES } from './race/modes.js';",
    'src/inner.ts → src/race/modes.js',
  ],
  [
    'the pipeline knows neither the registry nor the kernel path',
    'src/pipeline/pipeline.ts',
    "import type { PinHandles } from '../fastpath/pins.js';",
    'src/pipeline/pipeline.ts → src/fastpath/pins.js',
  ],
  [
    "nothing that a packet passes does I/O, nor loads the registry's client",
    'src/flow/table.ts',
    "import { readFileSync } from 'node:fs';",
    'src/flow/table.js → node:fs',
  ],
  [
    "nothing that a packet passes does I/O, nor loads the registry's client",
    'gateway/race/carry.ts',
    "import { RedisRegistry } from '../../src/registry/redis.js';",
    'gateway/race/carry.js → src/registry/redis.js',
  ],
  [
    'rooms import each other in no circle',
    'src/flow/table.ts',
    "import type { Batch } from '../pipeline/batch.js';",
    'src/flow → src/pipeline → src/flow',
  ],
];

describe('layers', () => {
  it('are read from the existing files', () => {
    expect([...tree.keys()]).toContain('src/wire/tag.ts');
    const shown = importsIn(tree).map(show);
    expect(shown).toContain('src/wire/tag.ts → src/wire/checksum.js');
    expect(shown).toContain('gateway/race/carry.ts → src/flow/states.js');
    expect(PROGRAMS).toContain('race');
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

  it.each(Object.entries(RULES))('%s', (_, rule) => {
    expect(rule(tree)).toEqual([]);
  });
});

describe('a planted violation', () => {
  it.each(PLANTED)('of "%s" in %s is found: %s', (rule, file, line, said) => {
    const planted = new Map(tree).set(file, `${line}\n${tree.get(file) ?? ''}`);
    const found = RULES[rule](planted);
    // The start of a reported circle depends on where the search meets it.
    const turned = (text: string): string => text.split(' → ').slice(0, -1).sort().join();
    if (rule.includes('circle')) expect(found.map(turned)).toContain(turned(said));
    else expect(found).toContain(said);
  });

  it('exists for each rule', () => {
    expect([...new Set(PLANTED.map(([rule]) => rule))].sort()).toEqual(Object.keys(RULES).sort());
  });
});
